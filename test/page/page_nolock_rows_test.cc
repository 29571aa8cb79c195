// The scenarios P10 to P21 of interrupted page allocators, each a test by its id, in every kernel
// it applies to: the calls that never spin, and what they leave behind.
#include "test/support/page_rows.h"

namespace nestlock::test_support {
namespace {

class NolockPageRow : public PageRow {};
INSTANTIATE_TEST_SUITE_P(All, NolockPageRow, ::testing::ValuesIn(observed_pages()),
                         name_of_case<::testing::TestParamInfo<PagesCase>>);

// T holds the zone lock; an NMI frees by nolock: to the pcp; what does not go there is parked.
TEST_P(NolockPageRow, P10_AnNmiFreesWhileTheZoneIsHeld) {
  start();
  void *const small = take(), *const large = take(6);
  interrupted_holding(
      zone_lock, nolock_nmi(), [&] { take(5); },
      [&] {
        EXPECT_TRUE(give(small, true));
        EXPECT_TRUE(give(large, true));
        EXPECT_EQ(allocator->state(small), PageState::cached);
        EXPECT_EQ(allocator->state(large), PageState::parked);
      },
      kAtTheEnd);
  EXPECT_EQ(allocator->stats().parked, 64u);
  EXPECT_EQ(allocator->stats().parked_total, 1u);
  EXPECT_TRUE(allocator->consistent());
  give_everything_back();
}

// Parked pages wait for the next call on their zone that may spin, whatever it is, and no longer:
// an allocation or free of a small block, though the cache could have served it; of a large one;
// a drain. (The kernel's wait for a free that happens to reach the zone.)
TEST_P(NolockPageRow, P11_ParkedPagesWaitForTheNextSpinningCall) {
  start(2048, 2);
  fill_cache(8);
  void *small = nullptr, *large = nullptr;
  const struct {
    const char *name;
    std::function<void()> call;
  } calls[] = {
      {"alloc, from the cache", [&] { take(); }},
      {"free, to the cache", [&] { give(small); }},
      {"alloc, from the zone", [&] { take(7); }},
      {"free, to the zone", [&] { give(large); }},
      {"drain_all_pages()", [&] { allocator->drain_all(); }},
      {"unpark_all()", [&] { allocator->unpark_all(); }},
  };
  for (const auto &c : calls) {
    small = take(), large = take(4);
    void *const p = take(4), *const q = take(8), *const r = take();
    void *const other = allocator->alloc(gfp::kernel, 0, 1);
    interrupted_holding(
        zone_lock, nolock_nmi(), [&] { take(5); },
        [&] { EXPECT_TRUE(give(p, true) && give(q, true)); }, kAtTheEnd);
    ASSERT_EQ(allocator->stats().parked, 16u + 256);
    ASSERT_GT(cached(), 0u);
    // What leaves them: nolock calls, which are of bounded work, and calls on another zone.
    EXPECT_TRUE(keep(allocator->alloc_nolock(kNone, 0)));
    EXPECT_TRUE(give(r, true));
    EXPECT_TRUE(allocator->free(other, 0));
    ASSERT_EQ(allocator->stats().parked, 16u + 256);
    c.call();
    EXPECT_EQ(allocator->stats().parked, 0u) << c.name;
    EXPECT_TRUE(allocator->consistent()) << c.name;
    give_everything_back();
    fill_cache(8);
  }
}

// Parked blocks of several orders, and then a free that goes to the zone: all are put back with
// the orders that they were parked with.
TEST_P(NolockPageRow, P12_ParkedBlocksKeepTheirOrders) {
  start();
  const std::vector<unsigned> whole = blocks();
  std::vector<void *> held;
  for (unsigned order : {0u, 2u, 4u, 5u, 7u, 8u}) held.push_back(take(order));
  void *const last = take(6);
  allocator->drain_all();
  interrupted_holding(
      zone_lock, nolock_nmi(), [&] { take(3); },
      [&] {
        for (void *p : held) EXPECT_TRUE(give(p, true));
      },
      kAtTheEnd);
  EXPECT_EQ(allocator->stats().parked, 16u + 32 + 128 + 256)
      << "the two small ones are in the cache";
  EXPECT_TRUE(allocator->consistent());
  EXPECT_TRUE(give(last));
  const PageStats s = allocator->stats();
  EXPECT_EQ(s.parked, 0u);
  EXPECT_EQ(s.unparked, 4u);
  give_everything_back();
  EXPECT_EQ(blocks(), whole);
}

// An NMI allocates by nolock: what the lock says is the answer. Served when all is free, also when
// the pcp is taken; null when the zone is. No page twice.
TEST_P(NolockPageRow, P13_AnNmiIsServedAsTheLocksSay) {
  start();
  PageRefusal why = PageRefusal::none;
  interrupt(nolock_nmi(),
            [&] { EXPECT_TRUE(keep(allocator->alloc_nolock(kNone, 0, kAnyNode, &why), 0)); });
  fill_cache(4);
  for (unsigned order : {0u, 1u, 3u})
    interrupted_holding(
        pcp_lock, nolock_nmi(), [&] { take(); },
        [&] { EXPECT_TRUE(keep(allocator->alloc_nolock(kNone, order, kAnyNode, &why), order)); });
  allocator->drain_all();
  for (unsigned order : {0u, 1u, 3u})
    interrupted_holding(
        zone_lock, nolock_nmi(), [&] { take(9 - order); },
        [&] {
          EXPECT_EQ(allocator->alloc_nolock(kNone, order, kAnyNode, &why), nullptr);
          EXPECT_EQ(why, PageRefusal::zone_held);
        });
  EXPECT_TRUE(owned.intact()) << owned.trouble();
  give_everything_back();
}

// An NMI frees by nolock: to the pcp; if that is taken to the zone; if that is taken it is parked.
TEST_P(NolockPageRow, P14_AnNmisFreeGoesToPcpZoneOrIsParked) {
  start();
  void *const p = take(), *const q = take(), *const r = take(4);
  interrupt(nolock_nmi(), [&] { EXPECT_TRUE(give(p, true)); });
  EXPECT_EQ(allocator->state(p), PageState::cached);
  const std::uintptr_t frees = allocator->stats().zone_frees;
  interrupted_holding(pcp_lock, nolock_nmi(), [&] { take(); }, [&] { EXPECT_TRUE(give(q, true)); });
  EXPECT_EQ(allocator->stats().zone_frees, frees + 1);
  interrupted_holding(
      zone_lock, nolock_nmi(), [&] { take(5); }, [&] { EXPECT_TRUE(give(r, true)); }, kAtTheEnd);
  EXPECT_EQ(allocator->state(r), PageState::parked);
  EXPECT_TRUE(owned.intact()) << owned.trouble();
  give_everything_back();
}

// Frees that no pcp takes, of an isolated page and of a large block, ask at the zone's lock: the
// gate stands there, too. RT, in a real NMI: parked, and no lock touched.
TEST_P(NolockPageRow, P15_TheGateStandsAtTheZonesLockToo) {
  start(2048);
  void *p = take(), *q = take(6);
  allocator->isolate(p, true);
  const auto isolated = allocator->stats().isolated;
  interrupt(nolock_nmi(), [&] { EXPECT_TRUE(give(p, true) && give(q, true)); });
  EXPECT_EQ(allocator->stats().parked, 0u);
  EXPECT_EQ(allocator->stats().isolated, isolated + 1 + 64) << "both lie in the block";
  allocator->isolate(p, false);
  p = take(), q = take(6);
  allocator->isolate(p, true);
  interrupted_holding(
      zone_lock, nolock_nmi(), [&] { take(5); },
      [&] { EXPECT_TRUE(give(p, true) && give(q, true)); }, kAtTheEnd);
  EXPECT_EQ(allocator->stats().parked, 65u);
  allocator->unpark_all();
  if (rt()) {
    void *const x = take(), *const y = take(6), *const z = take(1);
    allocator->isolate(x, true);
    unsigned touched = 0;
    AtLocks at([&](LockEvent, const LockRef &) { ++touched; });
    for (Where w : {Where::hardirq, Where::nmi}) {
      void *const b = w == Where::hardirq ? x : y;
      interrupt(w, [&] { EXPECT_TRUE(give(b, true)); });
      EXPECT_EQ(allocator->state(b), PageState::parked);
    }
    interrupt(Where::nmi, [&] { EXPECT_TRUE(give(z, true)); });
    EXPECT_EQ(allocator->state(z), PageState::parked) << "nor does the pcp's";
    EXPECT_EQ(touched, 0u);
  }
  lock_hook() = nullptr;
  allocator->isolate(allocator->page(0), false), allocator->isolate(allocator->page(1024), false);
  EXPECT_TRUE(allocator->consistent());
  give_everything_back();
}

// A nolock allocation of an order that it does not serve: null, and silent, everywhere.
TEST_P(NolockPageRow, P16_AnOrderThatIsNotServedIsNullAndSilent) {
  start();
  for (Where w : kWheres)
    for (unsigned order : {4u, 9u, 10u, 11u, ~0u}) {
      PageRefusal why = PageRefusal::none;
      interrupt(w,
                [&] { EXPECT_EQ(allocator->alloc_nolock(kNone, order, kAnyNode, &why), nullptr); });
      EXPECT_EQ(why, PageRefusal::order);
    }
  EXPECT_EQ(findings->size(), 0u) << findings->text();
}

// A nolock allocation with flags of the patient kind: reported in debug, goes on, never spins (the
// zone's lock is held) and never asks for more memory.
TEST_P(NolockPageRow, P17_PatientFlagsInANolockCallNeverSpin) {
  start();
  PageRefusal why = PageRefusal::none;
  EXPECT_TRUE(keep(allocator->alloc_nolock(gfp::kernel, 0)));
  EXPECT_EQ(take_findings(),
            config().debug ? std::vector{Finding::wrong_gfp} : std::vector<Finding>{});
  allocator->drain_all();
  interrupted_holding(
      zone_lock, nolock_nmi(), [&] { take(5); },
      [&] {
        EXPECT_EQ(allocator->alloc_nolock(gfp::kernel | gfp::memalloc, 0, kAnyNode, &why), nullptr);
      });
  EXPECT_EQ(why, PageRefusal::zone_held);
  take_findings();
  EXPECT_TRUE(
      keep(allocator->alloc_nolock(gfp::zero | gfp::comp | gfp::nowarn | gfp::thisnode, 1), 1));
  EXPECT_EQ(findings->size(), 0u) << "these it takes";
  give_everything_back();
}

// Blocks of either allocation may be freed by either free, in any context.
TEST_P(NolockPageRow, P18_EitherFreeTakesEitherAllocationsBlocks) {
  start();
  for (Where w : kWheres)
    for (unsigned order = 0; order < 4; ++order) {
      void *p = take(order);
      interrupt(w, [&] { EXPECT_TRUE(give(p, /*nolock=*/true)); });
      p = allocator->alloc_nolock(kNone, order);
      ASSERT_TRUE(keep(p, order));
      EXPECT_TRUE(give(p));
    }
  EXPECT_TRUE(allocator->consistent());
  give_everything_back();
}

// With the caches disabled an ordinary free goes home at once; nolock frees linger until a drain,
// or the next ordinary free.
TEST_P(NolockPageRow, P19_NolockFreesLingerWhereCachesAreDisabled) {
  start();
  std::vector<void *> pages;
  while (pages.size() < 6) pages.push_back(take());
  allocator->pcp_disable(0);
  EXPECT_TRUE(give(pages[0]));
  EXPECT_EQ(cached(), 0u);
  interrupt(nolock_nmi(), [&] { EXPECT_TRUE(give(pages[1], true) && give(pages[2], true)); });
  EXPECT_EQ(cached(), 2u);
  allocator->drain_all();
  EXPECT_EQ(cached(), 0u);
  EXPECT_TRUE(give(pages[3], true));
  EXPECT_EQ(cached(), 1u);
  EXPECT_TRUE(give(pages[4]));
  EXPECT_EQ(cached(), 0u);
  // However many, they are no more than where caches are on.
  pages.resize(4 * kLeastHigh);
  allocator->pcp_enable(0);
  for (void *&p : pages) p = take();
  allocator->pcp_disable(0);
  for (void *const p : pages) {
    EXPECT_TRUE(give(p, true));
    EXPECT_LE(cached(), 2 * kLeastHigh);
  }
  EXPECT_GT(cached(), 0u);
  allocator->pcp_enable(0);
  give_everything_back();
}

// A probe inside the buddy, the zone lock held, allocates and frees: null, and parked. With a page
// in the pcp it is served from there.
TEST_P(NolockPageRow, P21_AProbeInTheBuddyIsServedFromThePcp) {
  start();
  for (const bool freeing : {false, true}) {
    allocator->drain_all();
    void *const p = take(4), *const q = take(5);
    PageRefusal why = PageRefusal::none;
    allocator->drain_all();
    interrupted_holding(
        zone_lock, Where::probe,
        [&] {
          if (freeing)
            EXPECT_TRUE(give(p));
          else
            take(5);
        },
        [&] {
          EXPECT_EQ(allocator->alloc_nolock(kNone, 0, kAnyNode, &why), nullptr);
          EXPECT_EQ(why, PageRefusal::zone_held);
          EXPECT_TRUE(give(q, true));
          EXPECT_EQ(allocator->state(q), PageState::parked);
        });
    EXPECT_TRUE(owned.intact()) << owned.trouble();
    fill_cache(4);
    interrupted_holding(
        zone_lock, Where::probe, [&] { take(5); },
        [&] { EXPECT_TRUE(keep(allocator->alloc_nolock(kNone, 0))); });
    EXPECT_TRUE(allocator->consistent());
  }
  give_everything_back();
}

// ---- P20: the mode without per-CPU pages --------------------------------------------------------

class PageRowsOfAPolicy : public PageRow {};
INSTANTIATE_TEST_SUITE_P(RefusedInNmi, PageRowsOfAPolicy,
                         ::testing::Values(policies_on_one_cpu().back()),
                         name_of_case<::testing::TestParamInfo<PagesCase>>);

// What mainline does on one CPU: the lists stay empty whatever is called, and every block comes
// from the buddy; nolock calls are refused in an NMI.
TEST_P(PageRowsOfAPolicy, P20_WithoutCpuPagesEachBlockComesFromTheBuddy) {
  ASSERT_STREQ(GetParam().policy, "refused in NMI");
  set_up(1024);
  for (Where w : {Where::task, Where::softirq, Where::hardirq})
    for (unsigned order : {0u, 1u, 3u, 5u})
      interrupt(w, [&] {
        EXPECT_TRUE(owned.add(allocator->alloc(gfp::atomic, order), order));
        if (order > 3) return;
        void *const p = allocator->alloc_nolock(gfp::none, order);
        EXPECT_NE(p, nullptr);
        EXPECT_TRUE(order & 1 ? allocator->free(p, order) : allocator->free_nolock(p, order));
      });
  PageRefusal why = PageRefusal::none;
  void *const p = allocator->alloc(gfp::kernel, 0);
  interrupt(Where::nmi, [&] {
    EXPECT_EQ(allocator->alloc_nolock(gfp::none, 0, kAnyNode, &why), nullptr);
    EXPECT_TRUE(allocator->free_nolock(p, 0));
  });
  EXPECT_EQ(why, PageRefusal::gate);
  EXPECT_EQ(allocator->state(p), PageState::parked);
  while (!owned.empty()) {
    const Owned::Block b = owned.take_first();
    EXPECT_TRUE(allocator->free(b.at, b.order));
  }
  const PageStats s = allocator->stats();
  EXPECT_EQ(s.cached + s.pcp_allocs + s.pcp_frees + s.refills + s.drains, 0u);
  expect_all_free();
}

}  // namespace
}  // namespace nestlock::test_support
