// The scenarios K18, K20 to K23, K27, K32 to K34, K39 to K42 of interrupted slab allocators, each a
// test by its id, in every kernel it applies to: what decides whether a call may spin, prefilled
// sheaves, and interruptions everywhere.
#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstring>
#include <thread>

#include "test/support/kernels.h"
#include "test/support/slab_rows.h"
#include "test/support/verify_line.h"

namespace nestlock::test_support {
namespace {

class SlabCallRow : public SlabRow {
 protected:
  // Empty sheaves for the barn.
  void put_empty_sheaves(unsigned many) {
    std::vector<AnySheaf*> sheaves;
    for (unsigned i = 0; i < many; ++i)
      sheaves.push_back(slabs->prefill(cache, gfp::nowait, kSheaf));
    for (AnySheaf* sheaf : sheaves) {
      while (void* const p = slabs->alloc_from(cache, sheaf)) EXPECT_TRUE(keep(p));
      slabs->give_back(cache, sheaf);
    }
  }
  // Sheaves of c's size that came back to the cache they are made by: c's class alone wants them.
  std::uintptr_t sheaves_back() {
    char text[4096];
    slabs->slabinfo(text, sizeof text);
    const char* const row = std::strstr(text, "\nsheaf-128 ");
    unsigned long size = 0, nr_slabs = 0, fast_allocs = 0, fast_frees = 0, allocs = 0, frees = 0;
    EXPECT_TRUE(row && std::sscanf(row, "%*s %lu %lu %lu %lu %lu %lu", &size, &nr_slabs,
                                   &fast_allocs, &fast_frees, &allocs, &frees) == 6)
        << text;
    return frees;
  }
  void expect_no_sheaf_lost() {
    slabs->shrink(cache);
    EXPECT_GT(stats().sheaf_allocs, 0u);
    EXPECT_EQ(sheaves_back(), stats().sheaf_allocs);
  }

  // Early boot, out of pages, free objects on the list alone, and another CPU in the list's lock
  // until this one asks for it: what an ordinary allocation gets.
  void* allocate_in_early_boot(gfp flags) {
    start();
    const std::vector<void*> mine = take_many(12);
    slabs->shrink(cache);
    EXPECT_TRUE(give(mine[0]));
    slabs->shrink(cache);
    slabs->set_allowed(gfp::none);
    slabs->fail_pages_every(1);
    std::atomic<bool> held{false}, asked{false};
    std::thread remote([&] {
      AtLocks at([&](LockEvent e, const LockRef& l) {
        if (e != LockEvent::acquired || l.lock != list()) return;
        held = true;
        while (!asked) std::this_thread::yield();
      });
      slabs->shrink(cache);
    });
    while (!held) std::this_thread::yield();
    void* p = nullptr;
    {
      AtLocks at([&](LockEvent e, const LockRef& l) {
        if (l.lock == list() && (e == LockEvent::acquiring || e == LockEvent::refused))
          asked = true;
      });
      p = slabs->kmalloc(kSize, flags);
    }
    asked = true;
    remote.join();
    slabs->fail_pages_every(0);
    slabs->set_allowed(kGfpAll);
    return p;
  }
};
INSTANTIATE_TEST_SUITE_P(All, SlabCallRow, ::testing::ValuesIn(observed_slabs()),
                         name_of_case<::testing::TestParamInfo<SlabCase>>);
// What needs a second CPU.
class SlabCallRowOnCpus : public SlabCallRow {};
INSTANTIATE_TEST_SUITE_P(All, SlabCallRowOnCpus, ::testing::ValuesIn(on_cpus(observed_slabs())),
                         name_of_case<::testing::TestParamInfo<SlabCase>>);

// The kernel needs a double-word compare-exchange on a slab's free list, or refuses nolock calls.
// Here a slab's free list changes only under its list's lock, so there is nothing to refuse: with
// the lock held, by anyone, an interrupt's calls leave all slabs of the list as they were.
TEST_P(SlabCallRow, K18_NoDoubleWordCompareExchangeIsNeeded) {
  start();
  const std::vector<void*> mine = take_many(20);
  slabs->shrink(cache);
  interrupted_holding(
      list(), nolock_nmi(), [&] { take(); },
      [&] {
        const SlabStats before = stats();
        EXPECT_TRUE(keep(slabs->kmalloc_nolock(kSize, kNone)));
        EXPECT_TRUE(give_nolock(mine[0]));
        EXPECT_EQ(stats().list_allocs, before.list_allocs);
        EXPECT_EQ(stats().list_frees, before.list_frees);
      },
      LockEvent::releasing);
  give_everything_back();
}

// Early boot: the mask takes the reclaim bits from every caller. An ordinary allocation is none the
// less ordinary: it waits for the list's lock, and is served.
TEST_P(SlabCallRowOnCpus, K20_EarlyBootsMaskDoesNotForbidSpinning) {
  void* const p = allocate_in_early_boot(gfp::kernel);
  EXPECT_TRUE(keep(p)) << "a spurious failure";
  EXPECT_EQ(stats().list_busy, 0u) << "it did not merely try";
  give_everything_back();
}

// The same for a call whose own gfp lacks them.
TEST_P(SlabCallRow, K21_ACallsOwnGfpDoesNotForbidSpinning) {
  if (config().smp) {
    EXPECT_TRUE(keep(allocate_in_early_boot(gfp::nowarn))) << "a spurious failure";
  } else {
    start();
    slabs->shrink(cache);
    const SlabStats before = stats();
    EXPECT_TRUE(keep(slabs->kmalloc(kSize, gfp::nowarn)));
    EXPECT_EQ(stats().refills, before.refills + 1) << "the ordinary way";
  }
  EXPECT_EQ(stats().list_busy, 0u);
  give_everything_back();
}

// Expected failures: the same scenarios where gfp bits decide.
class SlabDecidingByGfp : public SlabCallRow {};
INSTANTIATE_TEST_SUITE_P(Mutant, SlabDecidingByGfp, ::testing::ValuesIn(slabs_deciding_by_gfp()),
                         name_of_case<::testing::TestParamInfo<SlabCase>>);
// What needs a second CPU.
class SlabDecidingByGfpOnCpus : public SlabDecidingByGfp {};
INSTANTIATE_TEST_SUITE_P(Mutant, SlabDecidingByGfpOnCpus,
                         ::testing::ValuesIn(on_cpus(slabs_deciding_by_gfp())),
                         name_of_case<::testing::TestParamInfo<SlabCase>>);
TEST_P(SlabDecidingByGfpOnCpus, K20_FailsWhereGfpDecides) {
  void* const p = allocate_in_early_boot(gfp::kernel);
  EXPECT_EQ(p, nullptr);
  EXPECT_GT(stats().list_busy, 0u);
  caught("test", "gfp decides, K20", name_of(config()), !p);
  give_everything_back();
}
TEST_P(SlabDecidingByGfp, K21_FailsWhereGfpDecides) {
  if (config().smp) {
    void* const p = allocate_in_early_boot(gfp::nowarn);
    EXPECT_EQ(p, nullptr);
    caught("test", "gfp decides, K21", name_of(config()), !p);
  } else {
    start();
    slabs->shrink(cache);
    const SlabStats before = stats();
    EXPECT_TRUE(keep(slabs->kmalloc(kSize, gfp::nowarn)));
    const bool tried = stats().refills == before.refills;
    EXPECT_TRUE(tried) << "it took the nolock way";
    caught("test", "gfp decides, K21", name_of(config()), tried);
  }
  give_everything_back();
}

// An ordinary allocation under a raw lock: on RT a bug of the caller's, whatever gfp says. What is
// meant for there is the nolock call.
TEST_P(SlabCallRow, K22_AnOrdinaryCallUnderARawLockIsReportedOnRt) {
  start();
  void* const other = slabs->kmalloc(kSize, gfp::kernel);
  BasicRawSpinLock<HostedKernel<configs::smp_rt_debug>> raw;
  raw.lock();
  EXPECT_TRUE(keep(slabs->kmalloc_nolock(kSize, kNone)));
  EXPECT_EQ(findings->size(), 0u) << findings->text();
  EXPECT_TRUE(keep(slabs->kmalloc(kSize, gfp::nowarn)));
  EXPECT_TRUE(slabs->kfree(other));
  EXPECT_TRUE(slabs->kfree_nolock(slabs->kmalloc_nolock(kSize, kNone)));
  raw.unlock();
  if (config().debug && rt()) {
    EXPECT_EQ(findings->all(), (std::vector{Finding::wrong_context, Finding::wrong_context}));
    findings.emplace();
  }
  give_everything_back();
}

// A call that may spin, in a handler whose context forbids it, is reported where it is made, although a sheaf
// serves it: nothing would be said until the day that none does.
TEST_P(SlabCallRow, DebugAForbiddenCallIsReportedAlthoughNoLockIsTaken) {
  if (!config().debug) return;
  start();
  const auto told = [&](Where where, gfp flags) {
    void* const warm = slabs->kmalloc(kSize, gfp::kernel);
    EXPECT_TRUE(slabs->kfree(warm));
    findings.emplace();
    interrupt(where, [&] {
      void* const p = slabs->kmalloc(kSize, flags);
      slabs->kfree_nolock(p);
      if (!rt()) slabs->kfree_nolock(slabs->kmalloc_nolock(kSize, kNone));
    });
    const std::vector<Finding> all = findings->all();
    const std::string text = findings->text();
    findings.emplace();
    // The first says what was called; what follows is of the locks on its way.
    EXPECT_EQ(text.find("::kmalloc()") != std::string::npos, !all.empty()) << text;
    return !all.empty() && all[0] == Finding::wrong_context;
  };
  EXPECT_TRUE(told(Where::nmi, gfp::nowait));
  EXPECT_EQ(told(Where::hardirq, gfp::nowait), rt());
  EXPECT_EQ(told(Where::softirq, gfp::nowait), rt());
  EXPECT_TRUE(told(Where::hardirq, gfp::kernel));
  EXPECT_TRUE(told(Where::softirq, gfp::kernel));
  EXPECT_FALSE(told(Where::task, gfp::kernel));
  give_everything_back();
}

// Sheaves are filled for callers without the kswapd bit; nobody is warned.
TEST_P(SlabCallRow, K23_SheavesAreFilledWithoutTheKswapdBit) {
  start();
  slabs->shrink(cache);
  const SlabStats before = stats();
  for (int i = 0; i < 40; ++i) take(gfp::nowarn);
  EXPECT_GT(stats().refills, before.refills);
  EXPECT_EQ(findings->size(), 0u) << findings->text();
  give_everything_back();
}

// Between the filling of a sheaf, with no lock of the cache held, and its taking its place an
// interrupt has given this CPU other sheaves, with room or without: no sheaf and no object is lost.
// (That the task is on another CPU by then: explore_slab_test.)
TEST_P(SlabCallRow, K27_OtherSheavesArriveWhileOneIsFilled) {
  start();
  for (unsigned freed : {1u, 13u, 14u, 15u, 28u}) {
    take_many(30);
    slabs->shrink(cache);
    // RT: a probe must not ask for a lock that the task may hold; the sheaves that a nolock free
    // needs are in the barn, and one for the task.
    if (rt()) put_empty_sheaves(3);
    interrupted_behind_the_list(
        ordinary_irq(), [&] { take_many(60); },
        [&] {
          const SlabStats before = stats();
          for (unsigned i = 0; i < freed; ++i)
            EXPECT_TRUE(rt() ? give_nolock(kept.front().at) : give(kept.front().at));
          EXPECT_EQ(stats().fast_frees, before.fast_frees + freed) << "into sheaves";
        });
    EXPECT_EQ(slabs->live(cache), kept.size());
    give_everything_back();
    expect_no_sheaf_lost();
  }
}

// The other way: an empty sheaf is to take a full one's place, and the interrupt has filled both of
// this CPU's, has left room, or has taken objects out.
TEST_P(SlabCallRow, K27_OtherSheavesArriveWhileOneIsEmptied) {
  for (const int freed : {14, 1, -1, -14}) {
    if (rt() && freed > 0) continue;  // a nolock free finds no sheaf there: it goes to the list
    slabs = GetParam().make();
    start();
    std::vector<void*> mine = take_many(16 * 8);  // 16 slabs, and nothing else
    std::sort(mine.begin(), mine.end());
    slabs->shrink(cache);
    ASSERT_EQ(stats().slabs, 16u);
    // The spare has all of one slab, and there are five on the list: emptied, it frees the slab.
    for (unsigned i = 0; i < 2 * kSheaf; ++i) EXPECT_TRUE(give(mine[i]));
    for (unsigned i = 5; i < 11; ++i) EXPECT_TRUE(give_nolock(mine[i * 8]));
    const SlabStats before = stats();
    unsigned next = 12 * 8;
    interrupted_behind_the_list(
        ordinary_irq(), [&] { EXPECT_TRUE(give(mine[4 * 8])); },
        [&] {
          EXPECT_EQ(stats().flushes, before.flushes + 1);
          for (int i = 0; i < freed; ++i) EXPECT_TRUE(give(mine[next++]));
          for (int i = freed; i < 0; ++i) EXPECT_TRUE(keep(slabs->kmalloc_nolock(kSize, kNone)));
          EXPECT_EQ(stats().fast_frees, before.fast_frees + (freed > 0 ? freed : 0));
          EXPECT_EQ(stats().fast_allocs, before.fast_allocs - (freed < 0 ? freed : 0));
        });
    EXPECT_EQ(stats().list_frees, before.list_frees + (freed == 14)) << "both full: to the slab";
    EXPECT_EQ(slabs->live(cache), kept.size());
    give_everything_back();
    expect_no_sheaf_lost();
  }
}

// A prefilled sheaf serves what it was filled for, and then nothing; it looks nowhere else.
TEST_P(SlabCallRow, K32_APrefilledSheafServesWhatItHolds) {
  start();
  AnySheaf* const sheaf = slabs->prefill(cache, gfp::kernel, 9);
  ASSERT_NE(sheaf, nullptr);
  unsigned got = 0;
  slabs->fail_pages_every(1);
  while (void* const p = slabs->alloc_from(cache, sheaf)) {
    EXPECT_TRUE(keep(p));
    ++got;
  }
  slabs->fail_pages_every(0);
  EXPECT_GE(got, 9u);
  EXPECT_LE(got, kSheaf);
  EXPECT_EQ(slabs->alloc_from(cache, sheaf), nullptr);
  slabs->give_back(cache, sheaf);
  AnySheaf* const untouched = slabs->prefill(cache, gfp::kernel, kSheaf);
  slabs->give_back(cache, untouched);
  give_everything_back();
}

// More than a sheaf holds: one of its own, which is emptied when it comes back. No memory: null,
// and nothing is lost.
TEST_P(SlabCallRow, K33_APrefilledSheafLargerThanASheaf) {
  start();
  AnySheaf* const sheaf = slabs->prefill(cache, gfp::kernel, 100);
  ASSERT_NE(sheaf, nullptr);
  for (int i = 0; i < 60; ++i) EXPECT_TRUE(keep(slabs->alloc_from(cache, sheaf)));
  const SlabStats before = stats();
  slabs->give_back(cache, sheaf);
  EXPECT_EQ(stats().flushes, before.flushes + 1);
  give_everything_back();
  EXPECT_EQ(slabs->prefill(cache, gfp::kernel, 1 << 20), nullptr);
  slabs->fail_pages_every(1);
  EXPECT_EQ(slabs->prefill(cache, gfp::kernel, 200), nullptr);
  slabs->fail_pages_every(0);
  give_everything_back();
}

// A bulk allocation that fails midway: none at all, and what it had goes back.
TEST_P(SlabCallRow, K34_ABulkAllocationThatFailsMidway) {
  start();
  void* objects[50];
  slabs->fail_every(cache, 30);
  EXPECT_EQ(slabs->alloc_bulk(cache, gfp::kernel, 50, objects), 0u);
  EXPECT_EQ(slabs->live(cache), 0u);
  slabs->fail_every(cache, 0);
  ASSERT_EQ(slabs->alloc_bulk(cache, gfp::kernel, 50, objects), 50u);
  for (void* p : objects) EXPECT_TRUE(keep(p));
  give_everything_back();
}

// Another node's list is a convenience: an ordinary allocation that finds its lock taken by another
// CPU passes on, and does not wait.
TEST_P(SlabCallRowOnCpus, K39_AnotherNodesBusyListIsPassedBy) {
  start(2);
  const int home = home_node(), other = 1 - home;
  std::vector<void*> far;
  for (int i = 0; i < 12; ++i)
    far.push_back(slabs->alloc(cache, gfp::kernel | gfp::thisnode, other));
  const void* const far_list = locks.list[static_cast<unsigned>(other)];
  std::atomic<bool> held{false}, go_on{false};
  std::thread remote([&] {
    AtLocks at([&](LockEvent e, const LockRef& l) {
      if (e != LockEvent::acquired || l.lock != far_list || held) return;
      held = true;
      while (!go_on) std::this_thread::yield();
    });
    slabs->kfree(far[0]);
    slabs->kfree(far[1]);  // one of the two goes there, whatever node that CPU is of
    slabs->shrink(cache);
  });
  while (!held) std::this_thread::yield();
  take();  // from here
  slabs->fail_pages_every(1);
  while (void* const p = slabs->kmalloc(kSize, gfp::nowarn)) EXPECT_TRUE(keep(p));
  EXPECT_GT(stats().list_busy, 0u) << "refused, not waited for";
  go_on = true;
  remote.join();
  EXPECT_TRUE(keep(slabs->kmalloc(kSize, gfp::nowarn))) << "now it is a convenience";
  EXPECT_EQ(slabs->node_of(kept.back().at), static_cast<unsigned>(other));
  slabs->fail_pages_every(0);
  for (unsigned i = 2; i < far.size(); ++i) EXPECT_TRUE(slabs->kfree(far[i]));
  give_everything_back();
}

// There is no lockless free list of a CPU to be interrupted in: each call on the fast path takes
// the CPU's lock, once, and no other.
TEST_P(SlabCallRow, K40_TheFastPathTakesTheCpusLockOnce) {
  start();
  take_many(3);
  unsigned local = 0, others = 0;
  {
    AtLocks at([&](LockEvent e, const LockRef& l) {
      if (e != LockEvent::acquired && e != LockEvent::refused) return;
      ++(l.lock == locks.local ? local : others);
    });
    take();
    EXPECT_EQ(local, 1u);
    EXPECT_TRUE(give(kept.back().at));
    EXPECT_EQ(local, 2u);
    EXPECT_TRUE(keep(slabs->kmalloc_nolock(kSize, kNone)));
    EXPECT_EQ(local, 3u);
    EXPECT_TRUE(give_nolock(kept.back().at));
  }
  EXPECT_EQ(local, 4u);
  EXPECT_EQ(others, 0u);
  give_everything_back();
}

// kfree_rcu() under a raw lock: there is no RCU here and no such call, on any kernel.
template <class Slabs>
concept FreesByRcu = requires(Slabs& s, void* p) { s.kfree_rcu(p); };
TEST(SlabRows, K41_ThereIsNoFreeByRcu) { EXPECT_FALSE(FreesByRcu<SlabAllocator>); }

// The kernel's own test, without its exceptions: at every moment that a lock of either floor has
// just been taken or is about to be given back, an NMI or a probe allocates and frees, mixed. On
// one CPU, too; and there it is served.
TEST_P(SlabCallRow, K42_NmisAndProbesAtEachMomentOfALock) {
  start();
  const std::uintptr_t wanted = rounds(3000, 1000000);
  std::uintptr_t hits = 0, served = 0, refusals = 0, unnamed = 0;
  std::vector<void*> theirs;
  std::mt19937 random(42);
  {
    AtLocks at([&](LockEvent e, const LockRef&) {
      if (e != LockEvent::acquired && e != LockEvent::releasing) return;
      interrupt(++hits % 2 ? nolock_nmi() : Where::probe, [&] {
        if (theirs.size() > 60 || (random() % 2 && !theirs.empty())) {
          std::swap(theirs[random() % theirs.size()], theirs.back());
          EXPECT_TRUE(give_nolock(theirs.back()));
          theirs.pop_back();
          return;
        }
        SlabRefusal why{};
        void* const p = slabs->kmalloc_nolock(kSize, kNone, kAnyNode, &why);
        if (!p) {
          ++refusals, unnamed += why == SlabRefusal::none;
          return;
        }
        ++served;
        EXPECT_TRUE(keep(p)) << trouble;
        theirs.push_back(p);
      });
    });
    std::vector<void*> mine;
    while (hits < wanted) {
      if (mine.size() < 100 && random() % 20 < 11 - mine.size() / 20) {
        mine.push_back(take());
      } else if (!mine.empty()) {
        EXPECT_TRUE(give(mine.back()));
        mine.pop_back();
      }
      if (hits % 500 < 3) slabs->shrink(cache);
    }
  }
  EXPECT_EQ(unnamed, 0u);
  EXPECT_GT(served * 10, (served + refusals) * 9) << served << " served, " << refusals;
  give_everything_back();
}

}  // namespace
}  // namespace nestlock::test_support
