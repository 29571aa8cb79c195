// The memory that a page allocator manages, and who is asked or told when it runs short or goes back.
#pragma once

#include <cstddef>
#include <cstdint>

#include "nestlock/config/config.h"

namespace nestlock {

// Gives memory back before an allocation with gfp::reclaim fails: see add_shrinker().
struct Shrinker {
  // Called in task context with no lock of the allocators held, perhaps on several CPUs at a time.
  // Must not allocate with gfp::reclaim from the same allocator. True: it gave some memory back.
  bool (*shrink)(Shrinker& self) noexcept = nullptr;
};
inline constexpr unsigned kMaxShrinkers = 8;  // of one allocator

// Told, from any context, when free memory begins to wait for its return to the system, and when no more
// than the allocator keeps is left; decay() is to be called in between.
struct DecayHook {
  // Any context; must not allocate. `waits`: begins to, else no more.
  void (*change)(DecayHook& self, bool waits) noexcept = nullptr;
};
inline constexpr std::uint32_t kDecayMs = 1000;  // how long memory stays free before it goes back
// What decay() leaves with the process; its smallest block; and what one call gives back at most. Pages.
inline constexpr std::uint32_t kDecayKeeps = (std::uint32_t{4} << 20) >> kPageShift;
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
  unsigned nodes = 1;  // the range is split evenly among them
};

// What set_up() found; anything but `ok` leaves the allocator as it was.
enum class PageSetup : std::uint8_t { ok, already, too_small, bad_nodes, commit_failed };

}  // namespace nestlock
