// Every lock of every kernel as a value: one table of function pointers each, so that a test is
// written and compiled once, not 48 times; and the locks themselves in locks.cc alone.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <ostream>
#include <span>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "nestlock/lock/contexts.h"
#include "nestlock/port/report.h"

namespace nestlock::test_support {

// One class for all tests: on UP they share a word, as they should.
struct TestClass {};

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

// Of all kernels (test/support/kernels.h).
extern const std::span<const LockCalls> kAllLocks;

inline const LockCalls& lock_of(Config config, LockType type) {
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
