// A lock of one's own for ./nest compare --lock=tools/compare/example_lock.h: test and set.
//
// try_lock() may be called by a handler that interrupted any of these functions on the same CPU.
#pragma once

#include <atomic>

struct ComparedLock {
  static constexpr const char* kName = "test and set";

  bool try_lock() noexcept { return !held.test_and_set(std::memory_order_acquire); }
  void unlock() noexcept { held.clear(std::memory_order_release); }
  bool is_locked() const noexcept { return held.test(std::memory_order_relaxed); }

 private:
  std::atomic_flag held{};
};
