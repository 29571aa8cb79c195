// Kind 4: memory that runs out, in all eight kernels. What caches, sheaves and shrinkers keep is asked for before
// an allocation is refused, and with nothing live all pages can be had.
#include <algorithm>
#include <bit>
#include <cstdint>
#include <vector>

#include "gtest/gtest.h"
#include "nestlock/slab.h"
#include "test/support/gated_floors.h"
#include "test/support/kernels.h"

namespace nestlock {
namespace {

using test_support::AllKernels;
using test_support::KernelName;

template <class K>
struct SlabLimits : test_support::GatedFloors<K> {};
TYPED_TEST_SUITE(SlabLimits, AllKernels, KernelName);

TYPED_TEST(SlabLimits, WithNothingLiveAllPagesCanBeHad) {
  // Debug kernels write and check each byte, so they get less to fill.
  const std::size_t memory = std::size_t{TypeParam::kConfig.debug ? 1u : 4u} << 20;
  this->floors_.reset(memory);
  auto& s = this->slabs();
  for (unsigned i = 0; i < TestFixture::Slabs::kClasses; ++i) {
    std::vector<void*> all;
    while (void* const p = s.kmalloc(s.class_size(i), gfp::nowait)) all.push_back(p);
    ASSERT_GT(all.size() * s.class_size(i), memory / 16) << s.class_size(i);
    for (void* p : all) EXPECT_TRUE(s.kfree(p));
  }
  const PageStats stats = this->pages().stats(0);
  std::vector<void*> taken;
  while (void* const p = s.kmalloc(kPageSize, gfp::kernel)) taken.push_back(p);
  // A slab of this size takes eight pages; the reserve, and less than one slab, may be left.
  EXPECT_GE(taken.size() + stats.min + 8, stats.committed);
  for (void* p : taken) EXPECT_TRUE(s.kfree(p));
  EXPECT_EQ(this->floors_.live(), 0u);
}

// What a call with memalloc takes of the pages' reserve no ordinary call comes by.
TYPED_TEST(SlabLimits, TheReserveIsForMemallocAlone) {
  this->floors_.reset(std::size_t{4} << 20);
  auto& s = this->slabs();
  ASSERT_GE(this->pages().stats(0).min, 2u);
  for (const std::size_t size : {64u, 512u, 1000u, 4096u}) {
    if (TypeParam::kConfig.debug && size < 4096) continue;  // it writes and checks each byte
    std::vector<void*> taken;
    while (void* const p = s.kmalloc(size, gfp::nowait)) taken.push_back(p);
    while (void* const p = s.kmalloc(kPageSize + 4000, gfp::nowait)) taken.push_back(p);
    while (void* const p = s.kmalloc(size, gfp::nowait)) taken.push_back(p);
    const auto before = this->pages().stats(0);
    void* const p = s.kmalloc(size, gfp::memalloc | gfp::zero);
    ASSERT_NE(p, nullptr) << size << ": " << before.free << " free, min " << before.min;
    EXPECT_EQ(before.free - this->pages().stats(0).free, (size + kPageSize - 1) / kPageSize);
    const std::uintptr_t aligned_to = std::has_single_bit(size) ? size : 8;
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(p) & (aligned_to - 1), 0u);
    EXPECT_GE(s.ksize(p), size);
    EXPECT_EQ(s.kmalloc(size, gfp::nowait), nullptr);
    EXPECT_TRUE(s.kfree_sized(p, size));
    for (void* t : taken) EXPECT_TRUE(s.kfree(t));
    s.shrink_all();
  }
  auto* const cache = s.create("ordinary", 64);
  while (cache->alloc(gfp::nowait)) {
  }
  while (s.kmalloc(kPageSize, gfp::nowait)) {
  }
  while (cache->alloc(gfp::nowait)) {
  }
  EXPECT_EQ(cache->alloc(gfp::memalloc), nullptr);
}

// Whoever may not wait, too: each object that lies free in a slab of the cache is given before a call is refused.
TYPED_TEST(SlabLimits, WhatLiesInSlabsIsGivenBeforeACallIsRefused) {
  this->floors_.reset(std::size_t{1} << 20);
  auto& s = this->slabs();
  for (const slab flags : {slab::none, slab::no_sheaves})
    for (const bool nolock : {false, true}) {
      auto* const cache = s.create("scattered", 512, 0, flags);
      ASSERT_NE(cache, nullptr);
      const auto get = [&] {
        return nolock ? cache->alloc_nolock(gfp::none) : cache->alloc(gfp::nowait);
      };
      std::vector<void*> all, scattered;
      while (void* const p = get()) all.push_back(p);
      ASSERT_GT(all.size(), 1000u);
      for (std::size_t i = 0; i < all.size(); i += 7) {
        EXPECT_TRUE(cache->free(all[i]));
        scattered.push_back(all[i]);
      }
      std::vector<void*> again;
      while (void* const p = get()) again.push_back(p);
      std::sort(again.begin(), again.end());
      std::sort(scattered.begin(), scattered.end());
      EXPECT_EQ(again, scattered) << (nolock ? "nolock" : "nowait");
      for (void* p : all) EXPECT_TRUE(cache->free(p));
      EXPECT_TRUE(s.destroy(cache));
    }
}

struct Hoard : Shrinker {
  unsigned asked = 0;
};

TYPED_TEST(SlabLimits, ShrinkersAreAskedBeforeAnAllocationFails) {
  this->floors_.reset(std::size_t{4} << 20);
  Hoard hoard;
  hoard.shrink = [](Shrinker& self) noexcept {
    ++static_cast<Hoard&>(self).asked;
    return false;
  };
  auto& pages = this->pages();
  ASSERT_TRUE(pages.add_shrinker(hoard));
  EXPECT_EQ(pages.alloc_pages(gfp::nowait, 10), pages.alloc_pages(gfp::nowait, 10));  // null twice
  EXPECT_EQ(hoard.asked, 0u) << "not for a call that may not wait";
  EXPECT_EQ(pages.alloc_pages(gfp::kernel, 10), nullptr);
  EXPECT_EQ(hoard.asked, 1u);
  EXPECT_TRUE(pages.remove_shrinker(hoard));
  EXPECT_FALSE(pages.remove_shrinker(hoard));
  EXPECT_EQ(pages.alloc_pages(gfp::kernel, 10), nullptr);
  EXPECT_EQ(hoard.asked, 1u);
  Hoard many[kMaxShrinkers];
  unsigned added = 0;
  for (Hoard& h : many) {
    h.shrink = hoard.shrink;
    added += pages.add_shrinker(h);
  }
  EXPECT_EQ(added, kMaxShrinkers - 1) << "one is the slab floor's";
  for (Hoard& h : many) pages.remove_shrinker(h);
}

}  // namespace
}  // namespace nestlock
