// ResilientSpinLock (compare the kernel's rqspinlock): no call of it waits for ever, and each says why
// the lock was not to be had.
//
//   if (const LockResult got = lock.lock(std::chrono::milliseconds(250)); got) {
//     ... lock.unlock();
//   } else if (got.why() == Refusal::deadlock) ...
//
// | configuration | state                                       | size    |
// |---------------|---------------------------------------------|---------|
// | UP (also RT)  | one byte, plain load and store              | 1 byte  |
// | SMP (also RT) | resilient_word.h: the owner and its CPU     | 4 bytes |
//
// For code that does not know which locks its caller has: what is loaded into a program or is entered
// from anywhere. It spins in every configuration; a section must not sleep. Any context may call each
// function, NMI included.
//
// What is found, and how soon:
//   - held by the caller's context, or one that it interrupted (AA): at once, by the word alone, with no
//     moment at which the answer is another; within 100 instructions, in debug, too;
//   - held by a CPU that waits for a lock that the caller's CPU holds (ABBA), whatever was interrupted:
//     when both have looked again, if both are ResilientSpinLocks of one kernel. Both may be told. A
//     cycle of more CPUs ends by time, and so does one by a thread without a virtual CPU;
//   - the thread that holds it is gone (hosted): when a wait is over, and whenever it has napped.
//
// Neither answer is ever given falsely, with these exceptions: to a thread that was given the id of the
// one that ended with the lock held, the lock is its own; and who leaves a waiting lock() by a jump still
// waits, as others see it, until its thread waits again.
#pragma once

#include "nestlock/lock/core.h"
#include "nestlock/lock/resilient_word.h"

namespace nestlock {

// What lock() and try_lock() of a ResilientSpinLock answer. True: the caller holds the lock.
class [[nodiscard]] LockResult {
 public:
  // Refusal::none: acquired.
  constexpr explicit LockResult(Refusal why) noexcept : why_(why) {}
  // Acquired.
  constexpr explicit operator bool() const noexcept { return why_ == Refusal::none; }
  // Why not; Refusal::none if it does.
  constexpr Refusal why() const noexcept { return why_; }
  friend constexpr bool operator==(LockResult, LockResult) = default;

 private:
  Refusal why_;
};

namespace internal {
template <Kernel K>
using ResilientWord = std::conditional_t<K::kConfig.smp, OwnerWord<K>, OwnByteWord<K>>;
}  // namespace internal

// is_contended() is always false: waiters leave no trace.
template <Kernel K>
class NESTLOCK_CAPABILITY("ResilientSpinLock") BasicResilientSpinLock
    : public internal::LockCore<K, LockType::resilient_spin, internal::ResilientWord<K>> {
  using Place = internal::PlaceOf<K>;

 public:
  // Free. Needs no code at run time, so a static one is constinit.
  constexpr BasicResilientSpinLock(Place born = Place::here()) noexcept
      : BasicResilientSpinLock::LockCore(born) {}

  // Any context. Waits at most as long as it is told: Spins{n} looks at the lock or, on a port with a
  // clock, a std::chrono::duration. True = acquired (acquire order), preemption stays off until
  // unlock(); else nothing changed, and why() is deadlock, timeout or abandoned. To an observer it is a
  // try. clang's analysis cannot express it: call assert_held() in the branch that has the lock.
  template <class Timeout>
    requires internal::TimeoutOf<Timeout, K>
  LockResult lock(Timeout timeout, Place where = Place::here()) noexcept NESTLOCK_NO_TSA {
    if (asked_by_holder(where)) [[unlikely]]
      return LockResult(Refusal::deadlock);
    Refusal why{};
    this->try_with(where, [&why, timeout](auto& word) noexcept {
      why = word.acquire_within(timeout);
      return why == Refusal::none;
    });
    return LockResult(why);
  }

  // Any context. True = acquired (acquire order); else nothing changed, and why() is held_by_me or
  // held_by_other. Never waits. (It does not ask whether the owner lives; lock(Spins{0}) does.)
  // One locked instruction on SMP, none on UP.
  LockResult try_lock(Place where = Place::here()) noexcept NESTLOCK_NO_TSA {
    if (asked_by_holder(where)) [[unlikely]]
      return LockResult(Refusal::held_by_me);
    if (this->try_with(where)) [[likely]]
      return LockResult(Refusal::none);
    return LockResult(held_by_caller() ? Refusal::held_by_me : Refusal::held_by_other);
  }

  // Whether the caller's context, or one that it interrupted, holds it. Any context.
  bool held_by_caller() const noexcept { return this->word().held_by_caller(); }

 private:
  // Debug answers the holder before it checks the call: what its checks ask of every caller, the holder
  // has answered when it took the lock.
  bool asked_by_holder([[maybe_unused]] Place where) noexcept {
    if constexpr (K::kConfig.debug) {
      if (!held_by_caller() || !this->checks().may_be_answered_first()) return false;
      K::Observer::refused(this->ref(where));
      return true;
    }
    return false;
  }
};

}  // namespace nestlock
