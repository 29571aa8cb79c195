// What the lean form has in place of a fast and a slow way. Included by page.h.
#pragma once

#include "nestlock/lock/guard.h"
#include "nestlock/page.h"

namespace nestlock {

// Both frees of the lean form, which takes no way that is only the faster one. What a CPU's list does not
// take goes to the zone.
template <Kernel K, LockPolicy L>
[[gnu::noinline]] bool BasicPageAllocator<K, L>::free_lean(Page* page, unsigned order,
                                                           bool may_spin, Place where) noexcept
  requires(internal::kLeanOf<K>)
{
  if (!is_ours(page) || !page->is(PageState::used, order))
    return bad_free(page, may_spin ? "free_pages" : "free_pages_nolock", where);
  Zone& z = zone_[0];
  retire(page, order, where);
  if (may_spin || L::may_try()) {
    if (order < kPcpOrders && !(may_spin && has_parked(z)) &&
        push_here<false>(z, page, order) == Push::done)
      return true;
    // The gate stands here, at the lock: a block that no pcp takes comes this way, too.
    const unsigned most = may_spin ? kUnparkedAtOnce : kUnparkedByNolock;
    auto give = [&] {
      give_locked(z, index(page), order);
      unpark_locked(z, most);
      return true;
    };
    if (may_spin) {
      Guard g(z.lock, irq_save);
      return give();
    }
    TryGuard g(z.lock, irq_save);
    if (g) {
      z.lock.assert_held();
      return give();
    }
  }
  return park(z, page, order);
}

}  // namespace nestlock
