// The page floor over fork(). Included by page.h.
//
// The child has one thread. What others had in their hands at the fork (a block between two lists, at most
// one of 4 MiB and a batch of pages each) is nobody's in the child, as is all that they had allocated. What
// lies under a lock is whole, for the forking thread had the lock.
#pragma once

#include <new>
#include <utility>

#include "nestlock/page.h"

namespace nestlock {

namespace internal {

inline constexpr unsigned kForkTurns = 2000;  // of waiting for a lock that we may have interrupted

// False: not to be had; `bounded`, for its holder may be what we interrupted.
template <class P, class Lock>
bool take_over_fork(Lock& lock, bool bounded) noexcept NESTLOCK_NO_TSA {
  if constexpr (requires { lock.is_locked_here(); })
    if (lock.is_locked_here()) return false;  // by what we interrupted
  unsigned turns = 0;
  for (unsigned i = 0; !lock.try_lock(); ++i) {
    if (bounded && i == kForkTurns) return false;
    wait_turn<P>(turns);
  }
  return true;
}

// Gives it back if it was had. In the child nobody waits for it, whatever its word says: it is a new one.
template <class Lock>
void give_after_fork(Lock& lock, bool& kept, bool child) noexcept NESTLOCK_NO_TSA {
  if (!std::exchange(kept, false)) return;
  lock.unlock();
  if (child) ::new (&lock) Lock;
}

}  // namespace internal

template <Kernel K, LockPolicy L>
void BasicPageAllocator<K, L>::before_fork(bool bounded) noexcept NESTLOCK_NO_TSA {
  if constexpr (K::kConfig.smp && !kLean) {
    using P = typename K::Port;
    fork_state_ = ZoneIrq::template enter<P>();
    for (unsigned n = 0; n < nodes(); ++n) {
      for (unsigned cpu = 0; cpu < decltype(Zone::pcp)::size(); ++cpu) {
        Pcp& pcp = zone_[n].pcp.on(cpu);
        pcp.kept = internal::take_over_fork<P>(pcp.lock, bounded);
      }
      zone_[n].kept = internal::take_over_fork<P>(zone_[n].lock, bounded);
    }
  }
}

template <Kernel K, LockPolicy L>
void BasicPageAllocator<K, L>::after_fork(bool child) noexcept NESTLOCK_NO_TSA {
  if constexpr (K::kConfig.smp && !kLean) {
    for (unsigned n = nodes(); n-- > 0;) {
      Zone& z = zone_[n];
      if (child && z.kept) {
        // A block is counted as parked before it is on the list; its thread may be gone in between.
        std::uintptr_t parked = 0;
        const Index fresh = z.parked.take_all();
        for (const Index list : {z.backlog, fresh})
          for (Index p = list; p != kNil; p = all_[p].next)
            parked += std::uintptr_t{1} << all_[p].order();
        for (Index p = fresh; p != kNil;) {
          const Index next = all_[p].next;
          z.parked.push(p, next_of());
          p = next;
        }
        z.counters.parked.store(parked, internal::kRelaxed);
      }
      internal::give_after_fork(z.lock, z.kept, child);
      for (unsigned cpu = decltype(Zone::pcp)::size(); cpu-- > 0;) {
        Pcp& pcp = z.pcp.on(cpu);
        internal::give_after_fork(pcp.lock, pcp.kept, child);
      }
    }
    if (child) shrinking_.store(0, internal::kRelaxed);  // whoever was at it is gone
    ZoneIrq::template leave<typename K::Port>(fork_state_);
  }
}

}  // namespace nestlock
