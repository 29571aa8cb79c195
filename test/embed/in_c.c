/* The same library from C: a lock that is tried free and held, and memory. */
#include <stdio.h>

#include "nestlock/c.h"

static nestlock_spin_trylock_t lock = NESTLOCK_SPIN_TRYLOCK_INIT;

int main(void) {
  const int taken = nestlock_tryspin_trylock(&lock);
  const int refused = !nestlock_tryspin_trylock(&lock);
  void *const memory = nestlock_kmalloc(100, NESTLOCK_GFP_KERNEL);
  nestlock_tryspin_unlock(&lock);
  printf("%d taken, %d refused, %lu bytes\n", taken, refused,
         (unsigned long)nestlock_ksize(memory));
  nestlock_kfree(memory);
  return 0;
}
