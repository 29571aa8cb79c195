// Kind 7: bad frees, in all eight kernels: pointers into an object, memory that is not the allocator's, objects freed
// twice wherever they lie by then, caches destroyed twice, null, calls before set-up. Each is refused and counted, and
// everything else goes on as before.
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

#include "gtest/gtest.h"
#include "nestlock/slab.h"
#include "test/support/gated_floors.h"
#include "test/support/kernels.h"

namespace nestlock {
namespace {

using test_support::AllKernels;
using test_support::KernelName;

template <class K>
struct SlabBadFree : test_support::GatedFloors<K> {};
TYPED_TEST_SUITE(SlabBadFree, AllKernels, KernelName);

TYPED_TEST(SlabBadFree, PointersIntoAnObjectAreRefused) {
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

TYPED_TEST(SlabBadFree, WhatIsNotOursIsRefusedAndCounted) {
  auto& s = this->slabs();
  int local = 0;
  const std::uintptr_t before = this->bad_frees();
  EXPECT_FALSE(s.kfree(&local));
  EXPECT_FALSE(s.kfree_nolock(&local));
  EXPECT_EQ(this->bad_frees(), before + 2);
}

TYPED_TEST(SlabBadFree, AnObjectIsFreedOnce) {
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
TYPED_TEST(SlabBadFree, WhatIsFreedTwiceIsRefusedWhenItComesHome) {
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
TYPED_TEST(SlabBadFree, AnObjectIsFreedOnceAtEachFillOfASheaf) {
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

TYPED_TEST(SlabBadFree, ADeferredObjectIsDeferredOnce) {
  auto& s = this->slabs();
  void* const p = s.kmalloc(64, gfp::kernel);
  TestFixture::Gate::open = false;
  EXPECT_TRUE(s.kfree_nolock(p));
  EXPECT_FALSE(s.kfree_nolock(p));
  TestFixture::Gate::open = true;
  EXPECT_TRUE(s.settle());
  EXPECT_EQ(this->floors_.live(), 0u);
}

// Whatever was deferred since, and also what lies in its slab, whose list defer() would write over.
TYPED_TEST(SlabBadFree, WhatIsFreeIsNotDeferred) {
  auto& s = this->slabs();
  auto* const cache = s.create("deferring", 64, 0, slab::no_sheaves);
  std::vector<void*> all;
  for (int i = 0; i < 8; ++i) all.push_back(cache->alloc(gfp::kernel));
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(cache->free(all[i]));
  TestFixture::Gate::open = false;
  for (int i = 0; i < 3; ++i) EXPECT_FALSE(cache->free_nolock(all[i])) << i;
  for (int i = 3; i < 6; ++i) EXPECT_TRUE(cache->free_nolock(all[i]));
  for (int i = 3; i < 6; ++i) EXPECT_FALSE(cache->free_nolock(all[i])) << i;
  TestFixture::Gate::open = true;
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
TYPED_TEST(SlabBadFree, WhatASheafStillHoldsDoesNotGoIntoAnothersSlab) {
  auto& s = this->slabs();
  auto *const cache = s.create("first", 1000), *const other = s.create("other", 1000);
  ASSERT_NE(other, nullptr);
  std::vector<void*> all;
  while (cache->stats().slabs < 20) all.push_back(cache->alloc(gfp::kernel));
  for (int i = 0; i < 8; ++i) EXPECT_TRUE(cache->free(all[i]));
  TestFixture::Gate::open = false;
  std::uintptr_t refused = 0;
  for (void* p : all) refused += !cache->free_nolock(p);
  TestFixture::Gate::open = true;
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

TYPED_TEST(SlabBadFree, CachesAreDestroyedOnceAndNullIsNone) {
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

TYPED_TEST(SlabBadFree, BeforeItIsSetUpAnAllocatorHasNothing) {
  alignas(64) static unsigned char memory[sizeof(typename TestFixture::Slabs)];
  auto* const early = ::new (memory) typename TestFixture::Slabs;
  EXPECT_EQ(early->kmalloc(64, gfp::kernel), nullptr);
  EXPECT_EQ(early->kmalloc_nolock(64, gfp::none), nullptr);
  EXPECT_FALSE(early->destroy(reinterpret_cast<typename TestFixture::Slabs::Cache*>(memory)));
  EXPECT_TRUE(early->settle());
}

}  // namespace
}  // namespace nestlock
