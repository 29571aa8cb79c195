/* A C program into which Nestlock's malloc is linked: it needs no C++ library, and gets none. */
#include "nestlock/malloc.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(void) {
  const size_t size = (size_t)3 << 20, before = nestlock_malloc_counts().mapped;
  char* const block = malloc(size);
  const int ours = block && nestlock_malloc_counts().mapped >= before + size;
  free(block);

  int libraries = 0;
  char line[512];
  FILE* const maps = fopen("/proc/self/maps", "r");
  while (maps && fgets(line, sizeof line, maps)) libraries += strstr(line, "c++") != NULL;
  if (maps) fclose(maps);
  printf("%s, %s\n", ours ? "ours" : "another's",
         libraries ? "with a C++ library" : "no C++ library");
  return ours ? 0 : 1;
}
