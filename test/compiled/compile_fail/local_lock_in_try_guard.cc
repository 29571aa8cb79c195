// FLAGS: -DNESTLOCK_CONFIG=smp_rt
// CONTROL: -DNESTLOCK_CONFIG=smp_rt
// EXPECT: TryLockable
#include "nestlock/nestlock.h"

#ifdef MUST_FAIL
using Lock = nestlock::LocalLock;
#else
using Lock = nestlock::LocalTryLock;
#endif
bool f(Lock& lock) {
  nestlock::TryGuard<Lock> g(lock);
  return static_cast<bool>(g);
}
