// What a zone and a CPU's list of its pages are made of; page.h says how they relate. Each is a row of parts, of
// which the lean form leaves some out.
#pragma once

#include <cstdint>
#include <type_traits>

#include "nestlock/lock/percpu.h"
#include "nestlock/page/buddy.h"
#include "nestlock/page/fork_hold.h"
#include "nestlock/page/lean_buddy.h"
#include "nestlock/page/lock_free_list.h"
#include "nestlock/page/lock_policies.h"
#include "nestlock/page/memory.h"
#include "nestlock/page/stats.h"

namespace nestlock::internal {

// One CPU's pages of one zone.
template <Kernel K, LockPolicy Locks>
struct PcpLists {
  template <class T>
  using Atomic = typename K::Port::template Atomic<T>;
  using Index = typename BasicPage<K>::Index;

  typename Locks::Pcp lock;
  // By numbers that count from 1, and so linked by next: an empty one is zero, so that what a CPU has where
  // it never comes takes no memory. Guarded by lock.
  Index list[kPcpOrders]{};
  // Pages ever put on the lists and taken off: written under the lock, read by anyone.
  Atomic<std::uintptr_t> in{0}, out{0};
  // Pages here now; without the lock a snapshot, which two reads may put below zero.
  std::uint32_t count() const noexcept {
    const std::uintptr_t gone = out.load(kRelaxed);
    const auto n = static_cast<std::intptr_t>(in.load(kRelaxed) - gone);
    return n < 0 ? 0 : static_cast<std::uint32_t>(n);
  }
};
template <Kernel K>
struct PcpCounts {
  // How many of `in` came by a refill, of `out` by a drain: one count to change, not two.
  typename K::Port::template Atomic<std::uintptr_t> refilled{0}, drained{0};
  [[no_unique_address]] ForkHoldOf<K> held;  // see before_fork()
};
struct NoPcpCounts {
  static constexpr NoCount refilled{}, drained{};
};
template <Kernel K, LockPolicy Locks>
struct Pcp : PcpLists<K, Locks>, std::conditional_t<kLean, NoPcpCounts, PcpCounts<K>> {};

template <Kernel K, LockPolicy Locks>
struct ZonePages {
  using Index = typename BasicPage<K>::Index;

  typename Locks::Zone lock;
  std::conditional_t<kLean, LeanBuddy<K>, Buddy<K>> buddy;
  LockFreeList<K, Index> parked;
  // The first taken off that list and not yet put back, counted from 1; guarded by lock.
  Index backlog = 0;
};
template <Kernel K>
struct ZoneFailed {
  LockFreeList<K> failed;  // ranges whose commit failed: grow() tries them again
};
struct NoZoneFailed {};
struct ZoneRange {
  std::uint32_t begin = 0, end = 0;
  std::uint32_t min = 0, low = 0, high = 0;  // watermarks, pages
};
template <Kernel K>
struct ZoneSystem {
  template <class T>
  using Atomic = typename K::Port::template Atomic<T>;
  [[no_unique_address]] ForkHoldOf<K> held;  // see before_fork()
  std::uint32_t dirty_low = 0;  // the fewest dirty pages since decay() looked; guarded by lock
  Atomic<std::uint32_t> committed{0};        // the end of the usable pages, which begin at `begin`
  Atomic<std::uint32_t> unusable{0};         // pages below it whose commit failed (see grow())
  Atomic<std::uint32_t> kept_for_nolock{0};  // pages: see reserve()
};
struct NoZoneSystem {
  static constexpr NoCount unusable{}, kept_for_nolock{};
};
template <Kernel K>
struct ZonePcp {
  typename K::Port::template Atomic<std::uint32_t> pcp_batch{0}, pcp_high{0};  // pages
};
template <Kernel K>
struct ZoneDepths {
  typename K::Port::template Atomic<std::uint32_t> pcp_off{0}, isolated_blocks{0};
};
struct NoZoneDepths {
  static constexpr NoCount pcp_off{}, isolated_blocks{};
};
template <Kernel K, LockPolicy Locks>
struct Zone : ZonePages<K, Locks>,
              std::conditional_t<kLean, NoZoneFailed, ZoneFailed<K>>,
              ZoneRange,
              std::conditional_t<kLean, NoZoneSystem, ZoneSystem<K>>,
              ZonePcp<K>,
              std::conditional_t<kLean, NoZoneDepths, ZoneDepths<K>> {
  std::conditional_t<kLean, LeanPageCounters<K>, PageCounters<K>> counters;
  BasicPerCpu<K, Pcp<K, Locks>> pcp;

  // The number behind its last page that was ever usable.
  std::uint32_t usable_end() const noexcept {
    if constexpr (kLean)
      return this->end;
    else
      return this->committed.load(kRelaxed);
  }
};

// What set_allowed() and fail_every() were told: asked where the allocator wants attention.
template <Kernel K>
struct PageControls {
  template <class T>
  using Atomic = typename K::Port::template Atomic<T>;
  Atomic<std::uint32_t> denied{0};  // of gfp
  Atomic<std::uint32_t> fail_every{0}, fail_orders{0}, fail_turn{0};
};

}  // namespace nestlock::internal
