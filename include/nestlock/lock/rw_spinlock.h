// RwSpinLock: one writer, or any number of readers. Both sides may be tried in every context, and
// are told the truth, also on top of a reader or a writer on the same CPU.
//
//   lock.lock(); ... lock.unlock();                      the writer: Guard, TryGuard, std::scoped_lock
//   SharedGuard g(lock);                                 a reader; also std::shared_lock
//   if (lock.try_lock_shared()) { ... lock.unlock_shared(); }
//
// | configuration | state                                             | size    |
// |---------------|---------------------------------------------------|---------|
// | UP            | a number, plain loads and stores                  | 4 bytes |
// | SMP           | a number and a writer's bits; spins, then naps    | 4 bytes |
//
// try_lock_shared() is false only if a writer holds it, try_lock() only if anyone does; a losing try
// leaves every byte as it was. On RT, too, it spins with preemption off, as a RawSpinLock: so no
// sleeping lock is taken inside, and the promise holds in hardirq and NMI.
//
// Handlers that wait for reading need no mask in the readers that they may interrupt, only in the
// writers (irq_save); those that wait for writing need it in both. Writers go first, for a bounded
// time, and among themselves are not fair (rw_word.h). No upgrade: a reader gives back first. For
// short sections with many readers; where readers are to write nothing: SeqLock.
#pragma once

#include "nestlock/lock/core.h"
#include "nestlock/lock/irq.h"
#include "nestlock/lock/rw_word.h"

namespace nestlock {

namespace internal {
template <Kernel K>
using RwWord = std::conditional_t<K::kConfig.smp, RwSmpWord<K>, RwUpWord<K>>;
}  // namespace internal

template <Kernel K>
class NESTLOCK_CAPABILITY("RwSpinLock") BasicRwSpinLock
    : public internal::LockCore<K, LockType::rw_spin, internal::RwWord<K>> {
  using Place = internal::PlaceOf<K>;
  using Pin = internal::Pin<K, false>;
  using Observer = typename K::Observer;

 public:
  // Free. Needs no code at run time, so a static one is constinit.
  constexpr BasicRwSpinLock(Place born = Place::here()) noexcept
      : BasicRwSpinLock::LockCore(born) {}

  // Task, softirq, hardirq; not NMI. Turns preemption off, then waits until it is the only one
  // (acquire order). On UP, with somebody in it: never_returns (fatal).
  void lock(Place where = Place::here()) noexcept NESTLOCK_ACQUIRE() {
    this->template lock_with<Pin>(contexts::Call::lock, where);
  }
  // Any context. True = acquired (acquire order); false = somebody reads or writes, nothing changed.
  // Never waits: two compare-exchanges at most (UP: none).
  [[nodiscard]] bool try_lock(Place where = Place::here()) noexcept NESTLOCK_TRY_ACQUIRE(true) {
    return this->try_with(where);
  }

  // The same for a reader: waits for a writer, and lets one that waits go first for a bounded time.
  void lock_shared(Place where = Place::here()) noexcept NESTLOCK_ACQUIRE_SHARED() NESTLOCK_NO_TSA {
    this->checks().before_lock(this, this->word(), contexts::Call::lock, where);
    Pin::enter();
    Observer::acquiring(this->ref(where));
    if (const auto r = this->word().acquire_shared(); r != SleepResult::acquired) [[unlikely]]
      this->checks().trouble(this, r, where);
    this->checks().not_taken();  // a reader is no owner
    Observer::acquired(this->ref(where), false);
  }
  // Any context. True = acquired (acquire order); false = a writer has it, nothing changed. Never
  // waits for one: a compare-exchange for each other reader that comes between (UP: none).
  [[nodiscard]] bool try_lock_shared(Place where = Place::here()) noexcept
      NESTLOCK_TRY_ACQUIRE_SHARED(true) NESTLOCK_NO_TSA {
    if (!this->checks().before_try(this, this->word(), where)) return false;
    Pin::enter();
    const bool got = this->word().try_acquire_shared();
    this->checks().not_taken();
    if (got)
      Observer::acquired(this->ref(where), true);
    else
      Pin::leave(), Observer::refused(this->ref(where));
    return got;
  }
  // By a reader, in the context that took it. Release order. Debug: reported where nobody reads.
  void unlock_shared(Place where = Place::here()) noexcept
      NESTLOCK_RELEASE_SHARED() NESTLOCK_NO_TSA {
    if (K::kConfig.debug && !this->word().read()) {
      Report r =
          internal::report_of<K>(Finding::not_held, LockType::rw_spin, "unlock_shared", this);
      if constexpr (K::kConfig.debug) r.here = where;
      return K::Port::report(r);
    }
    Observer::releasing(this->ref(where));
    this->word().release_shared();
    Pin::leave();
  }
};

// A reader's guard; the tags are Guard's.
template <class L, class Tag = NoIrq>
class [[nodiscard]] NESTLOCK_SCOPED_CAPABILITY SharedGuard {
  using Port = typename L::Port;
  using Irq = internal::TagFor<L, Tag>;
  using Place = internal::PlaceOf<typename L::Kernel>;

 public:
  // Masks what the tag says, then locks.
  explicit SharedGuard(L& taken, Tag = {}, Place where = Place::here()) noexcept
      NESTLOCK_ACQUIRE_SHARED(taken)
      : state_(Irq::template enter<Port>()), lock_(taken) {
    lock_.lock_shared(where);
  }
  ~SharedGuard() NESTLOCK_RELEASE_GENERIC() {
    lock_.unlock_shared();
    Irq::template leave<Port>(state_);
  }
  SharedGuard(const SharedGuard&) = delete;
  SharedGuard& operator=(const SharedGuard&) = delete;

 private:
  [[no_unique_address]] typename Irq::template State<Port> state_;
  L& lock_;
};

// SharedGuard g(lock); SharedGuard g(lock, irq_save).
template <class L>
SharedGuard(L&) -> SharedGuard<L, NoIrq>;
// The same, with irqs or bottom halves off meanwhile.
template <class L, class Tag>
SharedGuard(L&, Tag) -> SharedGuard<L, Tag>;

}  // namespace nestlock
