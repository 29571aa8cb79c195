// Pages and slab at the ends of NESTLOCK_PAGE_SHIFT, 8 and 16, with all that the full form has: sheaves, barns,
// per-CPU pages. The library's files are compiled with the test; the rest of the tests know pages of 4 KiB only.
#include <cstdint>
#include <cstring>
#include <memory>
#include <new>
#include <vector>

#include "gtest/gtest.h"
#include "nestlock/slab.h"
#include "nestlock/slab/mapped_blocks.h"

namespace nestlock {
namespace {

static_assert(!kLean);

// What a board with 256-byte pages has, and as many pages of another size.
constexpr std::size_t kPages = 1024;
constexpr std::size_t kMemory = kPages * kPageSize;

struct Allocators {
  explicit Allocators(std::size_t size = kMemory) {
    EXPECT_EQ(pages->set_up({.start = memory.get(), .size = size}), PageSetup::ok);
    EXPECT_TRUE(slabs->set_up(*pages));
    free_at_first = free_now();
  }
  // All is back.
  ~Allocators() {
    EXPECT_TRUE(slabs->consistent());
    slabs->shrink_all();
    pages->drain_all_pages();
    EXPECT_TRUE(pages->consistent());
    EXPECT_EQ(free_now(), free_at_first);
  }
  std::size_t free_now() const { return pages->stats(0).free; }

  struct Aligned {
    void operator()(void* p) const { ::operator delete(p, std::align_val_t{kPageSize}); }
  };
  std::unique_ptr<void, Aligned> memory{::operator new(kMemory, std::align_val_t{kPageSize})};
  std::unique_ptr<PageAllocator> pages{new PageAllocator};
  std::unique_ptr<SlabAllocator> slabs{new SlabAllocator};
  std::size_t free_at_first = 0;
};

// Of static storage it takes no room in a program's file then, nor memory where a CPU never comes.
template <class Allocator>
void expect_zero(const Allocator& untouched) {
  if (kBuiltConfig.debug) GTEST_SKIP() << "debug locks begin with a mark";
  const auto* const byte = reinterpret_cast<const unsigned char*>(&untouched);
  for (std::size_t i = 0; i < sizeof untouched; ++i) ASSERT_EQ(byte[i], 0) << i;
}
TEST(SlabAllocatorObject, IsZeroUntilItIsSetUp) {
  static constinit SlabAllocator untouched;
  expect_zero(untouched);
}
TEST(PageAllocatorObject, IsZeroUntilItIsSetUp) {
  static constinit PageAllocator untouched;
  expect_zero(untouched);
}

TEST(PageShift, EachSizeIsServedWhole) {
  Allocators a;
  for (const std::size_t size : {1u, 8u, 64u, 128u, 192u, 1000u, 1024u, 5000u, 8192u, 10000u}) {
    std::vector<unsigned char*> out;
    for (unsigned i = 0; i < 4; ++i) {
      const gfp flags = i % 2 ? gfp::kernel : gfp::kernel | gfp::zero;
      auto* const p = static_cast<unsigned char*>(a.slabs->kmalloc(size, flags));
      ASSERT_NE(p, nullptr) << size;
      EXPECT_GE(a.slabs->ksize(p), size);
      for (std::size_t k = 0; i % 2 == 0 && k < size; ++k) ASSERT_EQ(p[k], 0) << size;
      std::memset(p, static_cast<int>(i + 1), size);
      out.push_back(p);
    }
    for (unsigned i = 0; i < out.size(); ++i) {
      for (std::size_t k = 0; k < size; ++k) ASSERT_EQ(out[i][k], i + 1) << size;
      EXPECT_TRUE(a.slabs->kfree(out[i]));
    }
    a.slabs->shrink_all();
  }
}

TEST(PageShift, ANolockCallIsServedFromPagesThatAreThere) {
  Allocators a;
  for (const std::size_t size : {8u, 64u, 512u}) {
    void* const p = a.slabs->kmalloc_nolock(size, gfp::none);
    ASSERT_NE(p, nullptr) << size;
    EXPECT_TRUE(a.slabs->kfree_nolock(p));
  }
}

TEST(PageShift, TheFirstCallIsServedWhereMemoryIsAFewPages) {
  Allocators a(32 * kPageSize);
  void* const p = a.slabs->kmalloc(8, gfp::kernel);
  ASSERT_NE(p, nullptr);
  EXPECT_TRUE(a.slabs->kfree(p));
}

// What is kept for speed must not be what is there to be used: of 16 KiB in pages of 256 bytes a cache that has
// freed all it had keeps less than half, sheaves and the slabs they lie in included.
TEST(PageShift, WhatACacheKeepsIsTheSmallerPartOfFewPages) {
  constexpr std::size_t kFew = 64;
  Allocators a(kFew * kPageSize);
  const std::size_t before = a.free_now();
  void* const two[] = {a.slabs->kmalloc(128, gfp::kernel), a.slabs->kmalloc(128, gfp::kernel)};
  for (void* const p : two) {
    ASSERT_NE(p, nullptr);
    EXPECT_TRUE(a.slabs->kfree(p));
  }
  EXPECT_LT(before - a.free_now(), kFew / 2);
}

// The system's pages may be smaller than ours: then a mapping begins where none of ours does.
TEST(PageShift, AMappedBlockIsKnownWhereverTheSystemPutsIt) {
  std::vector<void*> blocks(64);
  for (std::size_t i = 0; i < blocks.size(); ++i) {
    const std::size_t size = (i + 1) * 5000;
    void*& p = blocks[i] = mapped_blocks::allocate(size, 16);
    ASSERT_NE(p, nullptr);
    std::memset(p, 0x5a, size);
    EXPECT_GE(mapped_blocks::size_of(p), size);
    if (i % 2) {
      p = mapped_blocks::resize(p, 2 * size);
      ASSERT_NE(p, nullptr);
      EXPECT_GE(mapped_blocks::size_of(p), 2 * size);
      EXPECT_EQ(static_cast<const char*>(p)[size - 1], 0x5a);
    }
  }
  for (void* const p : blocks) {
    EXPECT_FALSE(mapped_blocks::release(static_cast<char*>(p) + 16));
    EXPECT_TRUE(mapped_blocks::release(p));
    EXPECT_FALSE(mapped_blocks::release(p));
  }
  EXPECT_EQ(mapped_blocks::counts().blocks, 0u);
  EXPECT_EQ(mapped_blocks::counts().bytes, 0u);
}

}  // namespace
}  // namespace nestlock
