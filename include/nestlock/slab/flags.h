// What a cache may be asked to be.
#pragma once

#include <cstdint>

namespace nestlock {

// Flags of a cache.
//   no_sheaves   no per-CPU arrays of free objects: each call goes to the slabs' list
//   debug        red zones on both sides of each object, poison in free ones, where each was allocated
//                and freed (places: in debug kernels), checks at each alloc and free; no sheaves.
//                Detects overruns, use after free, double and invalid frees, and leaks, and reports
//                them in every kernel. A free that is reported so does nothing.
//   hardened     a word for each object, at the beginning of its slab, says whether it is out: each interior
//                pointer and each second free is refused and reported, in every kernel. With sheaves.
// Combined by |; debug sees what hardened does, and more. create() refuses other bits.
enum class slab : std::uint32_t { none = 0, no_sheaves = 1, debug = 2, hardened = 4 };
constexpr slab operator|(slab a, slab b) noexcept {
  return slab{static_cast<std::uint32_t>(a) | static_cast<std::uint32_t>(b)};
}
constexpr bool has(slab flags, slab one) noexcept {
  return static_cast<std::uint32_t>(flags) & static_cast<std::uint32_t>(one);
}
namespace internal {
constexpr bool known(slab flags) noexcept { return static_cast<std::uint32_t>(flags) < 8; }
}  // namespace internal

}  // namespace nestlock
