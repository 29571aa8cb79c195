// Scope-bound locking. The irq state lives in the guard: it cannot be lost or passed to the wrong
// unlock.
//
//   Guard g(lock);                                 lock, unlock
//   Guard g(lock, irq_save);                       mask irqs, lock; unlock, restore
//   if (TryGuard g(lock, irq_save); g) { ... }     the same by try_lock(); undone if refused
//   Guard g(lock, adopt_lock);                     after a successful lock.try_lock()
//
// Contexts, ordering and cost are those of the lock's functions.
//
// reinit(lock) is for the child of a fork().
#pragma once

#include <new>
#include <type_traits>

#include "nestlock/config/annotations.h"
#include "nestlock/lock/debug_checks.h"
#include "nestlock/lock/irq.h"
#include "nestlock/lock/lock_concepts.h"

namespace nestlock {

// In the child of a fork(): a lock that may be held by a thread that the child lacks is a new, free one
// afterwards, whatever its word said. Nobody else may use it meanwhile, and what it guards may be half
// changed. (What the forking thread itself held is the child's to unlock.) Not for SharedTrySpinLock on UP,
// whose word is that of all its class.
template <class L>
  requires std::is_nothrow_default_constructible_v<L>
void reinit(L& lock) noexcept {
  ::new (static_cast<void*>(&lock)) L;
}

template <BasicLockable L, class Tag = NoIrq>
class [[nodiscard]] NESTLOCK_SCOPED_CAPABILITY Guard {
  using Port = typename L::Port;
  using Irq = internal::TagFor<L, Tag>;
  using Place = internal::PlaceOf<typename L::Kernel>;

 public:
  // Masks what the tag says, then locks.
  explicit Guard(L& taken, Tag = {}, Place where = Place::here()) noexcept NESTLOCK_ACQUIRE(taken)
      : state_(Irq::template enter<Port>()), lock_(taken) {
    lock_.lock(where);
  }
  ~Guard() NESTLOCK_RELEASE() {
    lock_.unlock();
    Irq::template leave<Port>(state_);
  }
  Guard(const Guard&) = delete;
  Guard& operator=(const Guard&) = delete;

 private:
  [[no_unique_address]] typename Irq::template State<Port> state_;
  L& lock_;
};

// The form that takes over a lock already held.
template <class L>
class [[nodiscard]] NESTLOCK_SCOPED_CAPABILITY Guard<L, AdoptLock> {
 public:
  // The caller holds the lock.
  Guard(L& held, AdoptLock) noexcept NESTLOCK_REQUIRES(held) : lock_(held) {}
  ~Guard() NESTLOCK_RELEASE() { lock_.unlock(); }
  Guard(const Guard&) = delete;
  Guard& operator=(const Guard&) = delete;

 private:
  L& lock_;
};

// So that Guard g(lock) and Guard g(lock, tag) need no types.
template <class L>
Guard(L&) -> Guard<L, NoIrq>;
template <class L, class Tag>
Guard(L&, Tag) -> Guard<L, Tag>;

// clang's analysis cannot express a scoped try: call lock.assert_held() first in the branch.
template <TryLockable L, class Tag = NoIrq>
class [[nodiscard]] TryGuard {
  using Port = typename L::Port;
  using Irq = internal::TagFor<L, Tag>;
  using Place = internal::PlaceOf<typename L::Kernel>;

 public:
  // Masks what the tag says, then tries; unmasks at once if refused.
  explicit TryGuard(L& tried, Tag = {}, Place where = Place::here()) noexcept NESTLOCK_NO_TSA
      : state_(Irq::template enter<Port>()),
        lock_(tried.try_lock(where) ? &tried : nullptr) {
    if (!lock_) Irq::template leave<Port>(state_);
  }
  ~TryGuard() NESTLOCK_NO_TSA {
    if (!lock_) return;
    lock_->unlock();
    Irq::template leave<Port>(state_);
  }
  TryGuard(const TryGuard&) = delete;
  TryGuard& operator=(const TryGuard&) = delete;

  // Whether the lock is held.
  explicit operator bool() const noexcept { return lock_ != nullptr; }

 private:
  [[no_unique_address]] typename Irq::template State<Port> state_;
  L* lock_;
};

}  // namespace nestlock
