// A page and a slab allocator of any kernel, on memory that all tests of a program share.
#pragma once

#include <cstdlib>
#include <new>

#include "gtest/gtest.h"
#include "nestlock/slab.h"

namespace nestlock::test_support {

inline constexpr std::size_t kMemory = std::size_t{16} << 20;

inline void* memory() {
  static void* const m = std::aligned_alloc(std::size_t{1} << 22, kMemory);
  return m;
}

inline void ignore(const Report&) noexcept {}

// A page and a slab allocator on fixed memory, made anew by reset().
template <class K, class P = policy::PerLockByte<K>>
struct Floors {
  using PageAlloc = BasicPageAllocator<K, P>;
  using Slabs = BasicSlabAllocator<K, P>;
  void reset(std::size_t size = kMemory, unsigned nodes = 1, slab flags = slab::none,
             std::size_t offset = 0) {
    pages = ::new (page_memory) PageAlloc;
    slabs = ::new (slab_memory) Slabs;
    ASSERT_EQ(pages->set_up({.start = static_cast<char*>(memory()) + offset,
                             .size = size - offset,
                             .nodes = nodes}),
              PageSetup::ok);
    ASSERT_TRUE(slabs->set_up(*pages, flags));
  }
  // Objects in the user's hands, over all kmalloc classes; ~0 if anything is inconsistent.
  std::uintptr_t live() {
    std::uintptr_t all = 0;
    if (!pages->consistent() || !slabs->consistent()) return ~std::uintptr_t{0};
    for (unsigned i = 0; i < Slabs::kClasses; ++i) {
      std::uintptr_t n = 0;
      slabs->kmalloc_cache(i).consistent(&n);
      all += n;
    }
    return all;
  }
  PageAlloc* pages = nullptr;
  Slabs* slabs = nullptr;
  alignas(64) unsigned char page_memory[sizeof(PageAlloc)];
  alignas(64) unsigned char slab_memory[sizeof(Slabs)];
};

}  // namespace nestlock::test_support
