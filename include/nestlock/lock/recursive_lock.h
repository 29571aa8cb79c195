// RecursiveLock<Lock>: a lock that its owner may take again. Beside the lock stand the owner, a task in
// one context, and how often it has it.
//
//   RecursiveLock<SpinLock> lock;      for interfaces that demand one: an RTOS's, a database's
//   Guard outer(lock); ... Guard inner(lock);
//
// A handler that interrupted the owner is the same task, but not the owner: its try and its lock() are what they
// would be on the lock below. So the try is refused, unless that lock has no state (raw and spin on UP): then it is
// granted as there, and what the handler gives back is not the owner's. With such handlers take a TrySpinLock.
// Not so a probe, or a handler that nobody registered: it is taken for what it interrupted, and gets into the section
// that it interrupted. So this promises nothing to it (no AnyContextTryLockable); new code should know what it holds.
//
// Size: Lock's, and a word and 8 bytes, in every configuration. An inner lock() or unlock() makes no
// atomic read-modify-write. Contexts, order and errors are Lock's.
#pragma once

#include <atomic>
#include <cstdint>

#include "nestlock/lock/debug_checks.h"
#include "nestlock/lock/lock_concepts.h"

namespace nestlock {

// `Lock` is any of the locks with lock() and unlock() for a scope, but not a per-CPU one.
template <BasicLockable Lock>
class NESTLOCK_CAPABILITY("RecursiveLock") BasicRecursiveLock {
  using Place = internal::PlaceOf<typename Lock::Kernel>;

 public:
  // Lock's, for guards.
  using Kernel = typename Lock::Kernel;
  using Port = typename Lock::Port;
  static constexpr bool kSleeps = Lock::kSleeps;
  static constexpr bool kTryLockFromAnyContext = false;

  // Free. Needs no code at run time, so a static one is constinit.
  constexpr BasicRecursiveLock(Place born = Place::here()) noexcept : lock_(born) {}
  BasicRecursiveLock(const BasicRecursiveLock&) = delete;
  BasicRecursiveLock& operator=(const BasicRecursiveLock&) = delete;

  // Where Lock::lock() is allowed. At once for the owner.
  void lock(Place where = Place::here()) noexcept NESTLOCK_ACQUIRE() NESTLOCK_NO_TSA {
    if (!held_by_caller()) lock_.lock(where), own();
    ++depth_;
  }
  // Where Lock::try_lock() is allowed. True = the caller has it (once more); false = somebody else has,
  // or what the caller interrupted; nothing changed.
  [[nodiscard]] NESTLOCK_TRY_ACQUIRE(true) NESTLOCK_NO_TSA
      bool try_lock(Place where = Place::here()) noexcept
    requires TryLockable<Lock>
  {
    if (!held_by_caller()) {
      if (!lock_.try_lock(where)) return false;
      own();
    }
    return ++depth_, true;
  }
  // By the owner, as often as it has it; the last gives it back. Debug reports others.
  void unlock(Place where = Place::here()) noexcept NESTLOCK_RELEASE() NESTLOCK_NO_TSA {
    if (Kernel::kConfig.debug && !held_by_caller()) return lock_.unlock(where);  // reports
    if (--depth_ != 0) return;
    owner_.store(0, internal::kRelaxed);
    std::atomic_signal_fence(std::memory_order_seq_cst);
    lock_.unlock(where);
  }

  // Whether the caller has it, in this context. Any context.
  bool held_by_caller() const noexcept {
    return owner_.load(internal::kRelaxed) == internal::self_of<Port>() &&
           context_.load(internal::kRelaxed) == static_cast<std::uint32_t>(Port::context());
  }
  // How often; only the owner may ask.
  unsigned depth() const noexcept { return depth_; }
  // As Lock's.
  bool is_locked() const noexcept { return lock_.is_locked(); }
  bool is_contended() const noexcept { return lock_.is_contended(); }

 private:
  // Only the owner finds its own name in owner_: it alone writes and removes it, with lock_ held. So
  // relaxed loads suffice to ask "is it me?"; what sections see is ordered by lock_. A handler may look
  // between any two of these stores: the owner comes last and goes first, and lock_ refuses it then.
  void own() noexcept {
    context_.store(static_cast<std::uint32_t>(Port::context()), internal::kRelaxed);
    std::atomic_signal_fence(std::memory_order_seq_cst);
    owner_.store(internal::self_of<Port>(), internal::kRelaxed);
  }

  template <class T>
  using Atomic = typename Port::template Atomic<T>;
  [[no_unique_address]] Lock lock_;
  Atomic<std::uintptr_t> owner_{0};
  Atomic<std::uint32_t> context_{0};
  unsigned depth_ = 0;
};

}  // namespace nestlock
