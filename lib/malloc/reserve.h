// The emergency reserve: blocks for a handler that interrupted the allocator where nothing else is at
// hand. Lock-free, no system call; any context.
#pragma once

#include <cstddef>
#include <cstdint>

namespace nestlock::heap::reserve {

inline constexpr std::size_t kSizes[] = {64, 256, 1024, 8192};
inline constexpr unsigned kClasses = sizeof kSizes / sizeof kSizes[0];
inline constexpr unsigned kBlocks = 64;  // of each size, for the whole process

// A block of the smallest size that holds it and has one, aligned to that size; null: none.
void* take(std::size_t size) noexcept;
// Whether the address is in the reserve, be it a block's or not.
bool owns(const void* at) noexcept;
// Bytes, 0 if no block begins there. False: none that is out does, and nothing was done. Both need: the
// reserve owns it.
std::size_t size_of(const void* block) noexcept;
bool give(void* block) noexcept;
// How many were given, ever.
std::size_t taken() noexcept;

}  // namespace nestlock::heap::reserve
