// What ThreadSanitizer looks at where a test and its handlers are threads to it: the library's
// code. A test shares its books with the bodies that it raises, by turns, and no lock orders them.
//
// Empty without the tool. A level of handlers is a thread of its own in this, too.
#pragma once

#include <atomic>
#include <optional>

#include "nestlock/port/hosted.h"

#if NESTLOCK_WITH_TSAN
extern "C" {
void AnnotateIgnoreReadsBegin(const char* file, int line);
void AnnotateIgnoreReadsEnd(const char* file, int line);
void AnnotateIgnoreWritesBegin(const char* file, int line);
void AnnotateIgnoreWritesEnd(const char* file, int line);
}
#endif

namespace nestlock::test_support {

#if NESTLOCK_WITH_TSAN

namespace detail {
// Relaxed, both: no order may come from them. Whether any of this is on: in sweeps it is not, whose
// code should be the library's.
inline constinit std::atomic<bool> library_checked{false};
// Read and written by a thread and its handlers, by turns.
inline constinit thread_local std::atomic<bool> unchecked{false};

inline void set_unchecked(bool now) noexcept {
  if (now) {
    AnnotateIgnoreReadsBegin(__FILE__, __LINE__);
    AnnotateIgnoreWritesBegin(__FILE__, __LINE__);
  } else {
    AnnotateIgnoreWritesEnd(__FILE__, __LINE__);
    AnnotateIgnoreReadsEnd(__FILE__, __LINE__);
  }
  unchecked.store(now, std::memory_order_relaxed);
}
inline void check_library(bool on) noexcept {
  library_checked.store(on, std::memory_order_relaxed);
}
inline bool is_on() noexcept { return library_checked.load(std::memory_order_relaxed); }
inline bool is_unchecked() noexcept { return unchecked.load(std::memory_order_relaxed); }
}  // namespace detail

// While one of these lives, this thread's (or level's) plain accesses are left out, or are not.
// What synchronises is seen always.
template <bool kUnchecked>
class Checking {
 public:
  Checking() noexcept : changes_(detail::is_on() && detail::is_unchecked() != kUnchecked) {
    if (changes_) detail::set_unchecked(kUnchecked);
  }
  ~Checking() {
    if (changes_) detail::set_unchecked(!kUnchecked);
  }
  Checking(const Checking&) = delete;
  Checking& operator=(const Checking&) = delete;

 private:
  const bool changes_;
};

// f() on another level, whose own accesses are checked so far: left out where its test's are.
template <class F>
void on_its_level(bool of_test_unchecked, F&& f) {
  const bool before = detail::unchecked.exchange(false, std::memory_order_relaxed);
  {
    std::optional<Checking<true>> test;
    if (of_test_unchecked) test.emplace();
    f();
  }
  detail::unchecked.store(before, std::memory_order_relaxed);
}

// Who frees a block is behind who was given it, as a program that passes blocks on has to see to:
// so a handler may free its task's, and what it was interrupted in is still not ordered by that.
// The address is no one's but ours.
inline void* passed_on(void* at) noexcept {
  if (at && detail::is_on()) nestlock::internal::tsan_release(static_cast<const char*>(at) + 1);
  return at;
}
inline void* taken_over(void* at) noexcept {
  if (at && detail::is_on()) nestlock::internal::tsan_acquire(static_cast<const char*>(at) + 1);
  return at;
}

#else

namespace detail {
inline constexpr bool is_unchecked() noexcept { return false; }
inline void check_library(bool) noexcept {}
}  // namespace detail
template <bool>
struct Checking {
  Checking() noexcept {}
  ~Checking() {}
};
template <class F>
void on_its_level(bool, F&& f) {
  f();
}
inline void* passed_on(void* at) noexcept { return at; }
inline void* taken_over(void* at) noexcept { return at; }

#endif

using Unchecked = Checking<true>;
using Checked = Checking<false>;

// A T whose members are called with checks on: p->f(), until the end of the expression.
template <class T>
class CheckedCall {
 public:
  explicit CheckedCall(T* at) noexcept : at_(at) {}
  T* operator->() const noexcept { return at_; }

 private:
  T* at_;
  [[no_unique_address]] Checked checked_;
};
template <class T>
class CheckedOptional {
 public:
  void emplace() { value_.emplace(); }
  CheckedCall<T> operator->() noexcept { return CheckedCall<T>(&*value_); }
  CheckedCall<const T> operator->() const noexcept { return CheckedCall<const T>(&*value_); }
  T& operator*() noexcept { return *value_; }

 private:
  std::optional<T> value_;
};

}  // namespace nestlock::test_support
