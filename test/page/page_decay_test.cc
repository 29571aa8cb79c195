// Kind 5: memory goes back to the system, at once by trim() and by and by by decay(); what is counted.
// Kind 2: memory that is kept for nolock calls before they need it.
// Kind 6: sizes in page steps: blocks of any number of pages, longer and shorter where they lie.
// Kind 9: a thread beyond the last CPU takes what it needs, not a batch that it has no place for.
#include <atomic>
#include <bit>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <thread>
#include <utility>
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

// ---- any number of pages ------------------------------------------------------------------------

template <class K>
struct PageSteps : PageDecay<K> {
  using Page = typename PageDecay<K>::Pages::Page;
  // Pages in somebody's hands.
  std::uintptr_t used() {
    const PageStats s = this->pages->stats(0);
    return s.committed - s.free - s.cached;
  }
  unsigned char* bytes(Page* p) { return static_cast<unsigned char*>(this->pages->address(p)); }
};
TYPED_TEST_SUITE(PageSteps, AllKernels, KernelName);

TYPED_TEST(PageSteps, ABlockOfAnyNumberOfPagesTakesSoManyPages) {
  auto& floor = *this->pages;
  std::vector<std::pair<typename TestFixture::Page*, std::uint32_t>> all;
  std::uint32_t sum = 0;
  for (const std::uint32_t n : {1u, 2u, 3u, 5u, 7u, 8u, 9u, 31u, 33u, 100u, 513u, 1023u, 1024u}) {
    auto* const p = floor.alloc_pages_exact(gfp::kernel | gfp::zero, n);
    ASSERT_NE(p, nullptr) << n;
    sum += n;
    EXPECT_EQ(this->used(), sum) << n;
    const auto at = reinterpret_cast<std::uintptr_t>(floor.address(p));
    EXPECT_EQ(at % (kPageSize * std::bit_ceil(n)), 0u) << n;
    for (std::uint32_t i = 0; i < n; ++i) {
      auto* const word = this->bytes(p) + i * kPageSize;
      ASSERT_EQ(*word, 0) << "zeroed, and nobody else's";
      *word = 1;
    }
    all.emplace_back(p, n);
  }
  EXPECT_TRUE(floor.consistent());
  EXPECT_EQ(floor.alloc_pages_exact(gfp::kernel, 0), nullptr);
  EXPECT_EQ(floor.alloc_pages_exact(gfp::kernel, (1u << kMaxOrder) + 1), nullptr);
  bool nolock = false;
  for (auto& [p, n] : all) {
    EXPECT_FALSE(floor.free_pages_exact(p, 0));
    EXPECT_FALSE(floor.free_pages_exact(p, 2 * std::bit_ceil(n)));
    EXPECT_TRUE((nolock = !nolock) ? floor.free_pages_exact_nolock(p, n)
                                   : floor.free_pages_exact(p, n));
    EXPECT_FALSE(floor.free_pages_exact(p, n)) << "once";
    sum -= n;
    EXPECT_EQ(this->used() - floor.stats(0).parked, sum) << n;
  }
}

TYPED_TEST(PageSteps, ABlockGrowsAndShrinksWhereItLies) {
  auto& floor = *this->pages;
  auto* const p = floor.alloc_pages_exact(gfp::kernel, 20);
  ASSERT_NE(p, nullptr);
  for (std::uint32_t i = 0; i < 20; ++i) this->bytes(p)[i * kPageSize] = 7;
  EXPECT_TRUE(floor.resize_exact(p, 20, 27)) << "its own rest is free";
  EXPECT_EQ(this->used(), 27u);
  EXPECT_TRUE(floor.resize_exact(p, 27, 32));
  EXPECT_TRUE(floor.resize_exact(p, 32, 17));
  EXPECT_EQ(this->used(), 17u);
  for (std::uint32_t i = 0; i < 17; ++i) EXPECT_EQ(this->bytes(p)[i * kPageSize], 7) << i;
  EXPECT_FALSE(floor.resize_exact(p, 17, 0));
  EXPECT_FALSE(floor.resize_exact(p, 17, (1u << kMaxOrder) + 1));
  EXPECT_TRUE(floor.consistent());
  EXPECT_TRUE(floor.free_pages_exact(p, 17));
  EXPECT_EQ(this->used(), 0u);
}

TYPED_TEST(PageSteps, WhatSomebodyHasIsNotGrownOver) {
  auto& floor = *this->pages;
  auto* const whole = floor.alloc_pages(gfp::kernel, 6);
  const auto first = floor.index_of(whole);
  EXPECT_TRUE(floor.free_pages(whole, 6));
  auto* const p = floor.alloc_pages_exact(gfp::kernel, 33);
  ASSERT_EQ(floor.index_of(p), first) << "the same place";
  EXPECT_TRUE(floor.resize_exact(p, 33, 64));
  EXPECT_TRUE(floor.resize_exact(p, 64, 48));
  auto* const next = floor.alloc_pages(gfp::kernel, 4);
  ASSERT_EQ(floor.index_of(next), first + 48);
  EXPECT_FALSE(floor.resize_exact(p, 48, 49));
  EXPECT_EQ(this->used(), 64u);
  EXPECT_TRUE(floor.consistent());
  EXPECT_TRUE(floor.free_pages(next, 4));
  EXPECT_TRUE(floor.free_pages_exact(p, 48));
}

// kmalloc()'s sizes above its classes; and a buffer that grows by a page at a time is seldom copied.
TYPED_TEST(PageSteps, LargeSizesTakeWholePagesAndGrowInPlace) {
  auto slabs = std::make_unique<typename TestFixture::Slabs>();
  ASSERT_TRUE(slabs->set_up(*this->pages));
  for (const std::size_t many : {std::size_t{5}, std::size_t{17}, std::size_t{300}}) {
    const std::uintptr_t before = this->used();
    void* const p = slabs->kmalloc(many * kPageSize - 100, gfp::kernel);
    EXPECT_EQ(this->used(), before + many);
    EXPECT_EQ(slabs->ksize(p), many * kPageSize);
    EXPECT_FALSE(slabs->kfree(static_cast<char*>(p) + 4 * kPageSize)) << "a block of the row";
    EXPECT_TRUE(slabs->kfree(p));
    EXPECT_EQ(this->used(), before);
  }
  unsigned moves = 0;
  unsigned char* p = nullptr;
  for (std::size_t n = kPageSize; n <= 600 * kPageSize; n += kPageSize) {
    auto* const q = static_cast<unsigned char*>(slabs->krealloc(p, n, gfp::kernel | gfp::zero));
    ASSERT_NE(q, nullptr) << n;
    moves += q != p;
    p = q;
    ASSERT_EQ(p[n - 1], 0);
    p[n - 1] = static_cast<unsigned char>(n / kPageSize);
  }
  EXPECT_LE(moves, 40u);
  for (std::size_t n = kPageSize; n <= 600 * kPageSize; n += kPageSize)
    ASSERT_EQ(p[n - 1], static_cast<unsigned char>(n / kPageSize));
  const std::uintptr_t before = this->used();
  EXPECT_EQ(slabs->krealloc(p, 20 * kPageSize, gfp::kernel), p);
  EXPECT_EQ(this->used(), before - 580);
  EXPECT_TRUE(slabs->kfree(p));
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
