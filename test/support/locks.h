// Every lock of every kernel as a value: one table of function pointers each, so that a test is
// written and compiled once, not 48 times.
#pragma once

#include <array>
#include <cstddef>
#include <cstring>
#include <new>
#include <string>
#include <vector>

#include "kernels.h"
#include "nestlock/lock/contexts.h"
#include "nestlock/lock/guard.h"
#include "nestlock/lock/local_lock.h"
#include "nestlock/lock/local_trylock.h"
#include "nestlock/lock/raw_spinlock.h"
#include "nestlock/lock/shared_try_spinlock.h"
#include "nestlock/lock/spinlock.h"
#include "nestlock/lock/try_spinlock.h"

namespace nestlock::test_support {

// One class for all tests: on UP they share a word, as they should.
struct TestClass {};

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

enum class TagName : std::uint8_t { no_irq, irq_save, irq_disable, bh_disable };
inline constexpr TagName kTagNames[] = {TagName::no_irq, TagName::irq_save, TagName::irq_disable,
                                        TagName::bh_disable};
constexpr const char* name_of(TagName t) noexcept {
  constexpr const char* names[] = {"no_irq", "irq_save", "irq_disable", "bh_disable"};
  return names[static_cast<unsigned>(t)];
}

using Held = void (*)(void*);  // what a guard's scope does

// A null pointer: the type has no such function. Places are for debug configurations.
struct LockCalls {
  Config config;
  LockType type;
  bool sleeps, has_state;
  std::size_t size;
  void (*make)(void* at, Place born);
  void (*lock)(void*, Place);
  bool (*try_lock)(void*, Place);
  void (*unlock)(void*, Place);
  void (*lock_nested_bh)(void*, Place);
  void (*unlock_nested_bh)(void*);
  bool (*is_locked)(const void*);
  bool (*is_contended)(const void*);
  void (*assert_held)(const void*, Place);
  // By a guard with that tag; `held` runs in its scope, if it has one.
  void (*guard[4])(void*, Held held, void* arg);
  bool (*try_guard[4])(void*, Held held, void* arg);
  std::string name() const { return std::string(name_of(config)) + "_" + name_of(type); }
};

namespace detail {

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
      calls_of<K, LockType::local>()...,    calls_of<K, LockType::local_try>()...};
}

}  // namespace detail

inline constexpr auto kAllLocks = detail::all_locks(AllKernels{});

constexpr const LockCalls& lock_of(Config config, LockType type) {
  for (const LockCalls& c : kAllLocks)
    if (c.config == config && c.type == type) return c;
  __builtin_unreachable();
}

// Those of all kernels that are wanted, for ::testing::ValuesIn(); and their names.
template <class Wanted>
std::vector<const LockCalls*> locks_where(Wanted wanted) {
  std::vector<const LockCalls*> v;
  for (const LockCalls& c : kAllLocks)
    if (wanted(c)) v.push_back(&c);
  return v;
}
inline std::string name_of_lock(const ::testing::TestParamInfo<const LockCalls*>& info) {
  return info.param->name();
}
inline void PrintTo(const LockCalls* c, std::ostream* os) { *os << c->name(); }

// One lock of any kind, in memory of its own.
class AnyLock {
 public:
  explicit AnyLock(const LockCalls& calls, Place born = Place::here()) : calls_(calls) {
    std::memset(memory_, 0x5a, sizeof memory_);
    calls_.make(memory_, born);
  }
  AnyLock(const AnyLock&) = delete;
  AnyLock& operator=(const AnyLock&) = delete;

  const LockCalls& calls() const { return calls_; }
  void lock(Place here = Place::here()) { calls_.lock(memory_, here); }
  bool try_lock(Place here = Place::here()) { return calls_.try_lock(memory_, here); }
  void unlock(Place here = Place::here()) { calls_.unlock(memory_, here); }
  void lock_nested_bh(Place here = Place::here()) { calls_.lock_nested_bh(memory_, here); }
  void unlock_nested_bh() { calls_.unlock_nested_bh(memory_); }
  bool is_locked() const { return calls_.is_locked(memory_); }
  bool is_contended() const { return calls_.is_contended(memory_); }
  void assert_held(Place here = Place::here()) const { calls_.assert_held(memory_, here); }
  template <class F>
  void guard(TagName tag, F f) {
    calls_.guard[static_cast<unsigned>(tag)](memory_, [](void* p) { (*static_cast<F*>(p))(); }, &f);
  }
  template <class F>
  bool try_guard(TagName tag, F f) {
    return calls_.try_guard[static_cast<unsigned>(tag)](
        memory_, [](void* p) { (*static_cast<F*>(p))(); }, &f);
  }
  // By whatever the table allows in this context; false: nothing is.
  bool take(Context here = Context::task, Place at = Place::here()) {
    const auto may = [&](contexts::Call c) {
      return contexts::cell(calls_.type, c, calls_.config, here);
    };
    if (may(contexts::Call::lock).allowed) return lock(at), true;
    return may(contexts::Call::try_lock).free == contexts::Answer::granted && try_lock(at);
  }
  const void* address() const { return memory_; }
  void* address() { return memory_; }

  // The object, byte for byte, and what lies behind it. By atomic loads: a thread may be at work.
  using Bytes = std::array<unsigned char, 128>;
  Bytes bytes() const {
    Bytes b;
    for (std::size_t i = 0; i < b.size(); ++i)
      b[i] = __atomic_load_n(&memory_[i], __ATOMIC_RELAXED);
    return b;
  }

 private:
  const LockCalls& calls_;
  alignas(64) unsigned char memory_[128];
};

}  // namespace nestlock::test_support
