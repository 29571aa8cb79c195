// As new.cc, but of this program's own code nothing calls operator new or delete: the C++ library alone does.
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <memory_resource>
#include <new>

#include "nestlock/malloc.h"

int main() {
  volatile std::size_t much = std::size_t{PTRDIFF_MAX} - 4096;  // the compiler must not judge it
  static int asked = 0;
  std::pmr::memory_resource& library = *std::pmr::new_delete_resource();
  const std::size_t size = std::size_t{3} << 20, before = nestlock_malloc_counts().mapped;
  void* const block = library.allocate(size);
  const bool ours = nestlock_malloc_counts().mapped >= before + size;
  library.deallocate(block, size);
  std::set_new_handler([] {
    ++asked;
    std::set_new_handler(nullptr);
  });
  bool thrown = false;
  try {
    (void)library.allocate(much);
  } catch (const std::bad_alloc&) {
    thrown = true;
  }
  std::printf("%s, %d thrown, %d asked\n", ours ? "ours" : "another's", thrown, asked);
  return ours && thrown && asked == 1 ? 0 : 1;
}
