// Each lock as an object: what is not used, a compiler only reads. Included behind all public headers by
// ./nest embed headers, for each compiler.
#include "nestlock/event.h"
#include "nestlock/nestlock.h"
#include "nestlock/pi_mutex.h"
#include "nestlock/recursive_lock.h"
#include "nestlock/resilient_spinlock.h"
#include "nestlock/rw_spinlock.h"
#include "nestlock/seqlock.h"
#include "nestlock/system_slab.h"

namespace each_lock {

nestlock::RawSpinLock raw;
nestlock::SpinLock spin;
nestlock::TrySpinLock try_spin;
struct Class;
nestlock::SharedTrySpinLock<Class> shared_try_spin;
nestlock::RwSpinLock rw_spin;
nestlock::ResilientSpinLock resilient;
nestlock::RecursiveLock<nestlock::TrySpinLock> recursive;
nestlock::SeqLock<int, nestlock::TrySpinLock> seq;
nestlock::Event event;
nestlock::PiMutex pi;

struct Counter {
  nestlock::LocalTryLock lock;
  int n = 0;
};
nestlock::PerCpu<Counter> counters;

template <class Lock>
bool use(Lock& lock) {
  const nestlock::TryGuard tried(lock);
  return static_cast<bool>(tried);
}

bool all() {
  nestlock::TrySpinLock ends_here;
  if (!use(ends_here)) return false;
  if (const auto counter = counters.try_lock_here<&Counter::lock>()) ++counter->n;
  return use(raw) && use(spin) && use(try_spin) && use(shared_try_spin) && use(recursive) &&
         nestlock::system_slab().kfree(nullptr);
}

}  // namespace each_lock
