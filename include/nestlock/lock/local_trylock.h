// LocalTryLock (the kernel's local_trylock_t): a LocalLock that interrupting contexts may try.
//
// Lives in a PerCpu<T>; take it by PerCpu::lock_here() or try_lock_here().
//
// | configuration | state                                              | size              |
// |---------------|----------------------------------------------------|-------------------|
// | not RT        | one byte, plain load and store, own CPU only       | 1 byte            |
// | RT (both)     | per-CPU sleeping lock; hardirq and NMI are refused | 4 bytes on hosted |
//
// The promise is TrySpinLock's: false only if this CPU holds it (or, on RT, in hardirq and NMI),
// nothing changed then; N lock/unlock cycles are followed by N successful tries. A refusal lasts
// for the whole interruption: trying again in a loop can never succeed.
#pragma once

#include "nestlock/lock/core.h"
#include "nestlock/lock/spinlock.h"

namespace nestlock {

namespace internal {
template <Kernel K>
using LocalTryWord = SleepOrWord<K, ByteWord<K>>;
}  // namespace internal

template <Kernel K>
class NESTLOCK_CAPABILITY("LocalTryLock") BasicLocalTryLock
    : public internal::LockCore<K, LockType::local_try, internal::LocalTryWord<K>> {
  using Place = internal::PlaceOf<K>;

 public:
  // Free. Needs no code at run time, so a static one is constinit.
  constexpr BasicLocalTryLock(Place born = Place::here()) noexcept
      : BasicLocalTryLock::LockCore(born) {}

  // This CPU's instance only. Not RT: a context that cannot interrupt a holder (task; with
  // irq_save also softirq and hardirq). One that did interrupt the holder could never return: it
  // goes to the report sink as never_returns (fatal), in every configuration; the kernel enters
  // silently.
  void lock(Place where = Place::here()) noexcept NESTLOCK_ACQUIRE() {
    this->template lock_with<internal::Pin<K, BasicLocalTryLock::kSleeps>>(contexts::Call::lock,
                                                                           where);
  }

  // This CPU's instance only; any context. True = acquired; false = held, nothing changed.
  [[nodiscard]] bool try_lock(Place where = Place::here()) noexcept NESTLOCK_TRY_ACQUIRE(true) {
    return this->try_with(where);
  }

  // As try_lock(), again and again: Spins{n} looks at the lock or, on a port with a clock, for a
  // std::chrono::duration; this CPU's instance only, any context.
  // At once false where the lock tells that the holder cannot go on before the caller returns: on UP,
  // and with PREEMPT_RT or debug, if this CPU (RT: this task) holds it. RT: lends no priority.
  template <class Timeout>
    requires internal::TimeoutOf<Timeout, K>
  [[nodiscard]] bool try_lock_for(Timeout timeout, Place where = Place::here()) noexcept
      NESTLOCK_TRY_ACQUIRE(true) {
    return this->try_for_with(timeout, where);
  }

  // As is_locked(), with acquire order, which pairs with unlock(): for another CPU than its own, that has
  // seen to it that no one takes the lock any more, and wants to know whether the last has left.
  bool is_locked_acquire() const noexcept { return this->word().held_acquire(); }

  // Whether a lock() by the caller would be a recursion: this CPU holds it (RT: this task does).
  bool is_locked_here() const noexcept {
    if constexpr (K::kConfig.preempt_rt)
      return this->word().held_by_caller();
    else
      return this->is_locked();
  }
};

}  // namespace nestlock
