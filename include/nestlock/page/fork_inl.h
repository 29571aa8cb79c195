// The page floor over fork(). Included by page.h.
//
// The child has one thread. What others had in their hands at the fork (a block between two lists, at most
// one of 4 MiB and a batch of pages each) is nobody's in the child, as is all that they had allocated. What
// lies under a lock is whole, for the forking thread had the lock.
#pragma once

#include "nestlock/page.h"

namespace nestlock {

// A CPU's lists are locked with irqs on, by its own thread or in with_pcp(), which we may have interrupted
// whatever our context says. All else is locked with irqs masked. (A child keeps the count of with_pcp() of
// threads that it lacks: its own forks then wait for no list for ever, which they need not.)
template <Kernel K, LockPolicy L>
void BasicPageAllocator<K, L>::before_fork(bool bounded) noexcept NESTLOCK_NO_TSA {
  if constexpr (K::kConfig.smp && !kLean) {
    const auto& fork = forks_.begin();
    if (fork.alone) return;
    const std::uint32_t depth = fork.depth();
    const unsigned mine = internal::claimed_cpu<typename K::Port>();
    const bool drains = draining_.load(internal::kRelaxed) != 0;
    for (unsigned n = 0; n < nodes(); ++n) {
      for (unsigned cpu = 0; cpu < decltype(Zone::pcp)::size(); ++cpu) {
        Pcp& pcp = zone_[n].pcp.on(cpu);
        pcp.held.take(pcp.lock, bounded || drains || cpu == mine, depth);
      }
      zone_[n].held.take(zone_[n].lock, bounded, depth);
    }
  }
}

template <Kernel K, LockPolicy L>
void BasicPageAllocator<K, L>::after_fork(bool child) noexcept NESTLOCK_NO_TSA {
  if constexpr (K::kConfig.smp && !kLean) {
    auto* const fork = forks_.innermost();
    if (!fork && !child) return;
    if (fork && fork->alone) return forks_.end_alone(*fork);
    const std::uint32_t depth = fork ? fork->depth() : 0;
    const auto each_lock = [this](auto f) {
      for (unsigned n = nodes(); n-- > 0;) {
        f(zone_[n].lock, zone_[n].held);
        for (unsigned cpu = decltype(Zone::pcp)::size(); cpu-- > 0;)
          f(zone_[n].pcp.on(cpu).lock, zone_[n].pcp.on(cpu).held);
      }
    };
    // A block is counted as parked before it is on the list; its thread may be gone in between.
    const auto count_parked = [this](Zone& z) {
      std::uintptr_t parked = 0;
      const Index fresh = z.parked.take_all();
      for (const Index list : {static_cast<Index>(z.backlog - 1), fresh})
        for (Index p = list; p != kNil; p = all_[p].next)
          parked += std::uintptr_t{1} << all_[p].order();
      for (Index p = fresh; p != kNil;) {
        const Index next = all_[p].next;
        z.parked.push(p, next_of());
        p = next;
      }
      z.counters.parked.store(parked, internal::kRelaxed);
    };
    if (child) {
      for (unsigned n = 0; n < nodes(); ++n)
        if (zone_[n].held.is_held()) count_parked(zone_[n]);
      each_lock([depth](auto& lock, auto& held) { held.end_in_child(lock, depth); });
      shrinking_.store(0, internal::kRelaxed);  // whoever was at it is gone
    } else {
      forks_.ends();
      each_lock([depth](auto&, auto& held) { held.drop_share(depth); });
      each_lock([depth](auto& lock, auto& held) { held.give_back(lock, depth); });
    }
    forks_.end(fork, child);
  }
}

}  // namespace nestlock
