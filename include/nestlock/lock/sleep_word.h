// The PREEMPT_RT lock word: the port's priority-inheriting lock, behind the RT gate.
#pragma once

#include "nestlock/lock/words.h"

namespace nestlock::internal {

template <Kernel K>
class SleepWord {
 public:
  static constexpr bool kSleeps = true;

  SleepResult acquire() noexcept { return lock_.lock(); }

  // The gate: in hardirq the interrupted task, perhaps itself waiting for a lock, would become the
  // owner; in NMI the lock's own slow path may be what was interrupted. Refused, untouched.
  bool try_acquire() noexcept { return K::Port::context() < Context::hardirq && lock_.try_lock(); }
  void release() noexcept { lock_.unlock(); }
  // Whether trying again is in vain until the caller returns: at the gate, and for the owner.
  bool hopeless() const noexcept {
    return K::Port::context() >= Context::hardirq || held_by_caller();
  }
  bool held() const noexcept { return lock_.is_locked(); }
  // The fence makes the look an acquire, which pairs with release().
  bool held_acquire() const noexcept {
    const bool is = lock_.is_locked();
    acquire_fence();
    tsan_acquire(&lock_);
    return is;
  }
  bool contended() const noexcept { return lock_.is_contended(); }
  bool held_by_caller() const noexcept { return lock_.held_by_caller(); }

 private:
  typename K::Port::SleepLock lock_;
};

}  // namespace nestlock::internal
