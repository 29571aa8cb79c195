// An observer that tells ThreadSanitizer of every lock, so that it reports locks that are taken in
// different orders ("lock-order-inversion (potential deadlock)"), also where nothing has hung yet.
//
//   g++ -fsanitize=thread -DNESTLOCK_TSAN_LOCK_ORDER ...      the plain names' locks, all files alike
//   ./nest test --tsan --config=tsan_lock_order
//   using K = KernelOf<kC, HostedPort<kC>, TsanLockOrder>;    or a kernel of your own
//
// It is a mode of its own, for what the tool is told here it believes: it ignores a lock's own accesses, and
// with them a lock whose memory order is wrong. Without it the tool looks at these. A try_lock() makes
// no order, since it never waits. Without ThreadSanitizer it does nothing.
#pragma once

#include "nestlock/config/annotations.h"
#include "nestlock/port/kernel.h"

namespace nestlock {

struct TsanLockOrder {
  // A wait may begin.
  static void acquiring(const LockRef& l) noexcept { internal::tsan_pre_lock(l.lock, false); }
  // The lock is had: a wait is over, or a try_lock() was granted, of which nothing was told before.
  static void acquired(const LockRef& l, bool by_try) noexcept {
    if (by_try) internal::tsan_pre_lock(l.lock, true);
    internal::tsan_post_lock(l.lock, by_try);
  }
  // Nothing came of it, and nothing was told.
  static void refused(const LockRef&) noexcept {}
  // Before the word is free: the next holder comes behind it.
  static void releasing(const LockRef& l) noexcept { internal::tsan_unlock(l.lock); }
};

}  // namespace nestlock
