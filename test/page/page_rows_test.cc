// The scenarios P1 to P9 of interrupted page allocators, each a test by its id, in every kernel it
// applies to: the per-CPU pages. P8 needs a migration: explore_pages_test.
#include "test/support/page_rows.h"

#include <algorithm>
#include <atomic>
#include <thread>

namespace nestlock::test_support {
namespace {

INSTANTIATE_TEST_SUITE_P(All, PageRow, ::testing::ValuesIn(observed_pages()),
                         name_of_case<::testing::TestParamInfo<PagesCase>>);
// What needs a second CPU.
class PageRowOnCpus : public PageRow {};
INSTANTIATE_TEST_SUITE_P(All, PageRowOnCpus, ::testing::ValuesIn(on_cpus(observed_pages())),
                         name_of_case<::testing::TestParamInfo<PagesCase>>);

// T drains a CPU's pages, the pcp lock held and irqs on; an irq frees a page. (The historic
// corruption: on one CPU the irq's trylock succeeded.)
TEST_P(PageRow, P1_AnIrqFreesWhileTheCpusPagesAreDrained) {
  start();
  fill_cache(20);
  void* const mine = take();
  const PageStats before = allocator->stats();
  interrupted_holding(
      pcp_lock, ordinary_irq(), [&] { allocator->drain_cpu(allocator->cpu_id()); },
      [&] { EXPECT_TRUE(give(mine)); });
  EXPECT_EQ(held_masked, 0u) << "irqs are on around the pcp";
  const PageStats after = allocator->stats();
  EXPECT_EQ(busy(after.pcp_busy, ordinary_irq()), busy(before.pcp_busy, ordinary_irq()) + 1)
      << "refused";
  EXPECT_EQ(after.pcp_frees, before.pcp_frees) << "and given to the buddy";
  EXPECT_EQ(cached(), 0u);
  give_everything_back();
}

// The same from every other path that empties a cache: there is no decay, no tuning and no NUMA
// expiry here; there are the drain over the high mark, disabling, isolating, and the two drains.
TEST_P(PageRow, P2_AnIrqFreesInEachPathThatEmptiesACache) {
  start(2048);
  const std::vector<std::function<void()>> paths = {
      [&] { allocator->drain_all(); },
      [&] { allocator->pcp_disable(0), allocator->pcp_enable(0); },
      [&] {
        allocator->isolate(allocator->page(0), true), allocator->isolate(allocator->page(0), false);
      },
      [&] {  // over the high mark
        Owned many;
        for (int i = 0; i < 60; ++i) ASSERT_TRUE(many.add(allocator->alloc(gfp::nowait, 0), 0));
        while (!many.empty()) ASSERT_TRUE(allocator->free(many.take_first().at, 0));
      },
      [&] {  // out of memory: a patient caller drains all CPUs
        void* const one = allocator->alloc(gfp::kernel, kMaxOrder);
        EXPECT_EQ(allocator->alloc(gfp::kernel, kMaxOrder), nullptr);
        EXPECT_TRUE(allocator->free(one, kMaxOrder));
      },
  };
  for (const auto& path : paths) {
    fill_cache(20);
    void* const mine = take();
    void* got = nullptr;
    interrupted_holding(pcp_lock, ordinary_irq(), path, [&] {
      EXPECT_TRUE(give(mine));
      got = allocator->alloc(gfp::atomic, 1);
      EXPECT_TRUE(keep(got, 1)) << owned.trouble();
    });
    EXPECT_TRUE(allocator->consistent()) << "path " << &path - paths.data();
    EXPECT_TRUE(owned.intact()) << owned.trouble();
    give_everything_back();
  }
}

// T allocates, the pcp lock held; an irq allocates: from the buddy, and another page.
TEST_P(PageRow, P3_AnIrqAllocatesWhileThePcpLockIsHeld) {
  start();
  fill_cache(8);
  void* inner = nullptr;
  interrupted_holding(
      pcp_lock, ordinary_irq(), [&] { take(); },
      [&] { EXPECT_TRUE(keep(inner = allocator->alloc(gfp::atomic, 0))) << owned.trouble(); });
  EXPECT_EQ(owned.size(), 2u);
  EXPECT_GE(busy(allocator->stats().pcp_busy, ordinary_irq()), 1u);
  EXPECT_TRUE(owned.intact()) << owned.trouble();
  give_everything_back();
}

// T holds the pcp lock; an NMI allocates by nolock: from the zone. T holds the zone's; an NMI
// allocates: from the pcp, or, if that is empty, null with the reason.
TEST_P(PageRow, P4_AnNmiAllocatesWhileThePcpOrTheZoneIsHeld) {
  start();
  fill_cache(8);
  PageRefusal why = PageRefusal::none;
  interrupted_holding(
      pcp_lock, nolock_nmi(), [&] { take(); },
      [&] {
        EXPECT_TRUE(keep(allocator->alloc_nolock(kNone, 0, kAnyNode, &why))) << name_of(why);
      });
  ASSERT_GT(cached(), 0u);
  interrupted_holding(
      zone_lock, nolock_nmi(), [&] { take(5); },
      [&] {
        EXPECT_TRUE(keep(allocator->alloc_nolock(kNone, 0, kAnyNode, &why))) << name_of(why);
      });
  allocator->drain_all();
  interrupted_holding(
      zone_lock, nolock_nmi(), [&] { take(5); },
      [&] { EXPECT_EQ(allocator->alloc_nolock(kNone, 0, kAnyNode, &why), nullptr); });
  EXPECT_EQ(why, PageRefusal::zone_held);
  EXPECT_EQ(busy(allocator->stats().zone_busy, nolock_nmi()), 1u);
  EXPECT_EQ(owned.size(), 5u);
  if (rt()) {  // an NMI proper may try neither
    fill_cache(8);
    interrupt(Where::nmi,
              [&] { EXPECT_EQ(allocator->alloc_nolock(kNone, 0, kAnyNode, &why), nullptr); });
    EXPECT_EQ(why, PageRefusal::gate);
  }
  EXPECT_TRUE(owned.intact()) << owned.trouble();
  give_everything_back();
}

// Another CPU drains this one's pages, and holds its pcp lock, while it allocates and frees.
TEST_P(PageRowOnCpus, P5_AnotherCpuDrainsDuringAllocAndFree) {
  start();
  fill_cache(20);
  void* const mine = take();
  const unsigned here = allocator->cpu_id();
  const std::uintptr_t busy_before = allocator->stats().pcp_busy[0];
  std::atomic<bool> held{false}, go_on{false};
  std::thread remote([&] {
    AtLocks at([&](LockEvent e, const LockRef& l) {
      if (e != LockEvent::acquired || l.lock != pcp_lock) return;
      held = true;
      while (!go_on) std::this_thread::yield();
    });
    allocator->drain_cpu(here);
  });
  while (!held) std::this_thread::yield();
  take();
  take(3);
  EXPECT_TRUE(give(mine));
  PageRefusal why = PageRefusal::none;
  EXPECT_TRUE(keep(allocator->alloc_nolock(kNone, 1, kAnyNode, &why), 1)) << name_of(why);
  EXPECT_GE(allocator->stats().pcp_busy[0], busy_before + 4);
  go_on = true;
  remote.join();
  EXPECT_TRUE(owned.intact()) << owned.trouble();
  give_everything_back();
}

// The waiting form of the pcp lock from an interrupt that stopped its holder: it could never
// return. It is reported and ends the program, except without debug on several CPUs, where it
// would spin (page.h allows the drains in task context only).
class PageRowNoticed : public PageRow {};
INSTANTIATE_TEST_SUITE_P(All, PageRowNoticed,
                         ::testing::ValuesIn(only(observed_pages(),
                                                  [](Config c) {
                                                    return !c.smp || c.debug || c.preempt_rt;
                                                  })),
                         name_of_case<::testing::TestParamInfo<PagesCase>>);
TEST_P(PageRowNoticed, P6_ABusyLockIsCountedWhereItWasNoticed) {
  start();
  fill_cache(8);
  const Outcome o = in_child([&] {
    interrupted_holding(
        pcp_lock, ordinary_irq(), [&] { allocator->drain_cpu(allocator->cpu_id()); },
        [&] { allocator->drain_cpu(allocator->cpu_id()); });
  });
  EXPECT_TRUE(o.died) << o.text();
  ASSERT_FALSE(o.reports.empty());
  const Finding f = o.reports.back().finding;
  EXPECT_TRUE(f == Finding::never_returns || f == Finding::recursion || f == Finding::deadlock)
      << o.text();
  EXPECT_TRUE(o.reports.back().fatal);
}

// A free goes over the high mark and drains in batches; between two of them another CPU takes the
// pcp lock. The free ends without the lock, and does not give back what is not its own.
TEST_P(PageRowOnCpus, P7_AnotherCpuTakesThePcpBetweenTwoBatches) {
  start();
  const unsigned here = allocator->cpu_id();
  std::vector<void*> pages;
  while (pages.size() < 40) pages.push_back(take());
  std::atomic<bool> please{false}, held{false}, go_on{false};
  std::thread remote([&] {
    while (!please) std::this_thread::yield();
    AtLocks at([&](LockEvent e, const LockRef& l) {
      if (e != LockEvent::acquired || l.lock != pcp_lock) return;
      held = true;
      while (!go_on) std::this_thread::yield();
    });
    allocator->drain_cpu(here);
  });
  unsigned lost = 0;
  {
    AtLocks at([&](LockEvent e, const LockRef& l) {
      if (e == LockEvent::acquired && l.lock == zone_lock && !please) {  // the batch's way home
        please = true;
        while (!held) std::this_thread::yield();
      }
      lost += e == LockEvent::refused && l.lock == pcp_lock && held;
    });
    while (!please && !pages.empty()) {
      EXPECT_TRUE(give(pages.back()));
      pages.pop_back();
    }
  }
  EXPECT_TRUE(held);
  EXPECT_EQ(lost, 1u);
  // It is still the other's.
  const std::uintptr_t refused = allocator->stats().pcp_busy[0];
  EXPECT_TRUE(give(pages.back()));
  EXPECT_EQ(allocator->stats().pcp_busy[0], refused + 1);
  go_on = true;
  remote.join();
  give_everything_back();
}

// A nolock free with the count at or over the high mark: queued, not drained; the next ordinary
// free drains.
TEST_P(PageRow, P9_ANolockFreeOverTheHighMarkIsQueued) {
  start();
  std::vector<void*> pages;
  while (pages.size() < 80) pages.push_back(take());
  const auto give_last = [&](bool nolock) {
    void* const p = pages.back();
    pages.pop_back();
    EXPECT_TRUE(give(p, nolock));
  };
  const std::uintptr_t none = allocator->stats().drains;
  while (allocator->stats().drains == none) give_last(false);
  const std::uintptr_t high = cached() + 3;  // it drained a batch of four
  while (cached() < high) give_last(false);
  const std::uintptr_t drains = allocator->stats().drains;
  for (int i = 0; i < 10; ++i) give_last(/*nolock=*/true);
  EXPECT_EQ(cached(), high + 10);
  EXPECT_EQ(allocator->stats().drains, drains);
  give_last(false);
  EXPECT_LE(cached(), high);
  EXPECT_GT(allocator->stats().drains, drains);
  give_everything_back();
}

// What a CPU keeps has a bound also where nobody can give the zone anything: the frees of an NMI that
// interrupted its holder, after which no other comes, leave four times the mark there and park the rest,
// which any CPU's next call brings home.
TEST_P(PageRow, P9_NolockFreesBesideAHeldZoneParkWhatIsFarTooMuch) {
  start();
  std::vector<void*> pages;
  while (pages.size() < 8 * kLeastHigh) pages.push_back(take());
  allocator->drain_all();
  const PageStats before = allocator->stats();
  std::uintptr_t most = 0;
  interrupted_holding(
      zone_lock, nolock_nmi(), [&] { take(5); },
      [&] {
        for (void* const p : pages) {
          EXPECT_TRUE(give(p, /*nolock=*/true));
          most = std::max(most, cached());
        }
      },
      kAtTheEnd);
  EXPECT_EQ(most, 4 * kLeastHigh) << "where the zone can be had it is half of that";
  const PageStats after = allocator->stats();
  EXPECT_EQ(after.cached + after.parked, pages.size());
  EXPECT_GT(after.parked, 4 * kDrainedByNolock - 1) << "the rest, in pieces of so many and one";
  EXPECT_EQ(after.drains, before.drains);
  EXPECT_GT(busy(after.zone_busy, nolock_nmi()), busy(before.zone_busy, nolock_nmi()));
  EXPECT_TRUE(allocator->consistent());
  // The next one that finds the zone free begins to empty what lies here, and others have the parked ones.
  void* const one = take(3);
  EXPECT_EQ(allocator->stats().parked, after.parked - kUnparkedAtOnce);
  EXPECT_TRUE(give(one, /*nolock=*/true));
  EXPECT_LT(cached(), after.cached);
  give_everything_back();
}

}  // namespace
}  // namespace nestlock::test_support
