// Kind 5: memory goes back to the system, at once by trim() and by and by by decay(); what is counted.
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <vector>

#include "gtest/gtest.h"
#include "nestlock/slab.h"
#include "test/support/kernels.h"

namespace nestlock {
namespace {

using test_support::AllKernels;
using test_support::KernelName;

// A system that counts what it gives, page by page, and a clock that stands until it is set.
struct System {
  static constexpr std::size_t kSize = std::size_t{32} << 20;
  static inline std::vector<bool> has = std::vector<bool>(kSize >> kPageShift);
  static inline std::uint64_t time = 0;
  static inline bool refuses = false;
  static void* memory() {
    static void* const m = std::aligned_alloc(std::size_t{4} << 20, kSize);
    return m;
  }
  static std::size_t page(const void* at) {
    return static_cast<std::size_t>(static_cast<const char*>(at) - static_cast<char*>(memory())) >>
           kPageShift;
  }
  static bool release(void* start, std::size_t size) noexcept {
    if (refuses) return false;
    for (std::size_t i = 0; i < size >> kPageShift; ++i) has[page(start) + i] = false;
    return true;
  }
  static std::uint64_t now() noexcept { return time; }
  static std::size_t resident() {
    std::size_t n = 0;
    for (const bool b : has) n += b;
    return n;
  }
};

template <class K>
struct PageDecay : ::testing::Test {
  using Pages = BasicPageAllocator<K>;
  using Slabs = BasicSlabAllocator<K>;
  void SetUp() override {
    System::has.assign(System::has.size(), false);
    System::time = 0;
    System::refuses = false;
    pages = std::make_unique<Pages>();
    descriptors.assign(Pages::descriptor_bytes(System::kSize), 0);
    ASSERT_EQ(pages->set_up({.start = System::memory(),
                             .size = System::kSize,
                             .commit = [](void*, std::size_t) noexcept { return true; },
                             .release = System::release,
                             .now = System::now,
                             .descriptors = descriptors.data()}),
              PageSetup::ok);
  }
  void TearDown() override { EXPECT_TRUE(pages->consistent()); }
  // Takes and touches blocks, then frees them.
  void use(std::size_t bytes, unsigned order, gfp flags = gfp::kernel) {
    std::vector<typename Pages::Page*> all;
    for (std::size_t i = 0; i < bytes >> kPageShift >> order; ++i) {
      all.push_back(pages->alloc_pages(flags, order));
      ASSERT_NE(all.back(), nullptr);
      for (std::size_t p = 0; p < std::size_t{1} << order; ++p)
        System::has[System::page(pages->address(all.back())) + p] = true;
    }
    for (auto* b : all) EXPECT_TRUE(pages->free_pages(b, order));
  }
  // Free pages that are not clean are at least those that are resident.
  void expect_true_counts() {
    const PageStats s = pages->stats(0);
    EXPECT_LE(System::resident(), s.free - s.clean + s.cached);
  }
  std::vector<unsigned char> descriptors;
  std::unique_ptr<Pages> pages;
};
TYPED_TEST_SUITE(PageDecay, AllKernels, KernelName);

constexpr std::size_t kMiB = std::size_t{1} << 20;

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
  auto slabs = std::make_unique<typename TestFixture::Slabs>();
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

}  // namespace
}  // namespace nestlock
