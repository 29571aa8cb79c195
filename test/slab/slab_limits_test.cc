// The slab and page floors at their limits, in all eight kernels: memory that runs out, what nolock
// calls leave behind, bad frees, krealloc()'s promises, nodes, calls that come too early.
#include <algorithm>
#include <bit>
#include <cstdint>
#include <cstring>
#include <vector>

#include "gtest/gtest.h"
#include "nestlock/slab.h"
#include "test/support/kernels.h"
#include "test/support/slab_floors.h"

namespace nestlock {
namespace {

using test_support::AllKernels;
using test_support::Floors;
using test_support::ignore;
using test_support::KernelName;

// The library's locks behind a gate of the test's: while it is closed every nolock call is refused its
// locks, as in an NMI on PREEMPT_RT, and what it frees is left for later calls. The lists' locks count.
template <class K>
struct Gated : policy::PerLockByte<K> {
  struct List : BasicTrySpinLock<K> {
    static inline unsigned sections = 0;
    template <class... Place>
    void lock(Place... place) noexcept {
      BasicTrySpinLock<K>::lock(place...), ++sections;
    }
  };
  static inline bool open = true;
  static bool may_try() noexcept { return open; }
};

template <class K>
struct SlabLimits : ::testing::Test {
  using Slabs = typename Floors<K, Gated<K>>::Slabs;
  void SetUp() override {
    before_ = hosted::set_report_sink(ignore);
    floors_.reset();
    Gated<K>::open = true;
  }
  void TearDown() override { hosted::set_report_sink(before_); }
  Slabs& slabs() { return *floors_.slabs; }
  auto& pages() { return *floors_.pages; }
  std::uintptr_t bad_frees() {
    std::uintptr_t all = 0;
    for (unsigned i = 0; i < Slabs::kClasses; ++i)
      all += slabs().kmalloc_cache(i).stats().bad_frees;
    return all;
  }
  static Floors<K, Gated<K>> floors_;
  hosted::ReportSink before_ = nullptr;
};
template <class K>
Floors<K, Gated<K>> SlabLimits<K>::floors_;
TYPED_TEST_SUITE(SlabLimits, AllKernels, KernelName);

// ---- pressure -----------------------------------------------------------------------------------

TYPED_TEST(SlabLimits, WithNothingLiveAllPagesCanBeHad) {
  // Debug kernels write and check each byte, so they get less to fill.
  const std::size_t memory = std::size_t{TypeParam::kConfig.debug ? 1u : 4u} << 20;
  this->floors_.reset(memory);
  auto& s = this->slabs();
  for (unsigned i = 0; i < TestFixture::Slabs::kClasses; ++i) {
    std::vector<void*> all;
    while (void* const p = s.kmalloc(s.class_size(i), gfp::nowait)) all.push_back(p);
    ASSERT_GT(all.size() * s.class_size(i), memory / 16) << s.class_size(i);
    for (void* p : all) EXPECT_TRUE(s.kfree(p));
  }
  const PageStats stats = this->pages().stats(0);
  std::vector<void*> taken;
  while (void* const p = s.kmalloc(kPageSize, gfp::kernel)) taken.push_back(p);
  // A slab of this size takes eight pages; the reserve, and less than one slab, may be left.
  EXPECT_GE(taken.size() + stats.min + 8, stats.committed);
  for (void* p : taken) EXPECT_TRUE(s.kfree(p));
  EXPECT_EQ(this->floors_.live(), 0u);
}

// What a call with memalloc takes of the pages' reserve no ordinary call comes by.
TYPED_TEST(SlabLimits, TheReserveIsForMemallocAlone) {
  this->floors_.reset(std::size_t{4} << 20);
  auto& s = this->slabs();
  ASSERT_GE(this->pages().stats(0).min, 2u);
  for (const std::size_t size : {64u, 512u, 1000u, 4096u}) {
    if (TypeParam::kConfig.debug && size < 4096) continue;  // it writes and checks each byte
    std::vector<void*> taken;
    while (void* const p = s.kmalloc(size, gfp::nowait)) taken.push_back(p);
    while (void* const p = s.kmalloc(kPageSize + 4000, gfp::nowait)) taken.push_back(p);
    while (void* const p = s.kmalloc(size, gfp::nowait)) taken.push_back(p);
    const auto before = this->pages().stats(0);
    void* const p = s.kmalloc(size, gfp::memalloc | gfp::zero);
    ASSERT_NE(p, nullptr) << size << ": " << before.free << " free, min " << before.min;
    EXPECT_EQ(before.free - this->pages().stats(0).free, (size + kPageSize - 1) / kPageSize);
    const std::uintptr_t aligned_to = std::has_single_bit(size) ? size : 8;
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(p) & (aligned_to - 1), 0u);
    EXPECT_GE(s.ksize(p), size);
    EXPECT_EQ(s.kmalloc(size, gfp::nowait), nullptr);
    EXPECT_TRUE(s.kfree_sized(p, size));
    for (void* t : taken) EXPECT_TRUE(s.kfree(t));
    s.shrink_all();
  }
  auto* const cache = s.create("ordinary", 64);
  while (cache->alloc(gfp::nowait)) {
  }
  while (s.kmalloc(kPageSize, gfp::nowait)) {
  }
  while (cache->alloc(gfp::nowait)) {
  }
  EXPECT_EQ(cache->alloc(gfp::memalloc), nullptr);
}

struct Hoard : Shrinker {
  unsigned asked = 0;
};

TYPED_TEST(SlabLimits, ShrinkersAreAskedBeforeAnAllocationFails) {
  this->floors_.reset(std::size_t{4} << 20);
  Hoard hoard;
  hoard.shrink = [](Shrinker& self) noexcept {
    ++static_cast<Hoard&>(self).asked;
    return false;
  };
  auto& pages = this->pages();
  ASSERT_TRUE(pages.add_shrinker(hoard));
  EXPECT_EQ(pages.alloc_pages(gfp::nowait, 10), pages.alloc_pages(gfp::nowait, 10));  // null twice
  EXPECT_EQ(hoard.asked, 0u) << "not for a call that may not wait";
  EXPECT_EQ(pages.alloc_pages(gfp::kernel, 10), nullptr);
  EXPECT_EQ(hoard.asked, 1u);
  EXPECT_TRUE(pages.remove_shrinker(hoard));
  EXPECT_FALSE(pages.remove_shrinker(hoard));
  EXPECT_EQ(pages.alloc_pages(gfp::kernel, 10), nullptr);
  EXPECT_EQ(hoard.asked, 1u);
  Hoard many[kMaxShrinkers];
  unsigned added = 0;
  for (Hoard& h : many) {
    h.shrink = hoard.shrink;
    added += pages.add_shrinker(h);
  }
  EXPECT_EQ(added, kMaxShrinkers - 1) << "one is the slab floor's";
  for (Hoard& h : many) pages.remove_shrinker(h);
}

// ---- progress by nolock calls alone -------------------------------------------------------------

TYPED_TEST(SlabLimits, NolockCallsSettleWhatNolockCallsDeferred) {
  auto* const cache = this->slabs().create("nolock", 64, 0, slab::no_sheaves);
  ASSERT_NE(cache, nullptr);
  std::vector<void*> objects;
  for (int i = 0; i < 1000; ++i) objects.push_back(cache->alloc(gfp::kernel));
  Gated<TypeParam>::open = false;
  for (void* p : objects) EXPECT_TRUE(cache->free_nolock(p));
  EXPECT_EQ(cache->stats().deferred, 1000u);
  EXPECT_FALSE(cache->settle()) << "the gate is closed";
  EXPECT_EQ(cache->stats().settled, 0u);
  Gated<TypeParam>::open = true;
  unsigned calls = 0;
  while (cache->stats().settled < 1000 && calls < 1000) {
    void* const p = cache->alloc_nolock(gfp::none);
    ASSERT_NE(p, nullptr);
    EXPECT_TRUE(cache->free_nolock(p));
    calls += 2;
  }
  EXPECT_EQ(cache->stats().settled, 1000u);
  EXPECT_EQ(calls, 1000 / kSettledByNolock) << "a bounded part by each";
  EXPECT_TRUE(cache->settle());
  EXPECT_TRUE(this->slabs().destroy(cache));
}

TYPED_TEST(SlabLimits, NoCallPaysForAllThatWasDeferred) {
  auto* const cache = this->slabs().create("bounded", 64, 0, slab::no_sheaves);
  std::vector<void*> objects;
  for (int i = 0; i < 1000; ++i) objects.push_back(cache->alloc(gfp::kernel));
  Gated<TypeParam>::open = false;
  for (void* p : objects) cache->free_nolock(p);
  Gated<TypeParam>::open = true;
  void* const p = cache->alloc(gfp::kernel);
  EXPECT_EQ(cache->stats().settled, kSettledAtOnce);
  EXPECT_TRUE(cache->free(p));
  EXPECT_EQ(cache->stats().settled, 2 * kSettledAtOnce);
  unsigned calls = 1;
  while (!cache->settle()) ++calls;
  EXPECT_EQ(calls, (1000 - 2 * kSettledAtOnce + kSettledAtOnce - 1) / kSettledAtOnce);
  EXPECT_TRUE(this->slabs().destroy(cache));
}

TYPED_TEST(SlabLimits, ShrinkHoldsAListForAPortionAtATime) {
  using List = typename Gated<TypeParam>::List;
  constexpr std::size_t kSlabs = 500, kEmpty = 4;  // so many stay on the list when they are empty
  auto* const cache = this->slabs().create("portions", kPageSize / 2, 0, slab::no_sheaves);
  std::vector<void*> objects;
  do objects.push_back(cache->alloc(gfp::kernel));
  while (cache->stats().slabs < kSlabs);
  const std::size_t per_slab = objects.size() / (kSlabs - 1);
  while (objects.size() < kSlabs * per_slab) objects.push_back(cache->alloc(gfp::kernel));
  ASSERT_EQ(cache->stats().slabs, kSlabs);

  // The list: slabs with one free object each, and at its end those that are empty.
  for (std::size_t i = 0; i < kEmpty * per_slab; ++i) EXPECT_TRUE(cache->free(objects[i]));
  for (std::size_t i = kEmpty * per_slab; i < objects.size(); i += per_slab)
    EXPECT_TRUE(cache->free(objects[i]));
  ASSERT_EQ(cache->stats().slabs, kSlabs);
  List::sections = 0;
  cache->shrink();
  EXPECT_GE(List::sections, kSlabs / kSettledAtOnce);
  EXPECT_LE(List::sections, kSlabs / kSettledAtOnce + 3);
  EXPECT_EQ(cache->stats().slabs, kSlabs - kEmpty);
  EXPECT_TRUE(this->slabs().consistent());

  // Each is where it can be taken off again, the last one first.
  for (std::size_t slab = kEmpty; slab < kSlabs; ++slab) {
    for (std::size_t i = 1; i < per_slab; ++i)
      EXPECT_TRUE(cache->free(objects[slab * per_slab + i]));
    if (slab != kEmpty) continue;
    cache->shrink();
    EXPECT_EQ(cache->stats().slabs, kSlabs - kEmpty - 1);
    EXPECT_TRUE(this->slabs().consistent());
  }
  cache->shrink();
  EXPECT_EQ(cache->stats().slabs, 0u);
  EXPECT_TRUE(this->slabs().destroy(cache));
}

TYPED_TEST(SlabLimits, NolockCallsPutBackParkedPages) {
  auto& pages = this->pages();
  std::vector<typename Floors<TypeParam, Gated<TypeParam>>::PageAlloc::Page*> blocks;
  for (int i = 0; i < 200; ++i) blocks.push_back(pages.alloc_pages(gfp::kernel, 4));
  Gated<TypeParam>::open = false;
  for (auto* b : blocks) EXPECT_TRUE(pages.free_pages_nolock(b, 4));
  EXPECT_EQ(pages.stats(0).parked, 200u << 4);
  EXPECT_FALSE(pages.unpark());
  EXPECT_EQ(pages.stats(0).unparked, 0u);
  Gated<TypeParam>::open = true;
  EXPECT_FALSE(pages.unpark());
  EXPECT_EQ(pages.stats(0).unparked, kUnparkedAtOnce);
  pages.drain_all_pages();
  EXPECT_EQ(pages.stats(0).parked, 0u);
  EXPECT_TRUE(pages.unpark());
  EXPECT_TRUE(pages.consistent());
}

// ---- bad frees ----------------------------------------------------------------------------------

TYPED_TEST(SlabLimits, PointersIntoAnObjectAreRefused) {
  auto& s = this->slabs();
  for (unsigned i = 1; i < TestFixture::Slabs::kClasses; ++i) {
    auto* const p = static_cast<char*>(s.kmalloc(s.class_size(i), gfp::kernel));
    const std::uintptr_t before = this->bad_frees();
    EXPECT_FALSE(s.kfree(p + 8)) << s.class_size(i);
    EXPECT_FALSE(s.kfree_nolock(p + 8)) << s.class_size(i);
    EXPECT_EQ(this->bad_frees(), before + 2);
    EXPECT_EQ(s.ksize(p + 8), 0u);
    EXPECT_EQ(s.krealloc(p + 8, 16, gfp::kernel), nullptr);
    EXPECT_TRUE(s.kfree(p));
  }
  EXPECT_EQ(this->floors_.live(), 0u);
}

TYPED_TEST(SlabLimits, WhatIsNotOursIsRefusedAndCounted) {
  auto& s = this->slabs();
  int local = 0;
  const std::uintptr_t before = this->bad_frees();
  EXPECT_FALSE(s.kfree(&local));
  EXPECT_FALSE(s.kfree_nolock(&local));
  EXPECT_EQ(this->bad_frees(), before + 2);
}

TYPED_TEST(SlabLimits, AnObjectIsFreedOnce) {
  auto& s = this->slabs();
  auto* const by_list = s.create("by list", 64, 0, slab::no_sheaves);
  void* const other = by_list->alloc(gfp::kernel);
  // Out all the while, so that the sheaf has room: the fast path alone must refuse.
  void *const room = s.kmalloc(64, gfp::kernel), *const more = s.kmalloc(64, gfp::kernel);
  for (const bool nolock : {false, true}) {
    void* const p = s.kmalloc(64, gfp::kernel);
    EXPECT_TRUE(nolock ? s.kfree_nolock(p) : s.kfree(p));
    EXPECT_FALSE(nolock ? s.kfree_nolock(p) : s.kfree(p));
    void* const q = by_list->alloc(gfp::kernel);
    EXPECT_TRUE(nolock ? by_list->free_nolock(q) : by_list->free(q));
    EXPECT_FALSE(nolock ? by_list->free_nolock(q) : by_list->free(q));
    void *const one = s.kmalloc(64, gfp::kernel), *const two = s.kmalloc(64, gfp::kernel);
    EXPECT_NE(one, two);
    EXPECT_TRUE(s.kfree(one));
    EXPECT_TRUE(s.kfree(two));
  }
  EXPECT_TRUE(s.kfree(room));
  EXPECT_TRUE(s.kfree(more));
  EXPECT_TRUE(by_list->free(other));
  EXPECT_EQ(by_list->stats().bad_frees, 2u);
  EXPECT_EQ(this->bad_frees(), 2u);
  EXPECT_TRUE(s.destroy(by_list));
  EXPECT_EQ(this->floors_.live(), 0u);
}

// What lies in its slab is known there, in whatever order it comes again, and however long it was under way: of all
// that is freed twice each is refused once.
TYPED_TEST(SlabLimits, WhatIsFreedTwiceIsRefusedWhenItComesHome) {
  auto& s = this->slabs();
  auto* const by_list = s.create("by list", 64, 0, slab::no_sheaves);
  void *const a = by_list->alloc(gfp::kernel), *const b = by_list->alloc(gfp::kernel);
  ASSERT_NE(by_list->alloc(gfp::kernel), nullptr);  // a slab with nothing out refuses all
  for (void* p : {a, b}) EXPECT_TRUE(by_list->free(p));
  for (void* p : {a, b}) EXPECT_FALSE(by_list->free(p));
  for (void* p : {a, b}) EXPECT_FALSE(by_list->free_nolock(p));
  EXPECT_NE(by_list->alloc(gfp::kernel), by_list->alloc(gfp::kernel));

  std::uintptr_t refused = 0;
  for (const std::size_t size : {16u, 64u, 1000u, 4096u})
    for (const bool nolock : {false, true}) {
      std::vector<void*> all(600), out(600);
      for (unsigned i = 0; i < 600; ++i)
        for (auto* const to : {&all, &out}) {
          (*to)[i] = s.kmalloc(size, gfp::kernel);
          ASSERT_NE((*to)[i], nullptr);
          std::memset((*to)[i], 0, size);
        }
      for (int round = 0; round < 2; ++round)
        for (void* p : all) nolock ? s.kfree_nolock(p) : s.kfree(p);
      s.shrink_all();
      EXPECT_EQ(this->bad_frees(), refused += all.size()) << size;
      EXPECT_EQ(this->floors_.live(), out.size());
      for (void* p : out) EXPECT_TRUE(s.kfree(p));
    }
  EXPECT_EQ(this->floors_.live(), 0u);
}

// Whichever the sheaf is that it lies on top of, and however full: one more object is out each time, and then one less.
TYPED_TEST(SlabLimits, AnObjectIsFreedOnceAtEachFillOfASheaf) {
  auto& s = this->slabs();
  std::vector<void*> out;
  std::uintptr_t refused = 0;
  for (unsigned i = 0; i < 300; ++i) {
    void *const p = s.kmalloc(64, gfp::kernel), *const q = s.kmalloc(64, gfp::kernel);
    ASSERT_TRUE(s.kfree(q));
    ASSERT_TRUE(s.kfree(p));
    EXPECT_FALSE(i % 2 ? s.kfree(p) : s.kfree_nolock(p)) << i;
    EXPECT_EQ(this->bad_frees(), ++refused);
    out.push_back(s.kmalloc(64, gfp::kernel));
    ASSERT_NE(out.back(), nullptr);
  }
  std::sort(out.begin(), out.end());
  EXPECT_EQ(std::unique(out.begin(), out.end()), out.end());
  for (void* const p : out) {
    EXPECT_TRUE(s.kfree(p));
    EXPECT_FALSE(s.kfree(p));
    EXPECT_EQ(this->bad_frees(), ++refused);
  }
  EXPECT_EQ(this->floors_.live(), 0u);
}

TYPED_TEST(SlabLimits, ADeferredObjectIsDeferredOnce) {
  auto& s = this->slabs();
  void* const p = s.kmalloc(64, gfp::kernel);
  Gated<TypeParam>::open = false;
  EXPECT_TRUE(s.kfree_nolock(p));
  EXPECT_FALSE(s.kfree_nolock(p));
  Gated<TypeParam>::open = true;
  EXPECT_TRUE(s.settle());
  EXPECT_EQ(this->floors_.live(), 0u);
}

// Whatever was deferred since, and also what lies in its slab, whose list defer() would write over.
TYPED_TEST(SlabLimits, WhatIsFreeIsNotDeferred) {
  auto& s = this->slabs();
  auto* const cache = s.create("deferring", 64, 0, slab::no_sheaves);
  std::vector<void*> all;
  for (int i = 0; i < 8; ++i) all.push_back(cache->alloc(gfp::kernel));
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(cache->free(all[i]));
  Gated<TypeParam>::open = false;
  for (int i = 0; i < 3; ++i) EXPECT_FALSE(cache->free_nolock(all[i])) << i;
  for (int i = 3; i < 6; ++i) EXPECT_TRUE(cache->free_nolock(all[i]));
  for (int i = 3; i < 6; ++i) EXPECT_FALSE(cache->free_nolock(all[i])) << i;
  Gated<TypeParam>::open = true;
  EXPECT_TRUE(cache->settle());
  EXPECT_EQ(cache->stats().bad_frees, 6u);
  all.erase(all.begin(), all.begin() + 6);
  for (int i = 0; i < 200; ++i) all.push_back(cache->alloc(gfp::kernel));
  std::sort(all.begin(), all.end());
  EXPECT_EQ(std::unique(all.begin(), all.end()), all.end());
  for (void* p : all) EXPECT_TRUE(cache->free(p));
  EXPECT_TRUE(s.destroy(cache));
}

// A sheaf holds it, and its slab went back to the pages when it was freed again: they may be anybody's by now.
TYPED_TEST(SlabLimits, WhatASheafStillHoldsDoesNotGoIntoAnothersSlab) {
  auto& s = this->slabs();
  auto *const cache = s.create("first", 1000), *const other = s.create("other", 1000);
  ASSERT_NE(other, nullptr);
  std::vector<void*> all;
  while (cache->stats().slabs < 20) all.push_back(cache->alloc(gfp::kernel));
  for (int i = 0; i < 8; ++i) EXPECT_TRUE(cache->free(all[i]));
  Gated<TypeParam>::open = false;
  std::uintptr_t refused = 0;
  for (void* p : all) refused += !cache->free_nolock(p);
  Gated<TypeParam>::open = true;
  while (!cache->settle()) {
  }
  EXPECT_LT(cache->stats().slabs, 20u);
  std::vector<void*> others;
  while (others.size() < all.size()) others.push_back(other->alloc(gfp::kernel));
  cache->shrink();
  EXPECT_EQ(cache->stats().bad_frees, 8u) << refused << " of them at once";
  EXPECT_EQ(cache->stats().slabs, 0u);
  for (int i = 0; i < 100; ++i) others.push_back(other->alloc(gfp::kernel));
  std::sort(others.begin(), others.end());
  EXPECT_EQ(std::unique(others.begin(), others.end()), others.end());
  for (void* p : others) EXPECT_TRUE(other->free(p));
  EXPECT_TRUE(s.consistent());
  EXPECT_TRUE(s.destroy(cache));
  EXPECT_TRUE(s.destroy(other));
  EXPECT_EQ(this->floors_.live(), 0u);
}

TYPED_TEST(SlabLimits, CachesAreDestroyedOnceAndNullIsNone) {
  auto& s = this->slabs();
  EXPECT_TRUE(s.destroy(nullptr));
  auto* const cache = s.create("once", 40);
  EXPECT_FALSE(s.kfree(cache)) << "a cache is no block";
  EXPECT_TRUE(s.destroy(cache));
  EXPECT_FALSE(s.destroy(cache));
  auto* const plain = s.create("no sheaves", 40, 0, slab::no_sheaves);
  auto* const sheaf = plain->prefill_sheaf(gfp::kernel, 3);
  ASSERT_NE(sheaf, nullptr);
  void* const p = plain->alloc_from_sheaf(sheaf, gfp::none);
  EXPECT_NE(p, nullptr);
  plain->return_sheaf(sheaf);
  plain->return_sheaf(nullptr);
  EXPECT_TRUE(plain->free(p));
  EXPECT_TRUE(s.destroy(plain));
  EXPECT_EQ(this->floors_.live(), 0u);
}

TYPED_TEST(SlabLimits, BeforeItIsSetUpAnAllocatorHasNothing) {
  alignas(64) static unsigned char memory[sizeof(typename TestFixture::Slabs)];
  auto* const early = ::new (memory) typename TestFixture::Slabs;
  EXPECT_EQ(early->kmalloc(64, gfp::kernel), nullptr);
  EXPECT_EQ(early->kmalloc_nolock(64, gfp::none), nullptr);
  EXPECT_FALSE(early->destroy(reinterpret_cast<typename TestFixture::Slabs::Cache*>(memory)));
  EXPECT_TRUE(early->settle());
}

// ---- krealloc and kin ---------------------------------------------------------------------------

TYPED_TEST(SlabLimits, KreallocKeepsAlignmentAndZeroes) {
  auto& s = this->slabs();
  for (int i = 0; i < 40; ++i) {
    void* const p = s.krealloc(s.kmalloc(96, gfp::kernel), 64, gfp::kernel);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(p) % 64, 0u);
    EXPECT_TRUE(s.kfree(s.krealloc(s.kmalloc(192, gfp::kernel), 128, gfp::kernel)));
    EXPECT_TRUE(s.kfree(p));
  }
  auto* p = static_cast<unsigned char*>(s.kzalloc(96, gfp::kernel));
  std::memset(p, 0xff, 96);
  p = static_cast<unsigned char*>(s.krealloc(p, 60, gfp::kernel | gfp::zero));
  p = static_cast<unsigned char*>(s.krealloc(p, 96, gfp::kernel | gfp::zero));
  for (int i = 0; i < 96; ++i) EXPECT_EQ(p[i], i < 60 ? 0xff : 0) << i;
  p = static_cast<unsigned char*>(s.krealloc(p, 5000, gfp::kernel | gfp::zero));
  for (int i = 96; i < 5000; ++i) ASSERT_EQ(p[i], 0) << i;
  EXPECT_TRUE(s.kfree(p));
  char foreign[64] = "theirs";
  EXPECT_EQ(s.krealloc(foreign, 100, gfp::kernel), nullptr);
  EXPECT_STREQ(foreign, "theirs");
}

TYPED_TEST(SlabLimits, ArraysThatDoNotFitAreNull) {
  auto& s = this->slabs();
  EXPECT_EQ(s.kmalloc_array(SIZE_MAX / 2, 3, gfp::kernel), nullptr);
  EXPECT_EQ(s.kcalloc(SIZE_MAX, SIZE_MAX, gfp::kernel), nullptr);
  auto* const p = static_cast<unsigned char*>(s.kcalloc(30, 7, gfp::kernel));
  for (int i = 0; i < 210; ++i) EXPECT_EQ(p[i], 0);
  EXPECT_TRUE(s.kfree(p));
  for (std::size_t align = 1; align <= 4096; align *= 2) {
    void* const q = s.kmalloc_aligned(24, align, gfp::kernel);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(q) % align, 0u);
    EXPECT_TRUE(s.kfree(q));
  }
  EXPECT_EQ(s.kmalloc_aligned(24, 24, gfp::kernel), nullptr);
  for (std::size_t size : {1u, 8u, 9u, 64u, 65u, 96u, 97u, 1024u, 8192u, 8193u, 100000u}) {
    void* const q = s.kmalloc(size, gfp::kernel);
    EXPECT_EQ(s.ksize(q), s.kmalloc_size_roundup(size)) << size;
    EXPECT_TRUE(s.kfree(q));
  }
  EXPECT_EQ(s.kmalloc_size_roundup(0), 0u);
  EXPECT_EQ(s.kmalloc_size_roundup(SIZE_MAX), 0u);
}

// ---- nodes --------------------------------------------------------------------------------------

TYPED_TEST(SlabLimits, AnAbsentNodeIsRefusedAndANamedOneComesFirst) {
  this->floors_.reset(test_support::kMemory, 2);
  auto& s = this->slabs();
  auto* const cache = s.create("nodes", 1024);
  for (int i = 0; i < 2; ++i) {
    EXPECT_EQ(cache->alloc(gfp::kernel, 2), nullptr);
    EXPECT_EQ(cache->alloc_nolock(gfp::none, 2), nullptr);
    EXPECT_EQ(s.kmalloc_node(64, gfp::kernel, 2), nullptr);
    EXPECT_EQ(s.kmalloc_node(100000, gfp::kernel, 2), nullptr);
  }
  std::vector<void*> all;
  for (int node : {0, 1, 0, 1})
    for (int i = 0; i < 20; ++i) {
      void* const p = cache->alloc(gfp::kernel, node);
      ASSERT_NE(p, nullptr);
      EXPECT_EQ(this->pages().page_of(p)->zone(), static_cast<unsigned>(node));
      all.push_back(p);
    }
  for (void* p : all) EXPECT_TRUE(cache->free(p));
  // What this CPU asks for comes from its own node, and goes back into its sheaves.
  const SlabStats before = cache->stats();
  for (int i = 0; i < 100; ++i) EXPECT_TRUE(cache->free(cache->alloc(gfp::kernel)));
  EXPECT_GE(cache->stats().fast_frees, before.fast_frees + 100);
  EXPECT_TRUE(s.destroy(cache));
  EXPECT_EQ(this->floors_.live(), 0u);
}

}  // namespace
}  // namespace nestlock
