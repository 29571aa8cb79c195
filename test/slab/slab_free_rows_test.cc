// The scenarios K9 to K17, K28 to K31, K35 to K37 of interrupted slab allocators, each a test by
// its id, in every kernel it applies to: frees, what they leave behind, and the life of a cache.
#include <set>
#include <thread>

#include "test/support/slab_rows.h"

namespace nestlock::test_support {
namespace {

class SlabFreeRow : public SlabRow {
 protected:
  // A cache without sheaves, so that every call asks for the list.
  AnyCache* by_list(const char* name) {
    AnyCache* const made = slabs->create(name, kSize, slab::no_sheaves);
    EXPECT_NE(made, nullptr);
    return made;
  }
};
INSTANTIATE_TEST_SUITE_P(All, SlabFreeRow, ::testing::ValuesIn(observed_slabs()),
                         name_of_case<::testing::TestParamInfo<SlabCase>>);
// What needs a second CPU.
class SlabFreeRowOnCpus : public SlabFreeRow {};
INSTANTIATE_TEST_SUITE_P(All, SlabFreeRowOnCpus, ::testing::ValuesIn(on_cpus(observed_slabs())),
                         name_of_case<::testing::TestParamInfo<SlabCase>>);

// T holds its CPU's sheaves; an NMI frees by nolock: to the list, which the kernel does not try. If
// that is taken, too, the object is deferred, is seen in the statistics, and is freed by the next
// allocation, once. RT, in an irq or NMI proper: deferred, and no lock touched.
TEST_P(SlabFreeRow, K9_AnNmiFreesWhileTheSheavesAreHeld) {
  start();
  const std::vector<void*> mine = take_many(10);
  SlabStats before = stats();
  interrupted_holding(
      locks.local, nolock_nmi(), [&] { take(); }, [&] { EXPECT_TRUE(give_nolock(mine[0])); });
  EXPECT_EQ(stats().local_busy, before.local_busy + 1);
  EXPECT_EQ(stats().list_frees, before.list_frees + 1);
  EXPECT_EQ(stats().deferred, before.deferred);

  // T, a probe in it, and the NMI in that: the list below, the sheaves above.
  const auto op = refilling();
  interrupted_holding(list(), Where::task, op, [&] {  // called, as a tracepoint is
    interrupted_holding(
        locks.local, nolock_nmi(), [&] { EXPECT_TRUE(keep(slabs->kmalloc_nolock(kSize, kNone))); },
        [&] {
          EXPECT_TRUE(give_nolock(mine[1]));
          EXPECT_TRUE(give_nolock(mine[2]));
        });
  });
  EXPECT_EQ(stats().deferred, before.deferred + 2);
  EXPECT_EQ(stats().settled, before.settled);
  EXPECT_TRUE(give_nolock(mine[3]));
  EXPECT_TRUE(keep(slabs->kmalloc_nolock(kSize, kNone)));
  EXPECT_EQ(stats().settled, before.settled + 2) << "by the next nolock allocation that is served";
  take();
  EXPECT_EQ(stats().settled, before.settled + 2) << "once";
  if (rt()) {
    unsigned touched = 0;
    before = stats();
    for (Where w : {Where::hardirq, Where::nmi})
      interrupt(w, [&] {
        AtLocks at([&](LockEvent, const LockRef&) { ++touched; });
        EXPECT_TRUE(give_nolock(kept.back().at));
      });
    EXPECT_EQ(touched, 0u);
    EXPECT_EQ(stats().deferred, before.deferred + 2);
  }
  give_everything_back();
}

// The sheaf full, the spare full; the barn has no empty one, or has one and is taken by T, whose
// CPU's sheaves are free: to the list. (The kernel defers: it does not try the list.) That taken,
// too: deferred.
TEST_P(SlabFreeRow, K10_ANolockFreeWithFullSheavesGoesToTheList) {
  start();
  std::vector<AnySheaf*> sheaves;
  for (int i = 0; i < 2; ++i) sheaves.push_back(slabs->prefill(cache, gfp::nowait, kSheaf));
  for (AnySheaf* sheaf : sheaves)
    while (void* const p = slabs->alloc_from(cache, sheaf)) EXPECT_TRUE(keep(p));
  const std::vector<void*> mine = fill_sheaves(4);

  SlabStats before = stats();
  EXPECT_TRUE(give_nolock(mine[0]));
  EXPECT_EQ(stats().list_frees, before.list_frees + 1);
  EXPECT_EQ(stats().barn_busy, before.barn_busy) << "a look without the lock";

  slabs->give_back(cache, sheaves[0]);  // now there is an empty one
  before = stats();
  interrupted_holding(
      locks.barn[0], nolock_nmi(), [&] { slabs->give_back(cache, sheaves[1]); },
      [&] { EXPECT_TRUE(give_nolock(mine[1])); });
  EXPECT_EQ(stats().barn_busy, before.barn_busy + 1);
  EXPECT_EQ(stats().list_frees, before.list_frees + 1);
  EXPECT_EQ(stats().fast_frees, before.fast_frees);
  EXPECT_EQ(stats().local_busy, before.local_busy);
  EXPECT_EQ(stats().deferred, before.deferred);

  EXPECT_TRUE(give_nolock(mine[2]));  // what the barn had was worth asking for
  EXPECT_EQ(stats().barn_puts, before.barn_puts + 1);
  EXPECT_EQ(stats().fast_frees, before.fast_frees + 1);
  give_everything_back();
  slabs->shrink(cache);

  const std::vector<void*> more = fill_sheaves(2);
  before = stats();
  interrupted_holding(
      list(), nolock_nmi(), [&] { EXPECT_TRUE(give_nolock(more[0])); },
      [&] { EXPECT_TRUE(give_nolock(more[1])); });
  EXPECT_EQ(stats().list_frees, before.list_frees + 2) << "T's, and then what the NMI deferred";
  EXPECT_EQ(stats().list_busy, before.list_busy + 1);
  EXPECT_EQ(stats().deferred, before.deferred + 1);
  EXPECT_EQ(stats().settled, before.settled + 1);
  give_everything_back();
}

// An object of another node: it does not go to this CPU's sheaf, but home; if that list is taken it
// is deferred. (There is no pfmemalloc here.)
TEST_P(SlabFreeRow, K11_AnotherNodesObjectGoesHome) {
  start(2);
  ASSERT_EQ(locks.list.size(), 2u);
  const int home = home_node(), other = 1 - home;
  void* const local = slabs->alloc(cache, gfp::kernel | gfp::thisnode, home);
  void* const remote = slabs->alloc(cache, gfp::kernel | gfp::thisnode, other);
  ASSERT_NE(slabs->node_of(local), slabs->node_of(remote));
  slabs->kfree(slabs->kmalloc(kSize, gfp::kernel));  // there is a sheaf
  SlabStats before = stats();
  EXPECT_TRUE(slabs->kfree_nolock(remote));
  EXPECT_EQ(stats().list_frees, before.list_frees + 1);
  EXPECT_EQ(stats().fast_frees, before.fast_frees);
  EXPECT_TRUE(slabs->kfree_nolock(local));
  EXPECT_EQ(stats().fast_frees, before.fast_frees + 1);

  void* const again = slabs->alloc(cache, gfp::kernel | gfp::thisnode, other);
  before = stats();
  interrupted_holding(
      locks.list[static_cast<unsigned>(other)], nolock_nmi(),
      [&] { slabs->kfree(slabs->alloc(cache, gfp::kernel | gfp::thisnode, other)); },
      [&] { EXPECT_TRUE(slabs->kfree_nolock(again)); });
  EXPECT_EQ(stats().deferred, before.deferred + 1);
  slabs->shrink(cache);
  EXPECT_EQ(slabs->live(cache), 0u);
}

// kfree_nolock() of pages (more than kMaxKmalloc): the kernel warns and leaks them; here they go
// the way of free_pages_nolock(), parked if need be.
TEST_P(SlabFreeRow, K12_KfreeNolockOfPages) {
  start();
  slabs->drain_pages();
  const std::uintptr_t free_pages = slabs->page_stats().free;
  for (Where w : kWheres) {
    void* const large = slabs->kmalloc(5 * kPageSize, gfp::kernel);
    ASSERT_NE(large, nullptr);
    interrupt(w, [&] { EXPECT_TRUE(slabs->kfree_nolock(large)); });
  }
  slabs->drain_pages();
  EXPECT_EQ(slabs->page_stats().free, free_pages);
}

// kfree_nolock() of what kmalloc() gave: the kernel forbids it, for the sake of tools that
// kmalloc() told of the object. Nothing here is told.
TEST_P(SlabFreeRow, K13_KfreeNolockOfAKmallocObject) {
  start();
  for (Where w : kWheres)
    for (std::size_t size : {8u, 1024u, 8192u}) {
      void* const p = slabs->kmalloc(size, gfp::kernel);
      ASSERT_TRUE(keep(p, size));
      interrupt(w, [&] { EXPECT_TRUE(give_nolock(p)); });
    }
  give_everything_back();
}

TEST_P(SlabFreeRow, K14_KfreeOfANolockObject) {
  start();
  for (std::size_t size : {8u, 1024u, 8192u}) {
    void* p = nullptr;
    interrupt(nolock_nmi(), [&] { p = slabs->kmalloc_nolock(size, kNone); });
    ASSERT_TRUE(keep(p, size));
    EXPECT_TRUE(give(p));
  }
  give_everything_back();
}

// A cache is destroyed with deferred objects: they are freed first, and none counts as left over.
TEST_P(SlabFreeRow, K15_ACacheIsDestroyedWithDeferredObjects) {
  start();
  AnyCache* const mine = by_list("deferring");
  const Locks l = locks_of(mine);
  std::vector<void*> objects;
  for (int i = 0; i < 30; ++i) objects.push_back(slabs->alloc(mine, gfp::kernel));
  void* last = nullptr;
  interrupted_holding(
      l.list[0], nolock_nmi(), [&] { last = slabs->alloc(mine, gfp::nowait); },
      [&] {
        for (void* p : objects) EXPECT_TRUE(slabs->free_nolock(mine, p));
      });
  ASSERT_EQ(slabs->stats(mine).deferred, 30u);
  EXPECT_FALSE(slabs->destroy(mine)) << "one is really out";
  void* const deferred = slabs->alloc(mine, gfp::kernel);
  interrupted_holding(
      l.list[0], nolock_nmi(), [&] { EXPECT_TRUE(slabs->free(mine, last)); },
      [&] { EXPECT_TRUE(slabs->free_nolock(mine, deferred)); }, LockEvent::releasing);
  EXPECT_EQ(slabs->stats(mine).deferred, slabs->stats(mine).settled + 1);
  EXPECT_TRUE(slabs->destroy(mine));
}

// A debug cache's object is deferred, the list being taken: its link lies outside what is checked,
// when it is settled and when it is given out again. (In an RT kernel's NMI, and with the places:
// slab_debug_test.)
TEST_P(SlabFreeRow, K17_ADebugCachesObjectIsDeferred) {
  start();
  AnyCache* const mine = slabs->create("debugged", 100, slab::debug);
  ASSERT_NE(mine, nullptr);
  const Locks l = locks_of(mine);
  std::vector<void*> objects;
  for (int i = 0; i < 20; ++i) objects.push_back(slabs->alloc(mine, gfp::kernel));
  void* last = nullptr;
  interrupted_holding(
      l.list[0], nolock_nmi(), [&] { last = slabs->alloc(mine, gfp::nowait); },
      [&] {
        for (void* p : objects) EXPECT_TRUE(slabs->free_nolock(mine, p));
      },
      LockEvent::releasing);
  EXPECT_EQ(slabs->stats(mine).deferred, 20u);
  EXPECT_EQ(slabs->stats(mine).list_busy, 20u);
  EXPECT_TRUE(slabs->free(mine, last));
  EXPECT_EQ(slabs->stats(mine).settled, 20u);
  for (void*& p : objects) p = slabs->alloc(mine, gfp::kernel);
  EXPECT_EQ(findings->size(), 0u) << findings->text();
  for (void* p : objects) EXPECT_TRUE(slabs->free(mine, p));
  EXPECT_TRUE(slabs->destroy(mine));
}

// Two caches with deferred objects are destroyed at the same time, with a third CPU going offline:
// nobody waits for anybody's deferred work, so there is nothing to hang on; the list of caches has
// its own lock.
TEST_P(SlabFreeRowOnCpus, K16_TwoCachesAreDestroyedAtOnce) {
  start();
  const auto turn = [&](const char* name) {
    for (int i = 0; i < 40; ++i) {
      AnyCache* const mine = slabs->create(name, kSize, slab::no_sheaves);
      ASSERT_NE(mine, nullptr);
      void* const p = slabs->alloc(mine, gfp::kernel);
      void* const q = slabs->alloc(mine, gfp::kernel);
      {
        bool once = true;
        AtLocks at([&](LockEvent e, const LockRef& l) {
          if (e == LockEvent::releasing && l.type == LockType::try_spin &&
              slabs->has_lock(mine, l.lock) && std::exchange(once, false))
            slabs->free_nolock(mine, p);
        });
        EXPECT_TRUE(slabs->free(mine, q));
      }
      EXPECT_EQ(slabs->stats(mine).deferred, 1u);
      EXPECT_EQ(slabs->stats(mine).settled, 0u);
      EXPECT_TRUE(slabs->destroy(mine));
    }
  };
  std::thread one([&] { turn("one"); }), other([&] { turn("other"); });
  for (int i = 0; i < 200; ++i) slabs->flush_cpu();
  one.join();
  other.join();
}

// The barn gets new sheaves for what is freed, if there are pages enough: a load of nearly as many objects as it grows
// to has its slabs made once.
TEST_P(SlabFreeRow, ALoadOfFiveSheavesKeepsItsSlabs) {
  start(1, Arena::kSize / kPageSize);
  SlabStats first{};
  for (int round = 0; round < 3; ++round) {
    for (void* const p : take_many(5 * kSheaf)) EXPECT_TRUE(give(p));
    if (round == 0) first = stats();
  }
  EXPECT_EQ(stats().new_slabs, first.new_slabs);
  EXPECT_EQ(stats().flushes, first.flushes);
  EXPECT_GT(stats().barn_gets, first.barn_gets);
  give_everything_back();
}

// Of few pages a barn takes no share: what is freed beyond two sheaves is anybody's.
TEST_P(SlabFreeRow, ABarnOfFewPagesGetsNoNewSheaf) {
  start();
  const std::vector<void*> mine = take_many(5 * kSheaf);
  const std::uintptr_t before = stats().flushes;
  for (void* const p : mine) EXPECT_TRUE(give(p));
  EXPECT_GT(stats().flushes, before);
  give_everything_back();
}

// The free path with ten full sheaves in the barn: a spinning free empties the spare, a nolock free
// goes to the list.
TEST_P(SlabFreeRow, K28_AFreeWithAFullBarn) {
  start();
  std::vector<void*> mine = take_many(14 * kSheaf + 4);
  slabs->shrink(cache);
  const auto give_last = [&](bool nolock = false) {
    EXPECT_TRUE(nolock ? give_nolock(mine.back()) : give(mine.back()));
    mine.pop_back();
  };
  for (int twice = 0; twice < 5; ++twice) {
    for (unsigned i = 0; i < 2 * kSheaf; ++i) give_last();
    slabs->flush_cpu();  // two full ones to the barn
  }
  // Some empty ones, so that it is the limit that refuses.
  std::vector<AnySheaf*> sheaves;
  for (int i = 0; i < 4; ++i) sheaves.push_back(slabs->prefill(cache, gfp::kernel, kSheaf));
  std::vector<void*> from_sheaves;
  for (AnySheaf* sheaf : sheaves) {
    while (void* const p = slabs->alloc_from(cache, sheaf)) from_sheaves.push_back(p);
    slabs->give_back(cache, sheaf);
  }
  ASSERT_EQ(from_sheaves.size(), 4u * kSheaf);
  for (unsigned i = 0; i < 2 * kSheaf; ++i) give_last();
  SlabStats before = stats();
  give_last(/*nolock=*/true);
  EXPECT_EQ(stats().list_frees, before.list_frees + 1);
  EXPECT_EQ(stats().barn_puts, before.barn_puts);
  before = stats();
  give_last();
  EXPECT_EQ(stats().flushes, before.flushes + 1) << "the spare";
  EXPECT_EQ(stats().barn_puts, before.barn_puts);
  EXPECT_EQ(stats().list_frees, before.list_frees);
  for (void* p : from_sheaves) EXPECT_TRUE(slabs->kfree(p));
  give_everything_back();
}

// A sheaf is being filled: it has taken the last free object of a slab, which is on no list by
// then, and waits for a new slab's page. An NMI frees the other seven. The first of them puts the
// slab on the list, once; the filling that goes on leaves it where it is. (That such a slab becomes
// empty, as in the kernel, can't arise: what the sheaf has of it counts as in use.)
TEST_P(SlabFreeRow, K29_AnNmiFreesTheRestOfASlabBeingTaken) {
  start();
  const std::vector<void*> mine = take_many(8);
  slabs->shrink(cache);
  ASSERT_EQ(stats().slabs, 1u);
  EXPECT_TRUE(give(mine[0]));
  slabs->shrink(cache);
  const SlabStats before = stats();
  interrupted_behind_the_list(
      nolock_nmi(), [&] { take(); },
      [&] {
        EXPECT_EQ(stats().slabs, 1u) << "the new one comes later";
        for (unsigned i = 1; i < 8; ++i) EXPECT_TRUE(give_nolock(mine[i]));
        EXPECT_EQ(stats().list_frees, before.list_frees + 7);
        // They are on the list, and mine[0] is not: the sheaf has it.
        std::set<void*> found;
        for (unsigned i = 1; i < 8; ++i) {
          void* const p = slabs->kmalloc_nolock(kSize, kNone);
          EXPECT_TRUE(keep(p)) << trouble;
          found.insert(p);
        }
        EXPECT_EQ(found, std::set<void*>(mine.begin() + 1, mine.end()));
        EXPECT_EQ(stats().list_allocs, before.list_allocs + 7);
        for (void* p : found) EXPECT_TRUE(give_nolock(p));
      });
  EXPECT_EQ(stats().refills, before.refills + 1);
  EXPECT_EQ(stats().slabs, 2u);
  EXPECT_TRUE(slabs->consistent());
  give_everything_back();
}

// A full slab is on no list; its first free puts it there, and the next allocation finds it.
//
// Not as the row says: the kernel adds it to the tail, so that it gathers free objects while others
// are taken from; here it goes to the head, for the list has no tail, and the next allocation gets
// what was freed last. Nothing depends on the order but which slabs fill up. What ours costs: a
// sheaf may be filled from as many slabs as it has places. What it gains: slabs that are nearly
// full fill up first, and others become empty.
TEST_P(SlabFreeRow, K30_AFullSlabIsListedByItsFirstFree) {
  start();
  AnyCache* const mine = by_list("lists");
  std::vector<void*> objects;
  for (int i = 0; i < 16; ++i) objects.push_back(slabs->alloc(mine, gfp::kernel));
  const SlabStats before = slabs->stats(mine);
  ASSERT_EQ(before.slabs, 2u);
  EXPECT_TRUE(slabs->free(mine, objects[3]));
  EXPECT_EQ(slabs->live(mine), 15u);
  EXPECT_EQ(slabs->alloc(mine, gfp::kernel), objects[3]);
  // Of both slabs, and two of the second, which is put there once.
  for (int i : {3, 12, 13}) EXPECT_TRUE(slabs->free(mine, objects[i]));
  EXPECT_EQ(slabs->live(mine), 13u);
  for (int i : {13, 12, 3}) EXPECT_EQ(slabs->alloc(mine, gfp::kernel), objects[i]);
  EXPECT_EQ(slabs->stats(mine).new_slabs, before.new_slabs);
  for (void* p : objects) EXPECT_TRUE(slabs->free(mine, p));
  EXPECT_TRUE(slabs->destroy(mine));
}

// A slab whose last object is freed is given back if five are listed, itself among them. (There is
// no RCU here: at once.)
TEST_P(SlabFreeRow, K31_AnEmptySlabBeyondFiveIsGivenBack) {
  start();
  AnyCache* const mine = by_list("keeps four");
  std::vector<void*> objects;
  for (int i = 0; i < 10 * 8; ++i) objects.push_back(slabs->alloc(mine, gfp::kernel));
  ASSERT_EQ(slabs->stats(mine).slabs, 10u);
  std::size_t at = 0;
  for (void* p : objects)
    EXPECT_TRUE(++at % 2 ? slabs->free(mine, p) : slabs->free_nolock(mine, p));
  EXPECT_EQ(slabs->stats(mine).slabs, 4u);
  EXPECT_EQ(slabs->stats(mine).discarded_slabs, 6u);
  EXPECT_TRUE(slabs->destroy(mine));
}

// Bulk frees with objects of both nodes, of several caches, and nothing. Those of this CPU's node
// go into its sheaves, the others to their slabs. (Without a cache the kernel uses no sheaves; here
// each object is freed as by kfree().)
TEST_P(SlabFreeRow, K35_BulkFreesOfBothNodes) {
  start(2);
  std::vector<void*> objects;
  for (int i = 0; i < 40; ++i)
    objects.push_back(slabs->alloc(cache, gfp::kernel | gfp::thisnode, i % 2));
  SlabStats before = stats();
  slabs->free_bulk(cache, objects.size(), objects.data());
  EXPECT_EQ(slabs->live(cache), 0u);
  EXPECT_EQ(stats().fast_frees, before.fast_frees + 20) << "this node's";
  EXPECT_EQ(stats().list_frees, before.list_frees + 20) << "the other's";
  objects.clear();
  before = stats();
  for (int i = 0; i < 20; ++i) {
    objects.push_back(slabs->alloc(cache, gfp::kernel));
    EXPECT_EQ(slabs->node_of(objects.back()), static_cast<unsigned>(home_node()));
  }
  EXPECT_EQ(stats().fast_allocs, before.fast_allocs + 20) << "out of the sheaves";
  for (void* p : objects) EXPECT_TRUE(slabs->free(cache, p));
  objects.clear();
  for (int i = 0; i < 60; ++i)
    objects.push_back(slabs->kmalloc(std::size_t{8} << i % 12, gfp::kernel));
  objects[7] = (slabs->kfree(objects[7]), nullptr);
  slabs->kfree_bulk(objects.size(), objects.data());
  slabs->kfree_bulk(0, nullptr);
  give_everything_back();
}

// A CPU goes offline with full sheaves: it hands them on, and nothing is lost.
TEST_P(SlabFreeRowOnCpus, K36_ACpuGoesOfflineWithFullSheaves) {
  start();
  const std::vector<void*> mine = take_many(40);
  std::thread other([&] {
    for (void* p : mine) EXPECT_TRUE(give(p));
    slabs->flush_cpu();  // what the port's hook does for the system's allocator
  });
  other.join();
  EXPECT_EQ(slabs->live(cache), 0u);
  const SlabStats before = stats();
  take();
  EXPECT_EQ(stats().barn_gets, before.barn_gets + 1) << "found in the barn";
  give_everything_back();
  slabs->shrink(cache);
  EXPECT_EQ(stats().slabs, 0u) << "all of it came home";
}

// An object freed to another cache: refused, reported, and still its owner's.
TEST_P(SlabFreeRow, K37_AFreeToAnotherCacheIsRefused) {
  start();
  void* const p = take();
  AnyCache* const other = slabs->kmalloc_cache(kNextClass);
  EXPECT_FALSE(slabs->free(other, p));
  EXPECT_FALSE(slabs->free_nolock(other, p));
  EXPECT_EQ(slabs->stats(other).bad_frees, 2u);
  if (config().debug) {
    EXPECT_EQ(findings->all(), (std::vector{Finding::foreign_pointer, Finding::foreign_pointer}));
    EXPECT_STREQ((*findings)[0].here.file, __FILE__);
  }
  findings.emplace();
  give_everything_back();
}

}  // namespace
}  // namespace nestlock::test_support
