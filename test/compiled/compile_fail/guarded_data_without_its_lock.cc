// COMPILERS: clang++
// FLAGS: -DNESTLOCK_CONFIG=smp -Wthread-safety -Werror
// CONTROL: -DNESTLOCK_CONFIG=smp -Wthread-safety -Werror
// EXPECT: requires holding TrySpinLock .s.lock
#include "nestlock/nestlock.h"

struct Samples {
  nestlock::TrySpinLock lock;
  unsigned used NESTLOCK_GUARDED_BY(lock) = 0;
};
void f(Samples& s) {
#ifndef MUST_FAIL
  nestlock::Guard g(s.lock, nestlock::irq_save);
#endif
  ++s.used;
}
