// What the page floor counts.
#pragma once

#include <cstdint>

#include "nestlock/lock/words.h"
#include "nestlock/page/no_count.h"

namespace nestlock {

// The floor whose lock the code held that a handler interrupted.
enum class Floor : std::uint8_t { none, page, slab };

// Why a nolock allocation was refused: which lock was held, or what else.
enum class PageRefusal : std::uint8_t {
  none,
  gate,              // this context may not try (RT: hardirq, NMI; a policy's own gate)
  order,             // an order that nolock calls do not serve, or no such node
  zone_held,         // the zone's lock was held, and no pcp could serve: it was empty ...
  zone_held_no_pcp,  // ... or busy, or there is none
  no_memory,         // below the watermark, or fragmented
  injected,          // fail_every()
};
// How many there are; and their names.
inline constexpr unsigned kPageRefusals = 7;

// For people.
constexpr const char* name_of(PageRefusal r) noexcept {
  constexpr const char* names[kPageRefusals] = {
      "none",      "gate",    "order", "zone lock held, pcp empty", "zone lock held, pcp busy",
      "no memory", "injected"};
  return names[static_cast<unsigned>(r)];
}

// Counts of one node, since the start unless it says otherwise: a snapshot.
struct PageStats {
  std::uintptr_t present, committed, free, isolated, cached, parked;  // pages, now
  std::uintptr_t clean;           // of the free ones those that the system keeps no memory for
  std::uintptr_t released;        // pages that went back to the system, in all
  std::uintptr_t min, low, high;  // watermarks, pages
  std::uintptr_t pcp_allocs, pcp_frees;      // pages through a pcp
  std::uintptr_t zone_allocs, zone_frees;    // blocks through the zone
  std::uintptr_t refills, drains;            // batches
  std::uintptr_t parked_total, unparked;     // blocks
  std::uintptr_t failures;                   // alloc_pages() that returned null
  std::uintptr_t bad_frees;                  // refused frees
  std::uintptr_t refusals[kPageRefusals];    // alloc_pages_nolock() that returned null
  std::uintptr_t pcp_busy[4], zone_busy[4];  // refused try_locks, by context
};

namespace internal {

// Counters that handlers leave behind take a read-modify-write (off the fast path); those written
// under a lock a load and a store.
template <Kernel K>
struct PageCounters {
  using Counter = typename K::Port::template Atomic<std::uintptr_t>;
  Counter zone_allocs{0}, zone_frees{0}, refills{0}, drains{0}, parked{0}, parked_total{0},
      unparked{0}, released{0}, failures{0}, bad_frees{0}, refusals[kPageRefusals]{}, pcp_busy[4]{},
      zone_busy[4]{};
};

// What the lean form needs to know: whether anything is parked.
template <Kernel K>
struct LeanPageCounters {
  typename K::Port::template Atomic<std::uintptr_t> parked{0};
  static constexpr NoCount zone_allocs{}, zone_frees{}, refills{}, drains{}, parked_total{},
      unparked{}, released{}, failures{}, bad_frees{}, refusals[kPageRefusals]{}, pcp_busy[4]{},
      zone_busy[4]{};
};

template <class Counter>
inline void bump(Counter& c, std::uintptr_t by = 1) noexcept {
  c.fetch_add(by, kRelaxed);
}
template <class Counter>
[[gnu::always_inline]] inline void bump_locked(Counter& c, std::uintptr_t by = 1) noexcept {
  c.store(c.load(kRelaxed) + by, kRelaxed);
}

}  // namespace internal
}  // namespace nestlock
