// The scenarios K1 to K8, K24 to K26 of interrupted slab allocators, each a test by its id, in
// every kernel it applies to: allocation in an interrupt. And the second seed's probe with two
// caches.
#include "test/support/slab_rows.h"

namespace nestlock::test_support {
namespace {

INSTANTIATE_TEST_SUITE_P(All, SlabRow, ::testing::ValuesIn(observed_slabs()),
                         name_of_case<::testing::TestParamInfo<SlabCase>>);

// T holds its CPU's sheaves; an irq allocates of the same class: refused there, and served by the
// list, whose lock it may wait for.
TEST_P(SlabRow, K1_AnIrqAllocatesWhileTheSheavesAreHeld) {
  start();
  take();
  const SlabStats before = stats();
  interrupted_holding(
      locks.local, ordinary_irq(), [&] { take(); },
      [&] { EXPECT_TRUE(keep(slabs->kmalloc(kSize, gfp::atomic))) << trouble; });
  const SlabStats after = stats();
  EXPECT_EQ(after.local_busy, before.local_busy + 1);
  EXPECT_EQ(after.list_allocs + after.new_slab_allocs,
            before.list_allocs + before.new_slab_allocs + 1);
  EXPECT_EQ(after.fast_allocs, before.fast_allocs + 1) << "and T by its sheaf";
  give_everything_back();
}

// T holds its CPU's sheaves; an NMI allocates by nolock: always served, for no other lock is held.
// RT: to an NMI or irq proper the gate is closed, and nothing is touched.
TEST_P(SlabRow, K2_AnNmiAllocatesWhileTheSheavesAreHeld) {
  start();
  for (const bool stocked : {true, false}) {
    if (!stocked) slabs->shrink(cache);
    take();
    SlabRefusal why{};
    interrupted_holding(
        locks.local, nolock_nmi(), [&] { take(); },
        [&] {
          EXPECT_TRUE(keep(slabs->kmalloc_nolock(kSize, kNone, kAnyNode, &why))) << name_of(why);
        });
    EXPECT_EQ(why, SlabRefusal::none);
  }
  if (rt()) {
    unsigned touched = 0;
    for (Where w : {Where::hardirq, Where::nmi})
      interrupt(w, [&] {
        AtLocks at([&](LockEvent, const LockRef&) { ++touched; });
        SlabRefusal why{};
        EXPECT_EQ(slabs->kmalloc_nolock(kSize, kNone, kAnyNode, &why), nullptr);
        EXPECT_EQ(why, SlabRefusal::gate);
      });
    EXPECT_EQ(touched, 0u);
    EXPECT_EQ(refused(stats(), SlabRefusal::gate), 2u);
  }
  give_everything_back();
}

// T holds the list; the sheaves are empty; an NMI allocates by nolock: the list is refused, a new
// slab serves. (The kernel discards that slab, for its rest finds no list, and tries the next
// class; here the rest waits as an orphan for the next call that may spin.)
TEST_P(SlabRow, K3_AnNmiAllocatesWhileTheListIsHeld) {
  start();
  const auto op = refilling();
  const SlabStats before = stats();
  SlabRefusal why{};
  interrupted_holding(list(), nolock_nmi(), op, [&] {
    void* const p = slabs->kmalloc_nolock(kSize, kNone, kAnyNode, &why);
    EXPECT_TRUE(keep(p)) << name_of(why);
    EXPECT_EQ(slabs->ksize(p), kSize) << "of this class, not of the next";
  });
  const SlabStats after = stats();
  EXPECT_EQ(after.list_busy, before.list_busy + 2) << "asked for an object, and for room";
  EXPECT_EQ(after.orphans, before.orphans + 1);
  EXPECT_EQ(slabs->live(cache), 2u) << "the count of slabs holds";
  // The orphan is found by the next call that goes further than a sheaf.
  slabs->shrink(cache);
  EXPECT_EQ(stats().slabs, slabs->stats(cache).new_slabs - slabs->stats(cache).discarded_slabs);
  give_everything_back();
}

// As K3 without pages, and the next class blocked, too: null, after one attempt at each.
TEST_P(SlabRow, K4_WithoutPagesOneTryAtTheNextClass) {
  start();
  AnyCache* const next = slabs->kmalloc_cache(kNextClass);
  const Locks next_locks = locks_of(next);
  const auto op = refilling();
  slabs->shrink(next);
  SlabRefusal why{};
  const SlabStats third = slabs->stats(slabs->kmalloc_cache(kNextClass + 1));
  interrupted_holding(list(), Where::task, op, [&] {  // called, as a tracepoint is
    interrupted_holding(
        next_locks.list[0], nolock_nmi(),
        [&] { EXPECT_TRUE(keep(slabs->kmalloc(2 * kSize, gfp::atomic), 2 * kSize)); },
        [&] {
          slabs->fail_pages_every(1);
          EXPECT_EQ(slabs->kmalloc_nolock(kSize, kNone, kAnyNode, &why), nullptr);
          slabs->fail_pages_every(0);
        });
  });
  EXPECT_EQ(why, SlabRefusal::list_busy);
  EXPECT_EQ(refused(stats(), SlabRefusal::list_busy), 1u);
  EXPECT_EQ(refused(slabs->stats(next), SlabRefusal::list_busy), 1u);
  EXPECT_EQ(refused(slabs->stats(slabs->kmalloc_cache(kNextClass + 1)), SlabRefusal::list_busy),
            refused(third, SlabRefusal::list_busy));
  give_everything_back();
}

// K3 in a loop: each attempt is of bounded work, and so is what the loop leaves behind.
TEST_P(SlabRow, K5_EachAttemptIsBoundedWork) {
  start();
  const auto op = refilling();
  unsigned most = 0, now = 0;
  std::uintptr_t served = 0;
  // The bound is of calls, not of accesses: under ThreadSanitizer a tenth of them sees no less.
  const unsigned turns = rounds(nestlock::internal::kWithTsan ? 2000 : 20000, 1000000);
  interrupted_holding(list(), nolock_nmi(), op, [&] {
    AtLocks at([&](LockEvent e, const LockRef&) {
      now += e == LockEvent::acquired || e == LockEvent::refused;
    });
    for (unsigned i = 0; i < turns; ++i) {
      now = 0;
      void* const p = slabs->kmalloc_nolock(kSize, kNone);
      most = std::max(most, now);
      if (!p) continue;
      ++served;
      slabs->kfree_nolock(p);
    }
  });
  EXPECT_GT(served, 0u);
  // Of two classes each: local, barn, list; pcp and zone for two orders; list and local again; and
  // to give the slab back pcp and zone.
  EXPECT_GT(most, 1u);
  EXPECT_LE(most, 2 * 11u);
  EXPECT_LE(stats().slabs, 20u) << "no more than the orphans that there may be";
  give_everything_back();
}

// The largest class: there is no next one.
TEST_P(SlabRow, K6_TheLargestClassHasNoNextOne) {
  start();
  AnyCache* const last = slabs->kmalloc_cache(12);
  const Locks l = locks_of(last);
  SlabRefusal why{};
  interrupted_holding(
      l.list[0], nolock_nmi(), [&] { EXPECT_TRUE(keep(slabs->kmalloc(8192, gfp::nowait), 8192)); },
      [&] {
        slabs->fail_pages_every(1);
        EXPECT_EQ(slabs->kmalloc_nolock(8192, kNone, kAnyNode, &why), nullptr);
        slabs->fail_pages_every(0);
      });
  EXPECT_EQ(why, SlabRefusal::list_busy);
  EXPECT_EQ(slabs->kmalloc_nolock(8193, kNone, kAnyNode, &why), nullptr);
  EXPECT_EQ(why, SlabRefusal::size);
  give_everything_back();
}

// The second seed's crash: T holds the list, an NMI (K7) or a probe (K8) allocates by nolock and
// took a slab that T owned. At every moment that T holds it: filling a sheaf, emptying one,
// freeing.
class SlabOwnersRow : public SlabRow {
 protected:
  void never_two_owners(Where w) {
    start();
    const std::vector<std::function<void()>> paths = {
        refilling(),
        [&] { slabs->shrink(cache); },
        [&] {
          for (int i = 0; i < 40; ++i) take();
          for (int i = 0; i < 40; ++i) EXPECT_TRUE(give(kept.back().at));
        },
    };
    std::uintptr_t hits = 0, served = 0;
    for (const auto& path : paths)
      for (LockEvent when : {LockEvent::acquired, LockEvent::releasing}) {
        take_many(20);
        slabs->shrink(cache);
        take_many(3);
        {
          AtLocks at([&](LockEvent e, const LockRef& l) {
            if (e != when || l.lock != list()) return;
            ++hits;
            interrupt(w, [&] {
              SlabRefusal why{};
              void* const p = slabs->kmalloc_nolock(kSize, kNone, kAnyNode, &why);
              served += p != nullptr;
              // Not at the back: T's own are there.
              if (p) {
                EXPECT_TRUE(keep(p)) << trouble;
                std::rotate(kept.begin(), kept.end() - 1, kept.end());
              }
              if (hits % 2) {
                EXPECT_TRUE(give_nolock(kept.front().at));
              }
            });
          });
          path();
        }
        EXPECT_TRUE(slabs->consistent());
        give_everything_back();
      }
    EXPECT_GT(hits, 10u);
    EXPECT_GT(served * 10, hits * 9) << "of " << hits;
  }
};
INSTANTIATE_TEST_SUITE_P(All, SlabOwnersRow, ::testing::ValuesIn(observed_slabs()),
                         name_of_case<::testing::TestParamInfo<SlabCase>>);
TEST_P(SlabOwnersRow, K7_AnNmiNeverMakesTwoOwners) { never_two_owners(nolock_nmi()); }
TEST_P(SlabOwnersRow, K8_AProbeNeverMakesTwoOwners) { never_two_owners(Where::probe); }

// The second seed, case 2: a probe inside cache A's locked section. From B it is served; from A
// served elsewhere, or refused, but never by what T holds.
TEST_P(SlabRow, SeedTwoCaseTwoWithTwoCaches) {
  start();
  AnyCache* const a = slabs->create("A", 192);
  AnyCache* const b = slabs->create("B", 192);
  ASSERT_TRUE(a && b);
  for (AnyCache* of : {a, b}) slabs->free(of, slabs->alloc(of, gfp::kernel));
  const Locks la = locks_of(a);
  for (const bool at_list : {false, true}) {
    if (at_list) slabs->shrink(a);
    std::vector<void*> of_a, of_b;
    const SlabStats before = slabs->stats(b);
    interrupted_holding(
        at_list ? la.list[0] : la.local, Where::probe,
        [&] { of_a.push_back(slabs->alloc(a, gfp::kernel)); },
        [&] {
          of_b.push_back(slabs->alloc_nolock(b, kNone));
          EXPECT_NE(of_b.back(), nullptr);
          of_b.push_back(slabs->alloc(b, gfp::nowait));  // may even wait: B is nobody's
          of_a.push_back(slabs->alloc_nolock(a, kNone));
          EXPECT_NE(of_a.back(), nullptr) << "a new slab serves";
        });
    const SlabStats after = slabs->stats(b);
    EXPECT_EQ(after.local_busy + after.list_busy, before.local_busy + before.list_busy);
    EXPECT_EQ(slabs->stats(a).local_busy > 0, true) << "A's own was refused";
    for (std::size_t i = 0; i < 2; ++i) {
      EXPECT_TRUE(keep(of_a[i], 192)) << trouble;
      EXPECT_TRUE(keep(of_b[i], 192)) << trouble;
    }
    for (std::size_t i = 0; i < 2; ++i) {
      EXPECT_TRUE(slabs->free(a, leave(of_a[i])));
      EXPECT_TRUE(slabs->free(b, leave(of_b[i])));
    }
    EXPECT_EQ(slabs->live(a), 0u);
    EXPECT_EQ(slabs->live(b), 0u);
    take(), give_everything_back();
  }
  EXPECT_TRUE(slabs->destroy(a) && slabs->destroy(b));
}

// kmalloc_nolock(0), in every context, also where the gate is closed.
TEST_P(SlabRow, K24_SizeZeroInEveryContext) {
  start();
  for (Where w : kWheres)
    interrupt(w, [&] { EXPECT_EQ(slabs->kmalloc_nolock(0, kNone), slabs->zero_size()); });
}

// Zeroed, and served by the next class: the whole of that object is zero.
TEST_P(SlabRow, K25_TheWholeObjectOfTheNextClassIsZeroed) {
  start();
  std::vector<void*> dirty;
  for (int i = 0; i < 8; ++i) {
    dirty.push_back(slabs->kmalloc(2 * kSize, gfp::kernel));
    std::memset(dirty.back(), 0xff, 2 * kSize);
  }
  for (void* p : dirty) EXPECT_TRUE(slabs->kfree(p));
  const auto op = refilling();
  interrupted_holding(list(), nolock_nmi(), op, [&] {
    slabs->fail_pages_every(1);
    auto* const p = static_cast<unsigned char*>(slabs->kmalloc_nolock(kSize - 100, gfp::zero));
    slabs->fail_pages_every(0);
    ASSERT_NE(p, nullptr);
    ASSERT_EQ(slabs->ksize(p), 2 * kSize) << "the next class";
    EXPECT_TRUE(std::all_of(p, p + 2 * kSize, [](unsigned char b) { return b == 0; }));
    EXPECT_TRUE(keep(p, 2 * kSize));
  });
  give_everything_back();
}

// A nolock allocation never makes another allocation inside: there is no accounting, and sheaves
// are only made where waiting is allowed.
TEST_P(SlabRow, K26_NoAllocationInsideANolockAllocation) {
  start();
  char before[4096], after[4096];
  const auto sheaf_rows = [&](char* text) {
    slabs->slabinfo(text, sizeof before);
    char* const rows = std::strstr(text, "sheaf-");
    return std::string(rows ? rows : "none");
  };
  const std::string was = sheaf_rows(before);
  EXPECT_NE(was, "none");
  for (int i = 0; i < 100; ++i)
    interrupt(nolock_nmi(),
              [&] { EXPECT_TRUE(keep(slabs->kmalloc_nolock(100, gfp::zero), 100)) << trouble; });
  EXPECT_EQ(sheaf_rows(after), was);
  give_everything_back();
  EXPECT_NE(sheaf_rows(after), was) << "the frees did make one, or this shows nothing";
}

// A handler asks in which floor it interrupted: at every lock of an allocation from an empty cache,
// and of a drain of the pages; and where there is none.
TEST_P(SlabRow, AHandlerAsksWhichFloorItInterrupted) {
  start();
  const Where everywhere[] = {Where::probe, Where::nmi};  // an irq would wait for the zone
  unsigned told[3] = {};
  const auto expect_told = [&](Floor expected) {
    for (Where w : everywhere)
      interrupt(w, [&] {
        EXPECT_EQ(slabs->interrupted(), expected);
        ++told[static_cast<unsigned>(expected)];
      });
  };
  const auto at_each_lock = [&](auto op, auto floor_of) {
    AtLocks at([&](LockEvent e, const LockRef& l) {
      if (e == LockEvent::acquired) expect_told(floor_of(l.lock));
    });
    op();
  };
  expect_told(Floor::none);
  std::set<const void*> pages;
  take();
  at_each_lock([&] { slabs->drain_pages(); },
               [&](const void* lock) { return pages.insert(lock), Floor::page; });
  slabs->shrink(cache);
  at_each_lock([&] { take(); },
               [&](const void* lock) { return pages.count(lock) ? Floor::page : Floor::slab; });
  expect_told(Floor::none);
  for (const unsigned n : told) EXPECT_GT(n, 0u);
  give_everything_back();
}

}  // namespace
}  // namespace nestlock::test_support
