// FLAGS: -DNESTLOCK_CONFIG=up -Werror
// CONTROL: -DNESTLOCK_CONFIG=up -Werror
// EXPECT: ignoring return value
#include "nestlock/nestlock.h"

void f(nestlock::TrySpinLock& lock) NESTLOCK_NO_TSA {
#ifdef MUST_FAIL
  lock.try_lock();
#else
  if (!lock.try_lock()) return;
#endif
  lock.unlock();
}
