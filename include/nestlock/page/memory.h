// The page allocator's numbers, the memory that it manages, and who is asked or told when it runs short or goes back.
#pragma once

#include <cstddef>
#include <cstdint>

#include "nestlock/config/config.h"

namespace nestlock {

inline constexpr std::size_t kPageSize = std::size_t{1} << kPageShift;  // bytes
inline constexpr unsigned kPcpOrders = 4;             // orders 0..3 have per-CPU lists
inline constexpr unsigned kMaxNodes = kLean ? 1 : 4;  // of one allocator
inline constexpr int kAnyNode = -1;                   // the node of this CPU, else another
inline constexpr unsigned kUnparkedAtOnce = 64;   // parked blocks put back, by a call that may spin
inline constexpr unsigned kUnparkedByNolock = 4;  // by a nolock call that gets the lock
inline constexpr unsigned kDrainedByNolock = 24;  // pages that a CPU has too many, by a nolock free
// What a CPU's cache takes at once is its `batch`, 1/256 of its zone within these bounds, and what it keeps
// `high`, so many batches. Pages.
inline constexpr std::uint32_t kLeastBatch = 4, kMostBatch = 63, kHighOf = 6;
inline constexpr std::uint32_t kLeastHigh = kHighOf * kLeastBatch;

// A byte a page, for whoever has the page; 0 when it is given back. 64 pages to a cache line, where a
// descriptor is one: what a floor above has to know of an address on a fast path. It keeps this by
// itself, so that a look-up loads no pointer to it.
struct PageTags {
  // The byte of each page, and which pages have one by now.
  const std::uint8_t* tag = nullptr;
  std::uintptr_t first_pfn = 0, pages = 0;
  // Not below `pages`: the address is not in the managed range, or not in use yet.
  std::uintptr_t index(const void* at) const noexcept {
    return (reinterpret_cast<std::uintptr_t>(at) >> kPageShift) - first_pfn;
  }
};

// Gives memory back before an allocation with gfp::reclaim fails: see add_shrinker().
struct Shrinker {
  // Called in task context with no lock of the allocators held, perhaps on several CPUs at a time.
  // Must not allocate with gfp::reclaim from the same allocator. True: it gave some memory back.
  bool (*shrink)(Shrinker& self) noexcept = nullptr;
};
inline constexpr unsigned kMaxShrinkers = kLean ? 1 : 8;  // of one allocator

// Told, from any context, when free memory begins to wait for its return to the system, and when no more
// than the allocator keeps is left; decay() is to be called in between.
struct DecayHook {
  // Any context; must not allocate. `waits`: begins to, else no more.
  void (*change)(DecayHook& self, bool waits) noexcept = nullptr;
};
inline constexpr std::uint32_t kDecayMs = 1000;  // how long memory stays free before it goes back
// What decay() leaves with the process, so much and one of kDecayKeepsOf that are in use; its smallest block; and what
// one call gives back at most. Pages.
inline constexpr std::uint32_t kDecayKeeps = (std::uint32_t{4} << 20) >> kPageShift;
inline constexpr std::uint32_t kDecayKeepsOf = 16;
inline constexpr unsigned kDecayOrder = 4;
inline constexpr std::uint32_t kDecayAtOnce = (std::uint32_t{128} << 20) >> kPageShift;

// The memory that an allocator manages.
struct PageMemory {
  void* start = nullptr;  // whole pages inside [start, start + size) are used
  std::size_t size = 0;   // bytes
  // Makes [start, start + size) usable, called in steps of 2 MiB or a larger block, outside all
  // locks; false: out of memory. Null: all of it is usable from the beginning.
  bool (*commit)(void* start, std::size_t size) noexcept = nullptr;
  // Gives the memory of [start, start + size) back to the system; it stays usable, and its contents do not
  // matter. Task context, outside all locks. False: it could not. Null: memory never goes back.
  bool (*release)(void* start, std::size_t size) noexcept = nullptr;
  // Milliseconds, from any origin, in the same contexts: for decay(). Null: nothing decays.
  std::uint64_t (*now)() noexcept = nullptr;
  // Zero-filled memory for the descriptors and the tags (descriptor_bytes()); null: taken from `start`.
  void* descriptors = nullptr;
  // Makes part of `descriptors` usable, with `commit`, and one node only: called outside all locks, with any
  // address and size, and perhaps more than once for the same. False: out of memory. Null: all are.
  bool (*commit_descriptors)(void* start, std::size_t size) noexcept = nullptr;
  unsigned nodes = 1;  // the range is split evenly among them
};

// What set_up() found; anything but `ok` leaves the allocator as it was.
enum class PageSetup : std::uint8_t { ok, already, too_small, bad_nodes, commit_failed };

}  // namespace nestlock
