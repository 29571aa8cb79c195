// For compare_test.sh: a lock that is never held.
#pragma once

struct ComparedLock {
  static constexpr const char* kName = "a liar";
  bool try_lock() noexcept { return true; }
  void unlock() noexcept {}
  bool is_locked() const noexcept { return false; }
};
