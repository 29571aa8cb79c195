// What is larger than the largest block of pages: LargerBlocks of the system. Included by slab.h.
#pragma once

#include <cstring>

#include "nestlock/slab.h"

namespace nestlock {

// More memory is asked of the system.
template <Kernel K, LockPolicy L, class C>
void* BasicSlabAllocator<K, L, C>::alloc_larger(std::size_t size, std::size_t align,
                                                gfp flags) noexcept {
  if constexpr (kLean) {
    return nullptr;
  } else {
    if (!larger_ || !has(flags, gfp::wake)) return nullptr;
    if (has(flags, gfp::reclaim | gfp::idle)) pages_->release_idle(size);
    return larger_->allocate(size, align);
  }
}

// Of a block that is a mapping. Null: it is to be copied.
template <Kernel K, LockPolicy L, class C>
void* BasicSlabAllocator<K, L, C>::resize_larger(void* p, std::size_t size, gfp flags) noexcept
  requires(!internal::kLeanOf<K>)
{
  if (!is_larger(size)) return nullptr;
  const std::size_t had = larger_->size_of(p);
  if (size > had && !has(flags, gfp::wake)) return nullptr;
  void* const moved = larger_->resize(p, size);
  // What is new is zero; where it got smaller, what lies behind the end, too: see resized_in_place().
  if (moved && has(flags, gfp::zero) && size < had)
    std::memset(static_cast<char*>(moved) + size, 0, larger_->size_of(moved) - size);
  return moved;
}

}  // namespace nestlock
