// What malloc's functions are made of: the slab allocator's fast paths here, all else in heap.cc.
//
// Where a block may lie, and how free() knows:
//
//   up to 1 MiB    the slab allocator's range of addresses: the page's descriptor says
//   larger         a mapping of its own: its address is in a table (mapped.h)
//   in emergency   an array of this library (reserve.h), or a mapping, of whatever size
//
// None of the three looks is at memory that a wrong pointer leads to.
#pragma once

#include <cstddef>
#include <cstdint>

#include "nestlock/system_slab.h"

namespace nestlock::heap {

inline constexpr std::size_t kAlign = 16;                      // of every block
inline constexpr std::size_t kLargest = std::size_t{1} << 20;  // larger ones are mapped

[[gnu::cold, gnu::noinline]] void* allocate_slow(std::size_t size) noexcept;
[[gnu::noinline]] void free_slow(void* block, const char* call) noexcept;

[[gnu::always_inline]] inline void* allocate(std::size_t size) noexcept {
  if (size < kAlign) size = kAlign;
  if (void* const p = internal::system_slab_object.kmalloc_at_hand(size)) [[likely]]
    return p;
  return allocate_slow(size);
}

// `call` is named if it is no block.
[[gnu::always_inline]] inline void free(void* block, const char* call = "free") noexcept {
  if (internal::system_slab_object.kfree_at_hand(block)) [[likely]]
    return;
  free_slow(block, call);
}

void* allocate_zeroed(std::size_t n, std::size_t size) noexcept;
void* reallocate(void* block, std::size_t size) noexcept;
void* reallocate_array(void* block, std::size_t n, std::size_t size) noexcept;
// A power of two, or null (EINVAL).
void* allocate_aligned(std::size_t align, std::size_t size) noexcept;
int posix_memalign(void** block, std::size_t align, std::size_t size) noexcept;
// Whole pages, on a page.
void* allocate_pages(std::size_t size) noexcept;
std::size_t usable_size(const void* block, const char* call) noexcept;
bool trim() noexcept;

// See nestlock_malloc_counts_t.
struct Counts {
  std::size_t committed, in_use, mapped, mapped_blocks, reserve_taken;
};
Counts counts() noexcept;

}  // namespace nestlock::heap
