// The locks that an allocator stands on, as a policy: one struct a proposal of the list.
//
// The page and slab floors take a policy; the default is the library's own locks. Only locks that
// promise their try_lock() to every context are accepted; testing/unpromised_policies.h wraps the
// others, to show what they do.
//
//   Pcp, Zone          lock types of the page floor
//   Local, Barn, List  of the slab floor: a CPU's sheaves, a node's barn, a node's partial slabs
//   PcpTag      what is masked around the per-CPU lock
//   kPcp        whether per-CPU pages are used at all
//   may_try()   the gate of the *_nolock calls
#pragma once

#include "nestlock/lock/fifo_word.h"
#include "nestlock/lock/irq.h"
#include "nestlock/lock/lock_concepts.h"
#include "nestlock/nestlock.h"

namespace nestlock {

namespace policy {

// Ours: TrySpinLock, on UP a byte for each lock.
template <Kernel K>
struct PerLockByte {
  static constexpr const char* kName = "per-lock byte";
  using Pcp = BasicTrySpinLock<K>;
  using Zone = BasicTrySpinLock<K>;
  using Local = BasicLocalTryLock<K>;
  using Barn = BasicTrySpinLock<K>;
  using List = BasicTrySpinLock<K>;
  using PcpTag = NoIrq;
  static constexpr bool kPcp = true;
  static bool may_try() noexcept { return can_spin_trylock<K>(); }
};

// The SMP lock kept on UP: a compare-exchange where a store would do.
template <Kernel K>
class NESTLOCK_CAPABILITY("AtomicTrySpinLock") AtomicTrySpinLock
    : public internal::LockCore<K, LockType::try_spin,
                                internal::SleepOrWord<K, internal::FifoWord<K>>> {
  using Place = internal::PlaceOf<K>;

 public:
  constexpr AtomicTrySpinLock(Place born = Place::here()) noexcept
      : AtomicTrySpinLock::LockCore(born) {}
  void lock(Place where = Place::here()) noexcept NESTLOCK_ACQUIRE() {
    this->template lock_with<internal::Pin<K, AtomicTrySpinLock::kSleeps>>(contexts::Call::lock,
                                                                           where);
  }
  [[nodiscard]] bool try_lock(Place where = Place::here()) noexcept NESTLOCK_TRY_ACQUIRE(true) {
    return this->try_with(where);
  }
};

template <Kernel K>
struct PerLockAtomic : PerLockByte<K> {
  static constexpr const char* kName = "per-lock atomic";
  using Pcp = AtomicTrySpinLock<K>;
  using Zone = AtomicTrySpinLock<K>;
  using Local = AtomicTrySpinLock<K>;
  using Barn = AtomicTrySpinLock<K>;
  using List = AtomicTrySpinLock<K>;
};

// One word for all locks of a class on UP. The zone's needs a blocking form, which a class lock can
// only have where no sibling is ever held by the caller or by what it interrupted: zone locks are
// taken one at a time and with irqs masked.
template <Kernel K, class Class>
class NESTLOCK_CAPABILITY("ClassLock") ClassLock : public BasicSharedTrySpinLock<K, Class> {
  using Place = internal::PlaceOf<K>;

 public:
  constexpr ClassLock(Place born = Place::here()) noexcept
      : BasicSharedTrySpinLock<K, Class>(born) {}
  void lock(Place where = Place::here()) noexcept NESTLOCK_ACQUIRE() NESTLOCK_NO_TSA {
    unsigned turns = 0;
    while (!this->try_lock(where)) {
      if constexpr (!K::kConfig.smp && !K::kConfig.preempt_rt) internal::die<typename K::Port>();
      internal::wait_turn<typename K::Port>(turns);
    }
  }
};

template <Kernel K>
struct ClassAtomic : PerLockByte<K> {
  static constexpr const char* kName = "class atomic";
  using Pcp = BasicSharedTrySpinLock<K, struct PcpClass>;
  using Zone = ClassLock<K, struct ZoneClass>;
  using Local = BasicSharedTrySpinLock<K, struct LocalClass>;
  using Barn = ClassLock<K, struct BarnClass>;
  using List = ClassLock<K, struct ListClass>;
};

}  // namespace policy

namespace internal {
template <class... Locks>
concept FullyLockable = (BasicLockable<Locks> && ...) && (TryLockable<Locks> && ...);
template <class... Locks>
concept AllAnyContext = (AnyContextTryLockable<Locks> && ...);
}  // namespace internal

// What an allocator accepts.
template <class L>
concept LockPolicy =
    requires {
      { L::may_try() } noexcept -> std::same_as<bool>;
      typename L::PcpTag;
      requires TryLockable<typename L::Pcp> && TryLockable<typename L::Local>;
      requires internal::FullyLockable<typename L::Zone, typename L::Barn, typename L::List>;
    } && (internal::AllAnyContext<typename L::Pcp, typename L::Zone, typename L::Local,
                                  typename L::Barn, typename L::List> ||
          requires { requires L::kUnpromisedForTest; });

}  // namespace nestlock
