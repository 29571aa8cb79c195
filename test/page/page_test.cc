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
    while (void* const p = allocator->alloc(flags, order, node)) ASSERT_TRUE(owned.add(p, order));
  }
  void give_back(Owned& owned, std::uint64_t seed = 1) {
    std::mt19937_64 random(seed);
    while (!owned.empty()) {
      const Owned::Block b = owned.take_any(random);
      EXPECT_TRUE(allocator->free(b.at, b.order));
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
  void* const p = allocator->alloc(gfp::kernel, 5);
  ASSERT_NE(p, nullptr);
  EXPECT_EQ(blocks(), (Blocks{0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 0}));
  void* const q = allocator->alloc(gfp::kernel, 5);
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(p) ^ reinterpret_cast<std::uintptr_t>(q),
            kPageSize << 5)
      << "the other half is used first";
  EXPECT_TRUE(allocator->free(p, 5));
  EXPECT_EQ(blocks(), (Blocks{0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 0}));
  EXPECT_TRUE(allocator->free(q, 5));
  EXPECT_EQ(blocks(), whole);
}

TEST_P(Pages, EveryOrderIsAlignedAndDistinct) {
  set_up(8 * 1024);
  Owned owned;
  for (unsigned order = 0; order <= kMaxOrder; ++order)
    for (int i = 0; i < 2; ++i) {
      void* const p = allocator->alloc(gfp::nowait | gfp::memalloc, order);
      ASSERT_NE(p, nullptr) << "order " << order;
      ASSERT_TRUE(owned.add(p, order)) << owned.trouble();
    }
  EXPECT_TRUE(owned.intact()) << owned.trouble();
  EXPECT_EQ(allocator->alloc(gfp::kernel, kMaxOrder + 1), nullptr);
  EXPECT_EQ(allocator->alloc(gfp::kernel, ~0u), nullptr);
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
  ASSERT_EQ(allocator->set_up(m), PageSetup::ok);
  EXPECT_EQ(allocator->pages(), kPages - 1);
  const Blocks before = blocks();
  std::uintptr_t pages = 0;
  for (unsigned order = 0; order <= kMaxOrder; ++order) pages += before[order] << order;
  EXPECT_EQ(pages, kPages - 1);
  Owned owned;
  take_all(owned, gfp::memalloc, 0);
  EXPECT_EQ(owned.pages(), kPages - 1);
  for (std::uintptr_t i = 0; i < allocator->pages(); ++i) {
    EXPECT_GE(allocator->page(i), m.start);
    EXPECT_LE(static_cast<char*>(allocator->page(i)) + kPageSize,
              static_cast<char*>(m.start) + m.size);
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
      ASSERT_TRUE(nolock ? allocator->free_nolock(b.at, b.order) : allocator->free(b.at, b.order));
    } else {
      const unsigned order = random() % 8 ? random() % 4 : random() % 8;
      void* const p =
          nolock ? allocator->alloc_nolock(gfp::none, order) : allocator->alloc(gfp::nowait, order);
      if (p) {
        ASSERT_TRUE(owned.add(p, order)) << owned.trouble();
      }
    }
    if (turn % 256 == 0) {
      ASSERT_TRUE(allocator->consistent()) << "turn " << turn << ", seed " << kSeed << "\n"
                                           << info();
      const PageStats s0 = allocator->stats(0), s1 = allocator->stats(1);
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

// Kind 10: nodes of the page allocator: which one serves, and as many as there may be.
TEST_P(Pages, TwoNodesFallBackUnlessToldNotTo) {
  set_up(2 * 1000, 2);
  const auto node_of = [&](void* p) { return p < allocator->page(1000) ? 0 : 1; };
  void* const any = allocator->alloc(gfp::kernel, 0);
  EXPECT_EQ(node_of(any), 0);
  void* const one = allocator->alloc(gfp::kernel, 0, 1);
  EXPECT_EQ(node_of(one), 1);
  EXPECT_EQ(allocator->alloc(gfp::kernel, 0, 2), nullptr);
  EXPECT_EQ(allocator->alloc(gfp::kernel, 0, 1 << 20), nullptr);
  PageRefusal why{};
  EXPECT_EQ(allocator->alloc_nolock(gfp::none, 0, 2, &why), nullptr);
  EXPECT_EQ(why, PageRefusal::order);

  Owned owned;
  take_all(owned, gfp::memalloc | gfp::thisnode, 0, 1);
  EXPECT_EQ(owned.pages(), 999u);
  EXPECT_EQ(allocator->alloc(gfp::kernel | gfp::thisnode, 0, 1), nullptr);
  EXPECT_EQ(allocator->alloc_nolock(gfp::thisnode, 0, 1, &why), nullptr);
  EXPECT_EQ(why, PageRefusal::no_memory);
  void* const p = allocator->alloc(gfp::kernel, 0, 1);
  EXPECT_EQ(node_of(p), 0);
  void* const q = allocator->alloc_nolock(gfp::none, 0, 1);
  EXPECT_EQ(node_of(q), 0);

  // Blocks go home to their own node, and never merge across the border.
  for (void* b : {any, one, p, q}) EXPECT_TRUE(allocator->free(b, 0));
  give_back(owned);
  expect_all_free(0);
  expect_all_free(1);
  EXPECT_EQ(allocator->stats(0).free, 1000u);
  EXPECT_EQ(allocator->stats(1).free, 1000u);
}

TEST_P(Pages, AsManyNodesAsThereMayBe) {
  set_up(kMaxNodes * 512, kMaxNodes);
  for (unsigned n = 0; n < kMaxNodes; ++n) {
    void* const p = allocator->alloc(gfp::kernel | gfp::thisnode, 3, static_cast<int>(n));
    ASSERT_NE(p, nullptr);
    EXPECT_GE(p, allocator->page(n * 512));
    EXPECT_LT(p, static_cast<char*>(allocator->page(n * 512)) + 512 * kPageSize);
    EXPECT_TRUE(allocator->free(p, 3));
    expect_all_free(n);
  }
}

// ---- watermarks ---------------------------------------------------------------------------------

TEST_P(Pages, EachFlagReachesItsOwnDepthOfTheReserve) {
  set_up(4096);
  allocator->pcp_disable(0);  // exact: no page is held by a cache
  const PageStats s = allocator->stats();
  EXPECT_EQ(s.min, 16u);
  EXPECT_LT(s.min, s.low);
  EXPECT_LT(s.low, s.high);
  Owned owned;
  const auto left = [&] { return allocator->stats().free; };
  take_all(owned, gfp::kernel, 0);
  EXPECT_EQ(left(), s.min);
  EXPECT_EQ(allocator->alloc(gfp::nowait, 0), nullptr);
  PageRefusal why{};
  EXPECT_EQ(allocator->alloc_nolock(gfp::none, 0, kAnyNode, &why), nullptr)
      << "no reserve for nolock";
  EXPECT_EQ(why, PageRefusal::no_memory);
  take_all(owned, gfp::atomic, 0);
  EXPECT_EQ(left(), s.min / 2);
  take_all(owned, gfp::nowait | gfp::memalloc, 0);
  EXPECT_EQ(left(), 0u);
  give_back(owned);
  allocator->pcp_enable(0);
  expect_all_free();
}

// The reserve counts the block asked for, not only what is left before it.
TEST_P(Pages, ALargeBlockLeavesTheReserveAlone) {
  set_up(1024);
  EXPECT_EQ(allocator->alloc(gfp::kernel, 10), nullptr);
  EXPECT_EQ(allocator->alloc(gfp::atomic, 10), nullptr);
  void* const p = allocator->alloc(gfp::kernel | gfp::memalloc, 10);
  EXPECT_NE(p, nullptr);
  EXPECT_TRUE(allocator->free(p, 10));
}

// A cache is not filled from the reserve.
TEST_P(Pages, RefillsStopAtTheLowWatermark) {
  set_up(4096);
  Owned owned;
  take_all(owned, gfp::nowait | gfp::memalloc, 4);
  for (int i = 0; i < 2; ++i) {
    const Owned::Block b = owned.take_first();
    allocator->free(b.at, b.order);
  }
  const PageStats s = allocator->stats();
  ASSERT_EQ(s.free, 32u);
  ASSERT_EQ(s.low, 20u);
  void* const p = allocator->alloc(gfp::nowait, 0);
  ASSERT_NE(p, nullptr);
  EXPECT_EQ(allocator->stats().free, s.low);
  EXPECT_EQ(allocator->stats().cached, 32 - s.low - 1);
  EXPECT_TRUE(allocator->free(p, 0));
  give_back(owned);
}

// ---- out of memory ------------------------------------------------------------------------------

TEST_P(Pages, OutOfMemoryIsNullAndNotForEver) {
  set_up(512);
  Owned owned;
  take_all(owned, gfp::memalloc, 0);
  EXPECT_EQ(owned.pages(), 512u);
  const std::uintptr_t failures = allocator->stats().failures;
  for (unsigned order : {0u, 1u, 3u, 9u, 10u}) {
    EXPECT_EQ(allocator->alloc(gfp::kernel | gfp::memalloc, order), nullptr);
    EXPECT_EQ(allocator->alloc(gfp::atomic, order), nullptr);
  }
  EXPECT_EQ(allocator->stats().failures, failures + 10);
  const Owned::Block b = owned.take_first();
  EXPECT_TRUE(allocator->free(b.at, 0));
  void* const again = allocator->alloc(gfp::kernel | gfp::memalloc, 0);
  EXPECT_EQ(again, b.at);
  EXPECT_TRUE(allocator->free(again, 0));
  give_back(owned);
  expect_all_free();
}

// A patient caller gets what other CPUs keep; an impatient one does not wait for them.
// Kind 4: what other CPUs keep of the pages is asked for before an allocation is refused.
TEST_P(PagesOnCpus, ReclaimTakesFromOtherCpusCaches) {
  set_up(512);
  allocator->cpu_id();  // before the other comes
  Owned owned;
  take_all(owned, gfp::nowait, 4);
  std::uintptr_t there = 0;
  std::thread other([&] {
    void* const p = allocator->alloc(gfp::nowait | gfp::memalloc, 0);
    there = p ? 1 : 0;
    allocator->free(p, 0);
  });
  other.join();
  ASSERT_EQ(there, 1u);
  while (void* const p = allocator->alloc(gfp::nowait | gfp::memalloc | gfp::thisnode, 1))
    ASSERT_TRUE(owned.add(p, 1));
  while (allocator->stats().free) {  // odd ones
    void* const p = allocator->alloc(gfp::nowait | gfp::memalloc, 0);
    ASSERT_TRUE(p && owned.add(p, 0));
  }
  // No hook was set for this allocator, so the thread's cache stayed when it ended.
  ASSERT_GT(allocator->stats().cached, 0u);
  ASSERT_EQ(allocator->cached(0, allocator->cpu_id()), 0u);
  EXPECT_EQ(allocator->alloc(gfp::nowait | gfp::memalloc, 0), nullptr);
  void* const p = allocator->alloc(gfp::kernel | gfp::memalloc, 0);
  EXPECT_NE(p, nullptr);
  EXPECT_TRUE(allocator->free(p, 0));
  give_back(owned);
}

// ---- what the flags ask for ---------------------------------------------------------------------

TEST_P(Pages, ZeroMeansAllOfIt) {
  set_up(1024);
  for (unsigned order = 0; order <= 6; ++order)
    for (bool nolock : {false, true}) {
      if (nolock && order > 3) continue;
      const auto get = [&](gfp flags) {
        return nolock ? allocator->alloc_nolock(flags, order)
                      : allocator->alloc(gfp::kernel | flags, order);
      };
      void* const p = get(gfp::none);
      ASSERT_NE(p, nullptr);
      std::memset(p, 0xff, kPageSize << order);
      EXPECT_TRUE(allocator->free(p, order));
      auto* const q = static_cast<const char*>(get(gfp::zero));
      EXPECT_EQ(q, p) << "the one that is dirty";
      EXPECT_EQ(std::count(q, q + (kPageSize << order), 0),
                static_cast<std::ptrdiff_t>(kPageSize << order));
      EXPECT_TRUE(allocator->free(p, order));
    }
}

TEST_P(Pages, APageOfACompoundBlockKnowsItsHead) {
  set_up(1024);
  for (unsigned order : {0u, 1u, 3u, 7u}) {
    auto* const p = static_cast<char*>(allocator->alloc(gfp::kernel | gfp::comp, order));
    ASSERT_NE(p, nullptr);
    for (std::size_t i = 0; i < std::size_t{1} << order; ++i) {
      EXPECT_EQ(allocator->head_of(p + i * kPageSize), p);
      EXPECT_EQ(allocator->head_of(p + i * kPageSize + 123), p);
      EXPECT_EQ(allocator->state(p + i * kPageSize), i ? PageState::tail : PageState::used);
    }
    EXPECT_TRUE(allocator->free(p, order));
  }
  EXPECT_EQ(allocator->head_of(nullptr), nullptr);
  // The same pages without it: nothing is left of the heads.
  auto* const p = static_cast<char*>(allocator->alloc(gfp::kernel, 3));
  EXPECT_EQ(allocator->head_of(p + kPageSize), p + kPageSize);
  EXPECT_TRUE(allocator->free(p, 3));
  expect_all_free();
}

TEST_P(Pages, AddressesAndPagesAreOneToOne) {
  set_up(300);
  for (std::uintptr_t i = 0; i < allocator->pages(); ++i) {
    EXPECT_TRUE(allocator->managed(allocator->page(i)));
    EXPECT_TRUE(allocator->managed(static_cast<char*>(allocator->page(i)) + kPageSize - 1));
  }
  EXPECT_FALSE(allocator->managed(static_cast<char*>(allocator->page(0)) - 1));
  EXPECT_FALSE(allocator->managed(static_cast<char*>(allocator->page(0)) + 300 * kPageSize));
  EXPECT_FALSE(allocator->managed(nullptr));
  EXPECT_FALSE(allocator->managed(&allocator));
}

}  // namespace
}  // namespace nestlock::test_support
