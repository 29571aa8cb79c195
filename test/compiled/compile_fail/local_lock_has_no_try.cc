// FLAGS: -DNESTLOCK_CONFIG=up
// CONTROL: -DNESTLOCK_CONFIG=up
// EXPECT: no member named .try_lock
#include "nestlock/nestlock.h"

// L9: in the kernel it compiles on PREEMPT_RT only. lock_types_test has it for all eight.
void f(nestlock::LocalLock& lock) {
#ifdef MUST_FAIL
  if (lock.try_lock()) lock.unlock();
#else
  nestlock::Guard g(lock);
#endif
}
