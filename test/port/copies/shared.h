// What the program and its libraries of the same configuration have in common.
#pragma once

#include "nestlock/nestlock.h"

struct Shared {
  nestlock::LocalTryLock lock;
  long n;
};
using SharedData = nestlock::PerCpu<Shared>;

// Sections that were entered.
inline long count_in(SharedData& all, long times) {
  long entered = 0;
  for (long i = 0; i < times; ++i) {
    if (auto here = all.try_lock_here<&Shared::lock>()) {
      const long n = here->n;
      asm volatile("" ::: "memory");  // what a signal in between counts must not be lost
      here->n = n + 1;
      ++entered;
    }
  }
  return entered;
}
