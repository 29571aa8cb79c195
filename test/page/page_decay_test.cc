// Kind 5: memory goes back to the system, at once by trim() and by and by by decay(); what is counted.
// Kind 2: memory that is kept for nolock calls before they need it.
// Kind 9: a thread beyond the last CPU takes what it needs, not a batch that it has no place for.
#include <atomic>
#include <cstdint>
#include <memory>
#include <thread>
#include <vector>

#include "gtest/gtest.h"
#include "nestlock/slab.h"
#include "test/page/page_system.h"
#include "test/support/kernels.h"

namespace nestlock {
namespace {

using test_support::AllKernels;
using test_support::KernelName;
using test_support::kMiB;
using test_support::System;

template <class K>
struct PageDecay : test_support::CountedPages<K> {};
TYPED_TEST_SUITE(PageDecay, AllKernels, KernelName);

TYPED_TEST(PageDecay, TrimGivesAllThatIsFreeBackAtOnce) {
  auto& floor = *this->pages;
  auto* const kept = floor.alloc_pages(gfp::kernel, 0);
  this->use(16 * kMiB, 0);
  this->use(8 * kMiB, 10);
  EXPECT_GE(System::resident(), 16 * kMiB >> kPageShift);
  this->expect_true_counts();
  const std::size_t before = System::resident();
  EXPECT_GE(floor.trim(), before << kPageShift);
  EXPECT_EQ(System::resident(), 0u);
  const PageStats s = floor.stats(0);
  EXPECT_EQ(s.clean, s.free);
  EXPECT_EQ(s.cached, 0u);
  EXPECT_GE(s.released, before);
  EXPECT_EQ(floor.trim(), 0u) << "once";
  this->use(4 * kMiB, 3);  // it is usable as before
  EXPECT_TRUE(floor.free_pages(kept, 0));
  this->expect_true_counts();
}

TYPED_TEST(PageDecay, WhatTheSystemDoesNotTakeStays) {
  auto& floor = *this->pages;
  this->use(8 * kMiB, 4);
  System::refuses = true;
  EXPECT_EQ(floor.trim(), 0u);
  EXPECT_LT(floor.stats(0).clean, floor.stats(0).free);
  System::refuses = false;
  EXPECT_GT(floor.trim(), 0u);
}

// One call now and then: within the decay time and a half all but what is kept is back, not earlier.
TYPED_TEST(PageDecay, FreeMemoryGoesBackAfterTheDecayTime) {
  auto& floor = *this->pages;
  this->use(24 * kMiB, 4);
  const std::size_t full = System::resident();
  EXPECT_EQ(floor.decay(), 0u) << "the first look: all of it was in use just now";
  System::time += kDecayMs / 2 - 1;
  EXPECT_EQ(floor.decay(), 0u);
  EXPECT_EQ(System::resident(), full);
  for (int i = 0; i < 11; ++i) {
    System::time += 100;
    auto* const p = floor.alloc_pages(gfp::kernel, 8);  // any call that may wait
    EXPECT_TRUE(floor.free_pages(p, 8));
  }
  EXPECT_LE(System::resident(), kDecayKeeps + (1u << 8) + (1u << kMaxOrder));
  EXPECT_EQ(floor.stats(0).released + System::resident(), full);
  this->expect_true_counts();
}

// Of what is free beside much that is in use more stays. (Blocks between others: they merge with none.)
TYPED_TEST(PageDecay, APartOfWhatIsInUseStays) {
  auto& floor = *this->pages;
  constexpr std::uint32_t kBlock = 1u << 4;
  std::vector<typename TestFixture::Pages::Page*> all;
  for (std::size_t i = 0; i < 24 * kMiB / kPageSize / kBlock; ++i)
    all.push_back(floor.alloc_pages(gfp::kernel, 4));
  for (std::size_t i = 0; i < all.size(); i += 2) EXPECT_TRUE(floor.free_pages(all[i], 4));
  for (int i = 0; i < 4; ++i) floor.decay(), System::time += kDecayMs;
  const PageStats s = floor.stats(0);
  const std::size_t stays = kDecayKeeps + (s.committed - s.free) / kDecayKeepsOf;
  EXPECT_GT(stays, kDecayKeeps + 2 * kBlock);
  EXPECT_LE(s.free - s.clean, stays);
  EXPECT_GT(s.free - s.clean + kBlock, stays);
  for (std::size_t i = 1; i < all.size(); i += 2) EXPECT_TRUE(floor.free_pages(all[i], 4));
}

TYPED_TEST(PageDecay, WhatIsUsedAgainAndAgainStays) {
  auto& floor = *this->pages;
  for (int i = 0; i < 30; ++i) {
    this->use(24 * kMiB, 4);
    System::time += 100;
    floor.decay();
  }
  EXPECT_EQ(floor.stats(0).released, 0u);
  EXPECT_GT(System::resident(), 20 * kMiB >> kPageShift);
}

TYPED_TEST(PageDecay, WithoutADecayTimeItGoesAtTheNextCall) {
  this->pages->set_decay(0);
  this->use(24 * kMiB, 4);
  EXPECT_GT(this->pages->decay(), 0u);
  EXPECT_LE(System::resident(), kDecayKeeps + (1u << kMaxOrder));
}

// A program that makes none but calls that its sheaf serves: these, too, give pages back.
TYPED_TEST(PageDecay, SmallAllocationsGiveItBackToo) {
  auto slabs = std::make_unique<BasicSlabAllocator<TypeParam>>();
  ASSERT_TRUE(slabs->set_up(*this->pages));
  EXPECT_TRUE(slabs->kfree(slabs->kmalloc(64, gfp::kernel)));
  this->use(24 * kMiB, 4);
  void* const p = slabs->kmalloc(64, gfp::kernel);
  const auto slow = slabs->kmalloc_cache(slabs->class_of(64)).stats().slabs;
  for (int i = 0; i < 30; ++i) {
    System::time += 100;
    EXPECT_TRUE(slabs->kfree(slabs->kmalloc(64, gfp::kernel)));
  }
  EXPECT_EQ(slabs->kmalloc_cache(slabs->class_of(64)).stats().slabs, slow);
  EXPECT_LE(System::resident(), kDecayKeeps + (1u << kMaxOrder));
  EXPECT_TRUE(slabs->kfree(p));
  slabs->trim();
  const PageStats s = this->pages->stats(0);
  EXPECT_EQ(s.clean, s.free);
}

// A handler's calls do not: nor do those that may not wait.
TYPED_TEST(PageDecay, CallsThatMayNotWaitGiveNothingBack) {
  this->use(24 * kMiB, 4);
  for (int i = 0; i < 30; ++i) {
    System::time += 100;
    auto* const p = this->pages->alloc_pages(gfp::atomic, 5);
    EXPECT_TRUE(this->pages->free_pages(p, 5));
  }
  EXPECT_EQ(this->pages->stats(0).released, 0u);
}

// What does not serve, for its blocks are too small, goes back before the process grows.
TYPED_TEST(PageDecay, TheProcessGrowsByWhatItNeedsAndNotByWhatLiesIdle) {
  auto& floor = *this->pages;
  std::vector<typename TestFixture::Pages::Page*> all;
  for (std::size_t i = 0; i < 16 * kMiB >> kPageShift >> 5; ++i)
    all.push_back(floor.alloc_pages(gfp::kernel, 5));
  for (std::size_t i = 0; i < all.size(); i += 2) EXPECT_TRUE(floor.free_pages(all[i], 5));
  std::vector<typename TestFixture::Pages::Page*> large{floor.alloc_pages(gfp::nowait, 10)};
  EXPECT_EQ(floor.stats(0).released, 0u) << "not by a call that may not wait";
  // (One more may be there already: memory comes in steps.)
  for (int i = 0; i < 2; ++i) large.push_back(floor.alloc_pages(gfp::kernel, 10));
  const PageStats s = floor.stats(0);
  EXPECT_GT(s.released, 0u);
  EXPECT_LE(s.free - s.clean, kDecayKeeps + (s.committed - s.free) / 8);
  for (auto* p : large) EXPECT_TRUE(floor.free_pages(p, 10));
  for (std::size_t i = 1; i < all.size(); i += 2) EXPECT_TRUE(floor.free_pages(all[i], 5));
}
// For a call that asks for no more than this, and for who grows elsewhere. Single pages, too; of both not much more
// than the process grows by.
TYPED_TEST(PageDecay, WhatLiesIdleGoesBackForOthers) {
  auto& floor = *this->pages;
  for (const unsigned order : {5u, 0u})
    for (const bool grows : {true, false}) {
      std::vector<typename TestFixture::Pages::Page*> all, large;
      for (std::size_t i = 0; i < 16 * kMiB >> kPageShift >> order; ++i)
        all.push_back(floor.alloc_pages(gfp::nowait, order));
      for (std::size_t i = 0; i < all.size(); i += 2) EXPECT_TRUE(floor.free_pages(all[i], order));
      const std::uintptr_t before = floor.stats(0).released;
      if (grows) {
        for (int i = 0; i < 3; ++i) large.push_back(floor.alloc_pages(gfp::nowait | gfp::idle, 10));
      } else {
        floor.release_idle(kMiB);
        EXPECT_LT(floor.stats(0).released, before + (2 * kMiB >> kPageShift) + (1u << kMaxOrder));
        for (int i = 0; i < 8; ++i) floor.release_idle(kMiB);
      }
      const PageStats s = floor.stats(0);
      EXPECT_GT(s.released, before);
      EXPECT_LE(s.free - s.clean, kDecayKeeps + (s.committed - s.free) / 8);
      floor.release_idle(8 * kMiB);
      EXPECT_EQ(floor.stats(0).released, s.released) << "what is little stays";
      for (auto* p : large) EXPECT_TRUE(floor.free_pages(p, 10));
      for (std::size_t i = 1; i < all.size(); i += 2) EXPECT_TRUE(floor.free_pages(all[i], order));
    }
}

// ---- kind 2 -------------------------------------------------------------------------------------

TYPED_TEST(PageDecay, WhatIsReservedIsForNolockCallsAndStays) {
  auto& floor = *this->pages;
  constexpr std::uint32_t kKept = kMiB >> kPageShift;
  EXPECT_EQ(floor.stats(0).committed, 0u) << "nothing is there";
  EXPECT_EQ(floor.alloc_pages_nolock(gfp::none, 0), nullptr);
  ASSERT_TRUE(floor.reserve(kMiB));
  const std::uint32_t min = floor.stats(0).min;
  EXPECT_GE(floor.stats(0).free, min + kKept);
  EXPECT_GE(floor.stats(0).free - floor.stats(0).clean, kKept) << "touched";
  std::vector<typename TestFixture::Pages::Page*> ordinary, nolock;
  while (auto* const p = floor.alloc_pages(gfp::kernel, 0)) ordinary.push_back(p);
  floor.drain_all_pages();
  while (auto* const p = floor.alloc_pages(gfp::kernel | gfp::high | gfp::memalloc, 0))
    ordinary.push_back(p);
  EXPECT_EQ(floor.stats(0).free, kKept);
  EXPECT_TRUE(floor.free_pages(ordinary.back(), 0));
  ordinary.pop_back();
  for (std::uint32_t i = 0; i < min; ++i) {
    EXPECT_TRUE(floor.free_pages(ordinary.back(), 0));
    ordinary.pop_back();
  }
  floor.drain_all_pages();
  while (auto* const p = floor.alloc_pages_nolock(gfp::none, 0)) nolock.push_back(p);
  EXPECT_GE(nolock.size(), kKept);
  for (auto* const p : nolock) EXPECT_TRUE(floor.free_pages_nolock(p, 0));
  for (auto* const p : ordinary) EXPECT_TRUE(floor.free_pages(p, 0));
  floor.trim();
  EXPECT_GE(floor.stats(0).free - floor.stats(0).clean, kKept) << "as much stays";
  const std::uintptr_t committed = floor.stats(0).committed;
  for (const std::size_t never : {64 * kMiB, ~std::size_t{0}})
    EXPECT_FALSE(floor.reserve(never)) << "more than there is";
  EXPECT_EQ(floor.stats(0).committed, committed) << "nothing is done for what cannot be";
  EXPECT_FALSE(floor.reserve(System::kSize)) << "the watermark is not there besides";
  const std::uintptr_t released = floor.stats(0).released;
  floor.set_decay(0), floor.decay(), floor.trim();
  EXPECT_EQ(floor.stats(0).released, released) << "less than is kept";
  EXPECT_TRUE(floor.reserve(0));
  floor.trim();
  EXPECT_EQ(floor.stats(0).free, floor.stats(0).clean);
}

// ---- kind 9 -------------------------------------------------------------------------------------

TYPED_TEST(PageDecay, AThreadWithoutACpuTakesOnePage) {
  using Port = typename TypeParam::Port;
  if constexpr (!TypeParam::kConfig.smp) {
    GTEST_SKIP() << "one CPU";
  } else {
    std::atomic<unsigned> up{0};
    std::atomic<bool> over{false};
    std::vector<std::thread> threads;
    for (unsigned i = 0; i < Port::kMaxCpus; ++i)
      threads.emplace_back([&] {
        Port::cpu_id();
        ++up;
        over.wait(false);
      });
    while (up < Port::kMaxCpus) std::this_thread::yield();
    std::thread([&] {
      auto& floor = *this->pages;
      ASSERT_GE(Port::cpu_id(), Port::kMaxCpus);
      for (const unsigned order : {0u, 2u}) {
        auto* const first = floor.alloc_pages(gfp::kernel, order);  // grows, if need be
        const PageStats before = floor.stats(0);
        auto* const p = floor.alloc_pages(gfp::kernel, order);
        EXPECT_EQ(floor.stats(0).zone_allocs, before.zone_allocs + 1);
        EXPECT_EQ(floor.stats(0).free, before.free - (1u << order));
        EXPECT_TRUE(floor.free_pages(p, order) && floor.free_pages(first, order));
      }
    }).join();
    over = true;
    over.notify_all();
    for (std::thread& t : threads) t.join();
  }
}

}  // namespace
}  // namespace nestlock
