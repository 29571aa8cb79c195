// TrySpinLock: a spinlock whose try_lock() tells the truth to every context, in every
// configuration.
//
// | configuration | state                                   | size               |
// |---------------|-----------------------------------------|--------------------|
// | UP            | one byte, plain load and store          | 1 byte             |
// | SMP           | smp_word.h: spins, then parks if it can | 4 bytes            |
// | RT (both)     | owner; waiters inherit priority         | 4 bytes on hosted  |
//
// The promise, both ways: try_lock() is false only if the lock is held (or, on SMP without parking,
// handed to a waiter; or, on RT, the context is hardirq or NMI, which may not own a sleeping lock),
// also if it is the interrupted code on this CPU that holds it; and a losing try leaves every byte
// of the lock as it was. It rests on the lock's state, not on knowing the context, so it holds for
// a probe and for a signal handler nobody registered. Why a plain byte suffices on UP:
// nestlock/lock/words.h.
//
// This is what the kernel's pcp, zone, list and barn locks need and spinlock_t on UP does not give.
#pragma once

#include "nestlock/lock/core.h"
#include "nestlock/lock/smp_word.h"
#include "nestlock/lock/spinlock.h"

namespace nestlock {

namespace internal {
template <Kernel K>
using TryWord = SleepOrWord<K, std::conditional_t<K::kConfig.smp, SmpWord<K>, ByteWord<K>>>;
}  // namespace internal

template <Kernel K>
class NESTLOCK_CAPABILITY("TrySpinLock") BasicTrySpinLock
    : public internal::LockCore<K, LockType::try_spin, internal::TryWord<K>> {
  using Place = internal::PlaceOf<K>;

 public:
  // Free. Needs no code at run time, so a static one is constinit.
  constexpr BasicTrySpinLock(Place born = Place::here()) noexcept
      : BasicTrySpinLock::LockCore(born) {}

  // Contexts as SpinLock::lock(). On UP a lock() that finds the byte set could never return: it
  // goes to the report sink as never_returns (fatal) instead of spinning or entering.
  void lock(Place where = Place::here()) noexcept NESTLOCK_ACQUIRE() {
    this->template lock_with<internal::Pin<K, BasicTrySpinLock::kSleeps>>(contexts::Call::lock,
                                                                          where);
  }

  // Any context. True = acquired (acquire order); false = held, nothing changed. Never waits.
  // UP: no atomic read-modify-write; SMP and RT: one compare-exchange.
  [[nodiscard]] bool try_lock(Place where = Place::here()) noexcept NESTLOCK_TRY_ACQUIRE(true) {
    return this->try_with(where);
  }

  // Only where it sleeps (RT), for elsewhere its word has no owner: whether this task holds it.
  bool is_locked_here() const noexcept
    requires(K::kConfig.preempt_rt)
  {
    return this->word().held_by_caller();
  }

  // As try_lock(), again and again: Spins{n} looks at the lock or, on a port with a clock, for a
  // std::chrono::duration; bounded, so any context.
  // At once false where the lock tells that the holder cannot go on before the caller returns: on UP,
  // and with PREEMPT_RT or debug, if this CPU (RT: this task) holds it. RT: lends no priority.
  template <class Timeout>
    requires internal::TimeoutOf<Timeout, K>
  [[nodiscard]] bool try_lock_for(Timeout timeout, Place where = Place::here()) noexcept
      NESTLOCK_TRY_ACQUIRE(true) {
    return this->try_for_with(timeout, where);
  }
};

}  // namespace nestlock
