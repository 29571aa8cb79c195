// A policy to be caught: locks that exclude nobody, in every configuration what a plain spinlock is
// on one CPU.
#pragma once

#include "nestlock/page/lock_policies.h"

namespace nestlock::torture {

template <Kernel K>
class NESTLOCK_CAPABILITY("BustedLock") BustedLock
    : public internal::LockCore<K, LockType::try_spin, internal::NoWord<K>> {
  using Place = internal::PlaceOf<K>;

 public:
  constexpr BustedLock(Place born = Place::here()) noexcept : BustedLock::LockCore(born) {}
  void lock(Place where = Place::here()) noexcept NESTLOCK_ACQUIRE() {
    this->template lock_with<internal::Pin<K, false>>(contexts::Call::lock, where);
  }
  [[nodiscard]] bool try_lock(Place where = Place::here()) noexcept NESTLOCK_TRY_ACQUIRE(true) {
    return this->try_with(where);
  }
};

template <Kernel K>
struct Busted : policy::PerLockByte<K> {
  static constexpr const char* kName = "busted locks";
  using Pcp = BustedLock<K>;
  using Zone = BustedLock<K>;
  using Local = BustedLock<K>;
  using Barn = BustedLock<K>;
  using List = BustedLock<K>;
};

}  // namespace nestlock::torture
