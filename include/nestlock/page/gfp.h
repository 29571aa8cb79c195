// How memory is asked for: a plain flag enum, as the kernel's gfp_t without its numbers.
//
// gfp says what the caller can bear; it never says whether a path may spin. That is decided by the
// call (alloc_pages or alloc_pages_nolock) and carried in the floor's own alloc flags, because the
// process-wide mask below takes bits away from every caller during early boot.
#pragma once

#include <cstdint>

namespace nestlock {

// One flag each, and the usual sets of them.
enum class gfp : std::uint32_t {
  none = 0,
  wake = 1u << 0,     // may ask for more memory (commit address space)
  reclaim = 1u << 1,  // may drain other CPUs' caches and reclaim: task context
  high = 1u << 2,     // may use half of the reserve below the min watermark
  memalloc =
      1u << 3,  // may use the whole reserve: this call frees more than it takes. A kmalloc() gets
                // whole pages of it; caches of create() get none
  zero = 1u << 4,      // memory is returned zeroed
  nowarn = 1u << 5,    // the kernel reports a failure without it; here none is reported anyway
  comp = 1u << 6,      // a block of several pages that knows its head
  thisnode = 1u << 7,  // the named node or nothing
  idle = 1u << 8,  // where this takes memory from the system, what lies idle goes back to it, as
                   // with reclaim: where trim() may be called

  kernel = wake | reclaim,  // task context; the most patient
  nowait = wake,            // any context that may take a spinlock
  atomic = wake | high,     // the same, more urgent: interrupt handlers
};

// As of sets.
constexpr gfp operator|(gfp a, gfp b) noexcept {
  return static_cast<gfp>(static_cast<std::uint32_t>(a) | static_cast<std::uint32_t>(b));
}
constexpr gfp operator&(gfp a, gfp b) noexcept {
  return static_cast<gfp>(static_cast<std::uint32_t>(a) & static_cast<std::uint32_t>(b));
}
constexpr gfp operator~(gfp a) noexcept { return static_cast<gfp>(~static_cast<std::uint32_t>(a)); }
constexpr bool has(gfp flags, gfp bit) noexcept { return (flags & bit) != gfp::none; }

// Every flag.
inline constexpr gfp kGfpAll = gfp::kernel | gfp::high | gfp::memalloc | gfp::zero | gfp::nowarn |
                               gfp::comp | gfp::thisnode | gfp::idle;

}  // namespace nestlock
