// The page allocator as its callers see it, in all eight kernels: blocks, orders, nodes, watermarks
// and what the gfp flags ask for.
#include <algorithm>
#include <thread>

#include "test/support/page_memory.h"

namespace nestlock::test_support {
namespace {

class Pages : public PagesTest {
 protected:
  // Takes blocks until there are none left.
  void take_all(Owned& owned, gfp flags, unsigned order, int node = kAnyNode) {
    while (void* const p = a->alloc(flags, order, node)) ASSERT_TRUE(owned.add(p, order));
  }
  void give_back(Owned& owned, std::uint64_t seed = 1) {
    std::mt19937_64 random(seed);
    while (!owned.empty()) {
      const Owned::Block b = owned.take_any(random);
      EXPECT_TRUE(a->free(b.at, b.order));
    }
    EXPECT_EQ(owned.trouble(), "");
  }
};
INSTANTIATE_TEST_SUITE_P(All, Pages, ::testing::ValuesIn(all_pages()),
                         name_of_case<::testing::TestParamInfo<PagesCase>>);
// What needs a second CPU.
class PagesOnCpus : public Pages {};
INSTANTIATE_TEST_SUITE_P(All, PagesOnCpus, ::testing::ValuesIn(on_cpus(all_pages())),
                         name_of_case<::testing::TestParamInfo<PagesCase>>);

using Blocks = std::vector<unsigned>;

// ---- blocks -------------------------------------------------------------------------------------

TEST_P(Pages, SplitsToTheOrderAskedForAndMergesBack) {
  set_up(1024);
  const Blocks whole = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1};
  EXPECT_EQ(blocks(), whole);
  void* const p = a->alloc(gfp::kernel, 5);
  ASSERT_NE(p, nullptr);
  EXPECT_EQ(blocks(), (Blocks{0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 0}));
  void* const q = a->alloc(gfp::kernel, 5);
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(p) ^ reinterpret_cast<std::uintptr_t>(q),
            kPageSize << 5)
      << "the other half is used first";
  EXPECT_TRUE(a->free(p, 5));
  EXPECT_EQ(blocks(), (Blocks{0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 0}));
  EXPECT_TRUE(a->free(q, 5));
  EXPECT_EQ(blocks(), whole);
}

TEST_P(Pages, EveryOrderIsAlignedAndDistinct) {
  set_up(8 * 1024);
  Owned owned;
  for (unsigned order = 0; order <= kMaxOrder; ++order)
    for (int i = 0; i < 2; ++i) {
      void* const p = a->alloc(gfp::nowait | gfp::memalloc, order);
      ASSERT_NE(p, nullptr) << "order " << order;
      ASSERT_TRUE(owned.add(p, order)) << owned.trouble();
    }
  EXPECT_TRUE(owned.intact()) << owned.trouble();
  EXPECT_EQ(a->alloc(gfp::kernel, kMaxOrder + 1), nullptr);
  EXPECT_EQ(a->alloc(gfp::kernel, ~0u), nullptr);
  give_back(owned);
  expect_all_free();
  EXPECT_EQ(blocks(), (Blocks{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 8}));
}

// Every page of a range that begins and ends anywhere is used, and given once.
TEST_P(Pages, UsesEveryWholePageOfARaggedRange) {
  constexpr std::size_t kPages = 3 * 1024 + 77;
  PageMemory m = memory(kPages);
  m.start = Arena::memory() + 3 * kPageSize + 100;
  m.size = kPages * kPageSize;  // the first and the last page are partial
  ASSERT_EQ(a->set_up(m), PageSetup::ok);
  EXPECT_EQ(a->pages(), kPages - 1);
  const Blocks before = blocks();
  std::uintptr_t pages = 0;
  for (unsigned order = 0; order <= kMaxOrder; ++order) pages += before[order] << order;
  EXPECT_EQ(pages, kPages - 1);
  Owned owned;
  take_all(owned, gfp::memalloc, 0);
  EXPECT_EQ(owned.pages(), kPages - 1);
  for (std::uintptr_t i = 0; i < a->pages(); ++i) {
    EXPECT_GE(a->page(i), m.start);
    EXPECT_LE(static_cast<char*>(a->page(i)) + kPageSize, static_cast<char*>(m.start) + m.size);
  }
  give_back(owned);
  expect_all_free();
  EXPECT_EQ(blocks(), before);
}

// The allocator and a model, side by side, for a while.
TEST_P(Pages, AgreesWithAModel) {
  constexpr std::uint64_t kSeed = 20260416;
  set_up(2048, 2);
  std::mt19937_64 random(kSeed);
  Owned owned;
  for (int turn = 0; turn < 6000; ++turn) {
    const bool nolock = random() % 4 == 0;
    if (!owned.empty() && random() % 100 < 48) {
      const Owned::Block b = owned.take_any(random);
      ASSERT_TRUE(nolock ? a->free_nolock(b.at, b.order) : a->free(b.at, b.order));
    } else {
      const unsigned order = random() % 8 ? random() % 4 : random() % 8;
      void* const p = nolock ? a->alloc_nolock(gfp::none, order) : a->alloc(gfp::nowait, order);
      if (p) {
        ASSERT_TRUE(owned.add(p, order)) << owned.trouble();
      }
    }
    if (turn % 256 == 0) {
      ASSERT_TRUE(a->consistent()) << "turn " << turn << ", seed " << kSeed << "\n" << info();
      const PageStats s0 = a->stats(0), s1 = a->stats(1);
      ASSERT_EQ(s0.free + s0.cached + s0.parked + s1.free + s1.cached + s1.parked + owned.pages(),
                2048u);
    }
  }
  EXPECT_GT(owned.size(), 50u);
  give_back(owned, kSeed);
  expect_all_free(0);
  expect_all_free(1);
  EXPECT_EQ(blocks(0), (Blocks{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1}));
  EXPECT_EQ(blocks(1), (Blocks{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1}));
}

// ---- nodes --------------------------------------------------------------------------------------

TEST_P(Pages, TwoNodesFallBackUnlessToldNotTo) {
  set_up(2 * 1000, 2);
  const auto node_of = [&](void* p) { return p < a->page(1000) ? 0 : 1; };
  void* const any = a->alloc(gfp::kernel, 0);
  EXPECT_EQ(node_of(any), 0);
  void* const one = a->alloc(gfp::kernel, 0, 1);
  EXPECT_EQ(node_of(one), 1);
  EXPECT_EQ(a->alloc(gfp::kernel, 0, 2), nullptr);
  EXPECT_EQ(a->alloc(gfp::kernel, 0, 1 << 20), nullptr);
  PageRefusal why{};
  EXPECT_EQ(a->alloc_nolock(gfp::none, 0, 2, &why), nullptr);
  EXPECT_EQ(why, PageRefusal::order);

  Owned owned;
  take_all(owned, gfp::memalloc | gfp::thisnode, 0, 1);
  EXPECT_EQ(owned.pages(), 999u);
  EXPECT_EQ(a->alloc(gfp::kernel | gfp::thisnode, 0, 1), nullptr);
  EXPECT_EQ(a->alloc_nolock(gfp::thisnode, 0, 1, &why), nullptr);
  EXPECT_EQ(why, PageRefusal::no_memory);
  void* const p = a->alloc(gfp::kernel, 0, 1);
  EXPECT_EQ(node_of(p), 0);
  void* const q = a->alloc_nolock(gfp::none, 0, 1);
  EXPECT_EQ(node_of(q), 0);

  // Blocks go home to their own node, and never merge across the border.
  for (void* b : {any, one, p, q}) EXPECT_TRUE(a->free(b, 0));
  give_back(owned);
  expect_all_free(0);
  expect_all_free(1);
  EXPECT_EQ(a->stats(0).free, 1000u);
  EXPECT_EQ(a->stats(1).free, 1000u);
}

TEST_P(Pages, AsManyNodesAsThereMayBe) {
  set_up(kMaxNodes * 512, kMaxNodes);
  for (unsigned n = 0; n < kMaxNodes; ++n) {
    void* const p = a->alloc(gfp::kernel | gfp::thisnode, 3, static_cast<int>(n));
    ASSERT_NE(p, nullptr);
    EXPECT_GE(p, a->page(n * 512));
    EXPECT_LT(p, static_cast<char*>(a->page(n * 512)) + 512 * kPageSize);
    EXPECT_TRUE(a->free(p, 3));
    expect_all_free(n);
  }
}

// ---- watermarks ---------------------------------------------------------------------------------

TEST_P(Pages, EachFlagReachesItsOwnDepthOfTheReserve) {
  set_up(4096);
  a->pcp_disable(0);  // exact: no page is held by a cache
  const PageStats s = a->stats();
  EXPECT_EQ(s.min, 16u);
  EXPECT_LT(s.min, s.low);
  EXPECT_LT(s.low, s.high);
  Owned owned;
  const auto left = [&] { return a->stats().free; };
  take_all(owned, gfp::kernel, 0);
  EXPECT_EQ(left(), s.min);
  EXPECT_EQ(a->alloc(gfp::nowait, 0), nullptr);
  PageRefusal why{};
  EXPECT_EQ(a->alloc_nolock(gfp::none, 0, kAnyNode, &why), nullptr) << "no reserve for nolock";
  EXPECT_EQ(why, PageRefusal::no_memory);
  take_all(owned, gfp::atomic, 0);
  EXPECT_EQ(left(), s.min / 2);
  take_all(owned, gfp::nowait | gfp::memalloc, 0);
  EXPECT_EQ(left(), 0u);
  give_back(owned);
  a->pcp_enable(0);
  expect_all_free();
}

// The reserve counts the block asked for, not only what is left before it.
TEST_P(Pages, ALargeBlockLeavesTheReserveAlone) {
  set_up(1024);
  EXPECT_EQ(a->alloc(gfp::kernel, 10), nullptr);
  EXPECT_EQ(a->alloc(gfp::atomic, 10), nullptr);
  void* const p = a->alloc(gfp::kernel | gfp::memalloc, 10);
  EXPECT_NE(p, nullptr);
  EXPECT_TRUE(a->free(p, 10));
}

// A cache is not filled from the reserve.
TEST_P(Pages, RefillsStopAtTheLowWatermark) {
  set_up(4096);
  Owned owned;
  take_all(owned, gfp::nowait | gfp::memalloc, 4);
  for (int i = 0; i < 2; ++i) {
    const Owned::Block b = owned.take_first();
    a->free(b.at, b.order);
  }
  const PageStats s = a->stats();
  ASSERT_EQ(s.free, 32u);
  ASSERT_EQ(s.low, 20u);
  void* const p = a->alloc(gfp::nowait, 0);
  ASSERT_NE(p, nullptr);
  EXPECT_EQ(a->stats().free, s.low);
  EXPECT_EQ(a->stats().cached, 32 - s.low - 1);
  EXPECT_TRUE(a->free(p, 0));
  give_back(owned);
}

// ---- out of memory ------------------------------------------------------------------------------

TEST_P(Pages, OutOfMemoryIsNullAndNotForEver) {
  set_up(512);
  Owned owned;
  take_all(owned, gfp::memalloc, 0);
  EXPECT_EQ(owned.pages(), 512u);
  const std::uintptr_t failures = a->stats().failures;
  for (unsigned order : {0u, 1u, 3u, 9u, 10u}) {
    EXPECT_EQ(a->alloc(gfp::kernel | gfp::memalloc, order), nullptr);
    EXPECT_EQ(a->alloc(gfp::atomic, order), nullptr);
  }
  EXPECT_EQ(a->stats().failures, failures + 10);
  const Owned::Block b = owned.take_first();
  EXPECT_TRUE(a->free(b.at, 0));
  void* const again = a->alloc(gfp::kernel | gfp::memalloc, 0);
  EXPECT_EQ(again, b.at);
  EXPECT_TRUE(a->free(again, 0));
  give_back(owned);
  expect_all_free();
}

// A patient caller gets what other CPUs keep; an impatient one does not wait for them.
TEST_P(PagesOnCpus, ReclaimTakesFromOtherCpusCaches) {
  set_up(512);
  a->cpu_id();  // before the other comes
  Owned owned;
  take_all(owned, gfp::nowait, 4);
  std::uintptr_t there = 0;
  std::thread other([&] {
    void* const p = a->alloc(gfp::nowait | gfp::memalloc, 0);
    there = p ? 1 : 0;
    a->free(p, 0);
  });
  other.join();
  ASSERT_EQ(there, 1u);
  while (void* const p = a->alloc(gfp::nowait | gfp::memalloc | gfp::thisnode, 1))
    ASSERT_TRUE(owned.add(p, 1));
  while (a->stats().free) {  // odd ones
    void* const p = a->alloc(gfp::nowait | gfp::memalloc, 0);
    ASSERT_TRUE(p && owned.add(p, 0));
  }
  // No hook was set for this allocator, so the thread's cache stayed when it ended.
  ASSERT_GT(a->stats().cached, 0u);
  ASSERT_EQ(a->cached(0, a->cpu_id()), 0u);
  EXPECT_EQ(a->alloc(gfp::nowait | gfp::memalloc, 0), nullptr);
  void* const p = a->alloc(gfp::kernel | gfp::memalloc, 0);
  EXPECT_NE(p, nullptr);
  EXPECT_TRUE(a->free(p, 0));
  give_back(owned);
}

// ---- what the flags ask for ---------------------------------------------------------------------

TEST_P(Pages, ZeroMeansAllOfIt) {
  set_up(1024);
  for (unsigned order = 0; order <= 6; ++order)
    for (bool nolock : {false, true}) {
      if (nolock && order > 3) continue;
      const auto get = [&](gfp flags) {
        return nolock ? a->alloc_nolock(flags, order) : a->alloc(gfp::kernel | flags, order);
      };
      void* const p = get(gfp::none);
      ASSERT_NE(p, nullptr);
      std::memset(p, 0xff, kPageSize << order);
      EXPECT_TRUE(a->free(p, order));
      auto* const q = static_cast<const char*>(get(gfp::zero));
      EXPECT_EQ(q, p) << "the one that is dirty";
      EXPECT_EQ(std::count(q, q + (kPageSize << order), 0),
                static_cast<std::ptrdiff_t>(kPageSize << order));
      EXPECT_TRUE(a->free(p, order));
    }
}

TEST_P(Pages, APageOfACompoundBlockKnowsItsHead) {
  set_up(1024);
  for (unsigned order : {0u, 1u, 3u, 7u}) {
    auto* const p = static_cast<char*>(a->alloc(gfp::kernel | gfp::comp, order));
    ASSERT_NE(p, nullptr);
    for (std::size_t i = 0; i < std::size_t{1} << order; ++i) {
      EXPECT_EQ(a->head_of(p + i * kPageSize), p);
      EXPECT_EQ(a->head_of(p + i * kPageSize + 123), p);
      EXPECT_EQ(a->state(p + i * kPageSize), i ? PageState::tail : PageState::used);
    }
    EXPECT_TRUE(a->free(p, order));
  }
  EXPECT_EQ(a->head_of(nullptr), nullptr);
  // The same pages without it: nothing is left of the heads.
  auto* const p = static_cast<char*>(a->alloc(gfp::kernel, 3));
  EXPECT_EQ(a->head_of(p + kPageSize), p + kPageSize);
  EXPECT_TRUE(a->free(p, 3));
  expect_all_free();
}

TEST_P(Pages, AddressesAndPagesAreOneToOne) {
  set_up(300);
  for (std::uintptr_t i = 0; i < a->pages(); ++i) {
    EXPECT_TRUE(a->managed(a->page(i)));
    EXPECT_TRUE(a->managed(static_cast<char*>(a->page(i)) + kPageSize - 1));
  }
  EXPECT_FALSE(a->managed(static_cast<char*>(a->page(0)) - 1));
  EXPECT_FALSE(a->managed(static_cast<char*>(a->page(0)) + 300 * kPageSize));
  EXPECT_FALSE(a->managed(nullptr));
  EXPECT_FALSE(a->managed(&a));
}

}  // namespace
}  // namespace nestlock::test_support
