// RawSpinLock (the kernel's raw_spinlock_t): spins in every configuration, PREEMPT_RT too.
//
// | configuration | state                            | size                                |
// |---------------|----------------------------------|-------------------------------------|
// | UP            | none: preemption off is the lock | 0 as a [[no_unique_address]] member |
// | UP debug      | a byte and the debug record      | unspecified                         |
// | SMP           | smp_word.h: spins, may then park | 4 bytes                             |
//
// A section must not sleep. An interrupt handler may lock() it only if every other user masks that
// interrupt (Guard with irq_save). try_lock() from a context that interrupted the holder is NOT
// promised: on UP without debug it is granted, and two owners run. Use TrySpinLock for that.
#pragma once

#include "nestlock/lock/core.h"
#include "nestlock/lock/smp_word.h"

namespace nestlock {

namespace internal {
template <Kernel K>
using RawWord = std::conditional_t<K::kConfig.smp, SmpWord<K>,
                                   std::conditional_t<K::kConfig.debug, ByteWord<K>, NoWord<K>>>;
}  // namespace internal

template <Kernel K>
class NESTLOCK_CAPABILITY("RawSpinLock") BasicRawSpinLock
    : public internal::LockCore<K, LockType::raw_spin, internal::RawWord<K>> {
  using Place = internal::PlaceOf<K>;

 public:
  // Free. Needs no code at run time, so a static one is constinit.
  constexpr BasicRawSpinLock(Place born = Place::here()) noexcept
      : BasicRawSpinLock::LockCore(born) {}

  // Task, softirq, hardirq; not NMI. Turns preemption off, then spins until owned (acquire order).
  // One locked instruction uncontended on SMP; the preempt count alone on UP.
  void lock(Place where = Place::here()) noexcept NESTLOCK_ACQUIRE() {
    this->template lock_with<internal::Pin<K, false>>(contexts::Call::lock, where);
  }

  // Any context. True = acquired (acquire order), preemption stays off until unlock(); false =
  // nothing changed. Never waits. See above for what is not promised.
  [[nodiscard]] bool try_lock(Place where = Place::here()) noexcept NESTLOCK_TRY_ACQUIRE(true) {
    return this->try_with(where);
  }
};

}  // namespace nestlock
