// In the place of Abseil's header of this name: its SpinLock is one of ours, CLIENT_LOCK (SpinLock,
// RawSpinLock, TrySpinLock) of the built configuration, with the names that Abseil calls.
#pragma once

#include <cstdint>

#include "absl/base/attributes.h"
#include "absl/base/const_init.h"
#include "absl/base/internal/low_level_scheduling.h"
#include "absl/base/internal/raw_logging.h"
#include "absl/base/internal/scheduling_mode.h"
#include "absl/base/thread_annotations.h"
#include "nestlock/nestlock.h"

namespace absl {
ABSL_NAMESPACE_BEGIN
namespace base_internal {

class ABSL_LOCKABLE SpinLock {
 public:
  // Nestlock's locks know no modes of waiting.
  constexpr SpinLock() = default;
  constexpr explicit SpinLock(SchedulingMode) {}
  constexpr SpinLock(ConstInitType, SchedulingMode) {}

  void Lock() ABSL_EXCLUSIVE_LOCK_FUNCTION() {
    lock_.lock();
    ++taken;
  }
  bool TryLock() ABSL_EXCLUSIVE_TRYLOCK_FUNCTION(true) { return lock_.try_lock(); }
  void Unlock() ABSL_UNLOCK_FUNCTION() { lock_.unlock(); }
  bool IsHeld() const { return lock_.is_locked(); }
  void AssertHeld() const ABSL_ASSERT_EXCLUSIVE_LOCK() { lock_.assert_held(); }

  // How often Lock() returned: that the test really ran on these locks.
  static inline std::atomic<unsigned long> taken{0};

 protected:
  // How Abseil's lock packs waiting times into its word. A test of that is compiled with the
  // others, but not run: it asks nothing of a lock.
  friend struct SpinLockTest;
  static std::uint32_t EncodeWaitCycles(std::int64_t, std::int64_t) { return 0; }
  static std::uint64_t DecodeWaitCycles(std::uint32_t) { return 0; }

 private:
  nestlock::CLIENT_LOCK lock_;
};

class ABSL_SCOPED_LOCKABLE SpinLockHolder {
 public:
  explicit SpinLockHolder(SpinLock* l) ABSL_EXCLUSIVE_LOCK_FUNCTION(l) : lock_(l) { l->Lock(); }
  ~SpinLockHolder() ABSL_UNLOCK_FUNCTION() { lock_->Unlock(); }
  SpinLockHolder(const SpinLockHolder&) = delete;
  SpinLockHolder& operator=(const SpinLockHolder&) = delete;

 private:
  SpinLock* lock_;
};

}  // namespace base_internal
ABSL_NAMESPACE_END
}  // namespace absl
