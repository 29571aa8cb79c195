#include "test/support/locks.h"

#include <new>
#include <type_traits>

#include "nestlock/lock/guard.h"
#include "nestlock/lock/local_lock.h"
#include "nestlock/lock/local_trylock.h"
#include "nestlock/lock/raw_spinlock.h"
#include "nestlock/lock/rw_spinlock.h"
#include "nestlock/lock/shared_try_spinlock.h"
#include "nestlock/lock/spinlock.h"
#include "nestlock/lock/try_spinlock.h"
#include "test/support/kernels.h"

namespace nestlock::test_support {
namespace {

template <class K, LockType kType>
struct LockOf;
template <class K>
struct LockOf<K, LockType::raw_spin> {
  using type = BasicRawSpinLock<K>;
};
template <class K>
struct LockOf<K, LockType::spin> {
  using type = BasicSpinLock<K>;
};
template <class K>
struct LockOf<K, LockType::try_spin> {
  using type = BasicTrySpinLock<K>;
};
template <class K>
struct LockOf<K, LockType::shared_try_spin> {
  using type = BasicSharedTrySpinLock<K, TestClass>;
};
template <class K>
struct LockOf<K, LockType::local> {
  using type = BasicLocalLock<K>;
};
template <class K>
struct LockOf<K, LockType::local_try> {
  using type = BasicLocalTryLock<K>;
};
template <class K>
struct LockOf<K, LockType::rw_spin> {
  using type = BasicRwSpinLock<K>;
};

template <class L, const auto& kTag>
void guarded(void* p, Held held, void* arg) NESTLOCK_NO_TSA {
  Guard g(*static_cast<L*>(p), kTag);
  held(arg);
}
template <class L, const auto& kTag>
bool try_guarded(void* p, Held held, void* arg) NESTLOCK_NO_TSA {
  TryGuard g(*static_cast<L*>(p), kTag);
  if (g) held(arg);
  return static_cast<bool>(g);
}

template <class L>
struct Thunks {
  using At = nestlock::internal::PlaceOf<typename L::Kernel>;
  static At at(Place p) {
    if constexpr (std::is_same_v<At, Place>)
      return p;
    else
      return {};
  }
  static void make(void* p, Place born) { new (p) L(at(born)); }
  static void lock(void* p, Place here) NESTLOCK_NO_TSA { static_cast<L*>(p)->lock(at(here)); }
  static bool try_lock(void* p, Place here) NESTLOCK_NO_TSA {
    return static_cast<L*>(p)->try_lock(at(here));
  }
  static void unlock(void* p, Place here) NESTLOCK_NO_TSA { static_cast<L*>(p)->unlock(at(here)); }
  static void lock_nested_bh(void* p, Place here) NESTLOCK_NO_TSA {
    static_cast<L*>(p)->lock_nested_bh(at(here));
  }
  static void unlock_nested_bh(void* p) NESTLOCK_NO_TSA { static_cast<L*>(p)->unlock_nested_bh(); }
  static bool is_locked(const void* p) { return static_cast<const L*>(p)->is_locked(); }
  static bool is_contended(const void* p) { return static_cast<const L*>(p)->is_contended(); }
  static void assert_held(const void* p, Place here) NESTLOCK_NO_TSA {
    static_cast<const L*>(p)->assert_held(at(here));
  }
};

template <class K, LockType kType>
constexpr LockCalls calls_of() {
  using L = typename LockOf<K, kType>::type;
  using T = Thunks<L>;
  LockCalls c{};
  c.config = K::kConfig;
  c.type = kType;
  c.sleeps = L::kSleeps;
  c.has_state = !std::is_empty_v<L> || kType == LockType::shared_try_spin;
  c.size = sizeof(L);
  c.make = T::make;
  c.unlock = T::unlock;
  c.is_locked = T::is_locked;
  c.is_contended = T::is_contended;
  c.assert_held = T::assert_held;
  if constexpr (requires(L l) { l.lock(); }) {
    c.lock = T::lock;
    c.guard[0] = guarded<L, no_irq>, c.guard[1] = guarded<L, irq_save>;
    c.guard[2] = guarded<L, irq_disable>, c.guard[3] = guarded<L, bh_disable>;
  }
  if constexpr (requires(L l) { l.try_lock(); }) {
    c.try_lock = T::try_lock;
    c.try_guard[0] = try_guarded<L, no_irq>, c.try_guard[1] = try_guarded<L, irq_save>;
    c.try_guard[2] = try_guarded<L, irq_disable>, c.try_guard[3] = try_guarded<L, bh_disable>;
  }
  if constexpr (requires(L l) { l.lock_nested_bh(); }) {
    c.lock_nested_bh = T::lock_nested_bh;
    c.unlock_nested_bh = T::unlock_nested_bh;
  }
  return c;
}

template <class... K>
constexpr auto all_locks(::testing::Types<K...>) {
  return std::array{
      calls_of<K, LockType::raw_spin>()..., calls_of<K, LockType::spin>()...,
      calls_of<K, LockType::try_spin>()..., calls_of<K, LockType::shared_try_spin>()...,
      calls_of<K, LockType::local>()...,    calls_of<K, LockType::local_try>()...,
      calls_of<K, LockType::rw_spin>()...};
}

constexpr auto kCalls = all_locks(AllKernels{});

}  // namespace

constinit const std::span<const LockCalls> kAllLocks{kCalls};

}  // namespace nestlock::test_support
