// FLAGS: -DNESTLOCK_CONFIG=up
// CONTROL: -DNESTLOCK_CONFIG=up
// EXPECT: AnyContextTryLockable
#include "nestlock/nestlock.h"

// The bug of the mail thread: per-CPU pages on a lock whose try_lock() is not promised.
template <nestlock::AnyContextTryLockable Lock>
struct PerCpuPages {
  Lock lock;
};
#ifdef MUST_FAIL
PerCpuPages<nestlock::SpinLock> pages;
#else
PerCpuPages<nestlock::TrySpinLock> pages;
#endif
