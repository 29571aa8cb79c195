// FLAGS: -DNESTLOCK_CONFIG=smp
// CONTROL: -DNESTLOCK_CONFIG=smp
// EXPECT: no member named .lock
#include "nestlock/nestlock.h"

// With a sibling held by the interrupted code it could never return; so it has none anywhere.
struct Class;
void f(nestlock::SharedTrySpinLock<Class>& lock) {
#ifdef MUST_FAIL
  lock.lock();
#else
  if (!lock.try_lock()) return;
#endif
  lock.unlock();
}
