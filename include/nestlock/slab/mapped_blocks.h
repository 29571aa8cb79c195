// Hosted: blocks that are mappings of their own, and the table that knows them. Lock-free; any context, and
// no lock is waited for but the kernel's own in mmap(), munmap() and mremap(). Needs lib/slab.
#pragma once

#include <cstddef>

#include "nestlock/config/choice.h"

namespace nestlock::mapped_blocks {

// `align` is a power of two. Zeroed. Null: the kernel gave no memory, or there are kMost blocks.
void* allocate(std::size_t size, std::size_t align) noexcept
    NESTLOCK_INTERNAL_SYMBOL("mapped_blocks_allocate");
// False: no such block.
bool release(void* block) noexcept NESTLOCK_INTERNAL_SYMBOL("mapped_blocks_release");
// Keeps the contents, perhaps elsewhere; what is new is zero. Null leaves the block. Needs: it is one.
void* resize(void* block, std::size_t size) noexcept
    NESTLOCK_INTERNAL_SYMBOL("mapped_blocks_resize");
// Bytes, whole pages; 0 if it is no such block.
std::size_t size_of(const void* block) noexcept NESTLOCK_INTERNAL_SYMBOL("mapped_blocks_size_of");

// The kernel by itself does not give a process more mappings than 65530.
inline constexpr std::size_t kMost = std::size_t{1} << 17;

// How many there are, and what they take.
struct Counts {
  std::size_t blocks;  // mapped now
  std::size_t bytes;   // of whole pages
};
// Now. Each by itself: beside other threads they need not belong together.
Counts counts() noexcept NESTLOCK_INTERNAL_SYMBOL("mapped_blocks_counts");

}  // namespace nestlock::mapped_blocks
