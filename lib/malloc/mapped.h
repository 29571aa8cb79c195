// Blocks that are mappings of their own, and the table that knows them. Lock-free; any context.
#pragma once

#include <cstddef>

namespace nestlock::heap::mapped {

// `align` is a power of two. Null: the kernel gave no memory, or there are kMost blocks.
void* allocate(std::size_t size, std::size_t align) noexcept;
// False: no such block.
bool release(void* block) noexcept;
// Keeps the contents, perhaps elsewhere. Null leaves the block. Needs: it is one.
void* resize(void* block, std::size_t size) noexcept;
// Bytes; 0 if it is no such block.
std::size_t size_of(const void* block) noexcept;

// The kernel by itself does not give a process more mappings than 65530.
inline constexpr std::size_t kMost = std::size_t{1} << 17;

struct Counts {
  std::size_t blocks, bytes;
};
Counts counts() noexcept;

}  // namespace nestlock::heap::mapped
