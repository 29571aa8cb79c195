// Kind 1: nolock calls alone give back what nolock calls left behind, deferred objects and parked pages, and each
// call does only a bounded part of it. In all eight kernels.
#include <cstddef>
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
struct SlabProgress : test_support::GatedFloors<K> {};
TYPED_TEST_SUITE(SlabProgress, AllKernels, KernelName);

TYPED_TEST(SlabProgress, NolockCallsSettleWhatNolockCallsDeferred) {
  auto* const cache = this->slabs().create("nolock", 64, 0, slab::no_sheaves);
  ASSERT_NE(cache, nullptr);
  std::vector<void*> objects;
  for (int i = 0; i < 1000; ++i) objects.push_back(cache->alloc(gfp::kernel));
  TestFixture::Gate::open = false;
  for (void* p : objects) EXPECT_TRUE(cache->free_nolock(p));
  EXPECT_EQ(cache->stats().deferred, 1000u);
  EXPECT_FALSE(cache->settle()) << "the gate is closed";
  EXPECT_EQ(cache->stats().settled, 0u);
  TestFixture::Gate::open = true;
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

TYPED_TEST(SlabProgress, NoCallPaysForAllThatWasDeferred) {
  auto* const cache = this->slabs().create("bounded", 64, 0, slab::no_sheaves);
  std::vector<void*> objects;
  for (int i = 0; i < 1000; ++i) objects.push_back(cache->alloc(gfp::kernel));
  TestFixture::Gate::open = false;
  for (void* p : objects) cache->free_nolock(p);
  TestFixture::Gate::open = true;
  void* const p = cache->alloc(gfp::kernel);
  EXPECT_EQ(cache->stats().settled, kSettledAtOnce);
  EXPECT_TRUE(cache->free(p));
  EXPECT_EQ(cache->stats().settled, 2 * kSettledAtOnce);
  unsigned calls = 1;
  while (!cache->settle()) ++calls;
  EXPECT_EQ(calls, (1000 - 2 * kSettledAtOnce + kSettledAtOnce - 1) / kSettledAtOnce);
  EXPECT_TRUE(this->slabs().destroy(cache));
}

TYPED_TEST(SlabProgress, ShrinkHoldsAListForAPortionAtATime) {
  using List = typename TestFixture::Gate::List;
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

TYPED_TEST(SlabProgress, NolockCallsPutBackParkedPages) {
  auto& pages = this->pages();
  std::vector<
      typename test_support::Floors<TypeParam, typename TestFixture::Gate>::PageAlloc::Page*>
      blocks;
  for (int i = 0; i < 200; ++i) blocks.push_back(pages.alloc_pages(gfp::kernel, 4));
  TestFixture::Gate::open = false;
  for (auto* b : blocks) EXPECT_TRUE(pages.free_pages_nolock(b, 4));
  EXPECT_EQ(pages.stats(0).parked, 200u << 4);
  EXPECT_FALSE(pages.unpark());
  EXPECT_EQ(pages.stats(0).unparked, 0u);
  TestFixture::Gate::open = true;
  EXPECT_FALSE(pages.unpark());
  EXPECT_EQ(pages.stats(0).unparked, kUnparkedAtOnce);
  pages.drain_all_pages();
  EXPECT_EQ(pages.stats(0).parked, 0u);
  EXPECT_TRUE(pages.unpark());
  EXPECT_TRUE(pages.consistent());
}

}  // namespace
}  // namespace nestlock
