// SharedTrySpinLock<Class>: one word for all locks of a class on UP, 4 bytes in all.
//
// The proposal of the list ("one atomic for every pcp lock", M. Wilcox, February 2026), kept to be
// compared: memory for truth. It has no lock(): with a sibling held by the interrupted code it
// could never return. try_lock() is false also while a sibling is held, so callers must have a
// fallback; and while one lock of the class is held the same task cannot take another.
//
// | configuration | state                    | size                                          |
// |---------------|--------------------------|-----------------------------------------------|
// | UP            | one word for all         | 0 as a [[no_unique_address]] member, 4 in all |
// | SMP, RT       | as TrySpinLock, per lock | 4 bytes                                       |
#pragma once

#include "nestlock/lock/try_spinlock.h"

namespace nestlock {

namespace internal {
template <Kernel K, class Class>
using SharedWord =
    SleepOrWord<K, std::conditional_t<K::kConfig.smp, SmpWord<K>, ClassWord<K, Class>>>;
}  // namespace internal

template <Kernel K, class Class>
class NESTLOCK_CAPABILITY("SharedTrySpinLock") BasicSharedTrySpinLock
    : public internal::LockCore<K, LockType::shared_try_spin, internal::SharedWord<K, Class>> {
  using Place = internal::PlaceOf<K>;

 public:
  // Free. Needs no code at run time, so a static one is constinit.
  constexpr BasicSharedTrySpinLock(Place born = Place::here()) noexcept
      : BasicSharedTrySpinLock::LockCore(born) {}

  // Any context. True = acquired (acquire order); false = this lock or, on UP, a sibling is held;
  // nothing changed. Never waits.
  [[nodiscard]] bool try_lock(Place where = Place::here()) noexcept NESTLOCK_TRY_ACQUIRE(true) {
    return this->try_with(where);
  }
};

}  // namespace nestlock
