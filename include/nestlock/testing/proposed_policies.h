// Lock policies that were proposed on the kernel's mailing list and whose locks promise their answer:
// for the comparison (./nest compare), the demonstration and tests. An allocator takes one as its
// second parameter; policy::PerLockByte (page/lock_policies.h) is what the library uses.
#pragma once

#include "nestlock/lock/smp_word.h"
#include "nestlock/page/lock_policies.h"

namespace nestlock::policy {

// The SMP lock kept on UP: a compare-exchange where a store would do.
template <Kernel K>
class NESTLOCK_CAPABILITY("AtomicTrySpinLock") AtomicTrySpinLock
    : public internal::LockCore<K, LockType::try_spin,
                                internal::SleepOrWord<K, internal::SmpWord<K>>> {
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

}  // namespace nestlock::policy
