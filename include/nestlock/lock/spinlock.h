// SpinLock (the kernel's spinlock_t): a RawSpinLock, but on PREEMPT_RT a sleeping lock.
//
// | configuration | state                            | size                                |
// |---------------|----------------------------------|-------------------------------------|
// | UP            | none: preemption off is the lock | 0 as a [[no_unique_address]] member |
// | SMP           | smp_word.h: spins, may then park | 4 bytes                             |
// | RT (both)     | owner; waiters inherit priority  | 4 bytes on hosted                   |
//
// On RT a section is preemptible but stays on its CPU; the tags irq_save and irq_disable mask
// nothing, and hardirq and NMI may not touch the lock. try_lock() from a context that interrupted
// the holder is NOT promised (see raw_spinlock.h).
#pragma once

#include "nestlock/lock/core.h"
#include "nestlock/lock/raw_spinlock.h"
#include "nestlock/lock/sleep_word.h"

namespace nestlock {

namespace internal {
// A type that names K::Port::SleepLock only on RT: other ports need not have one.
template <Kernel K, class Otherwise>
struct SleepOr {
  using type = Otherwise;
};
template <Kernel K, class Otherwise>
  requires(K::kConfig.preempt_rt)
struct SleepOr<K, Otherwise> {
  using type = SleepWord<K>;
};
template <Kernel K, class Otherwise>
using SleepOrWord = typename SleepOr<K, Otherwise>::type;
}  // namespace internal

template <Kernel K>
class NESTLOCK_CAPABILITY("SpinLock") BasicSpinLock
    : public internal::LockCore<K, LockType::spin, internal::SleepOrWord<K, internal::RawWord<K>>> {
  using Place = internal::PlaceOf<K>;

 public:
  // Free. Needs no code at run time, so a static one is constinit.
  constexpr BasicSpinLock(Place born = Place::here()) noexcept : BasicSpinLock::LockCore(born) {}

  // Not RT: task, softirq, hardirq; turns preemption off and spins. RT: task only; may sleep, then
  // migration is off. Acquire order. Uncontended one locked instruction (UP, not RT: none).
  void lock(Place where = Place::here()) noexcept NESTLOCK_ACQUIRE() {
    this->template lock_with<internal::Pin<K, BasicSpinLock::kSleeps>>(contexts::Call::lock, where);
  }

  // Not RT: any context. RT: task and softirq, also with irqs off; elsewhere false (reported in
  // debug). True = acquired (acquire order); false = nothing changed. Never waits.
  [[nodiscard]] bool try_lock(Place where = Place::here()) noexcept NESTLOCK_TRY_ACQUIRE(true) {
    return this->try_with(where);
  }
};

}  // namespace nestlock
