// Kind 9: many objects at once between sheaves and slabs, whichever slabs they are of and in whichever order they come;
// and which addresses begin an object, of every stride.
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <random>
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
struct SlabBulk : test_support::GatedFloors<K> {};
TYPED_TEST_SUITE(SlabBulk, AllKernels, KernelName);

enum class Order { of_allocation, against, by_turns, shuffled };

std::vector<void*> in(Order order, std::vector<void*> all) {
  const std::size_t half = all.size() / 2;
  if (order == Order::against) std::reverse(all.begin(), all.end());
  if (order == Order::shuffled) std::shuffle(all.begin(), all.end(), std::mt19937(7));
  if (order ==
      Order::by_turns)  // of a slab of the first half, then of one of the second, and so on
    for (std::size_t i = 1; i < half; i += 2) std::swap(all[i], all[half + i]);
  return all;
}

TYPED_TEST(SlabBulk, SheavesGoToSlabsInAnyOrder) {
  auto& s = this->slabs();
  for (const std::size_t size : {16u, 48u, 80u, 1000u, 3000u}) {
    auto* const cache = s.create("bulk", size);
    ASSERT_NE(cache, nullptr);
    for (const Order order :
         {Order::of_allocation, Order::against, Order::by_turns, Order::shuffled}) {
      std::vector<void*> all(1200);
      for (void*& p : all) {
        ASSERT_NE(p = cache->alloc(gfp::kernel), nullptr);
        std::memset(p, 0x5a, size);
      }
      std::vector<void*> sorted = all;
      std::sort(sorted.begin(), sorted.end());
      for (std::size_t i = 1; i < sorted.size(); ++i)
        ASSERT_GE(static_cast<char*>(sorted[i]) - static_cast<char*>(sorted[i - 1]),
                  static_cast<std::ptrdiff_t>(size));
      // A part stays, so that slabs are taken from again that are half full.
      all = in(order, all);
      for (std::size_t i = 100; i < all.size(); ++i) EXPECT_TRUE(cache->free(all[i]));
      cache->shrink();
      std::uintptr_t out = 0;
      EXPECT_TRUE(cache->consistent(&out)) << size;
      EXPECT_EQ(out, 100u);
      for (std::size_t i = 100; i < all.size(); ++i)
        ASSERT_NE(all[i] = cache->alloc(gfp::kernel), nullptr);
      std::vector<void*> once = all;
      std::sort(once.begin(), once.end());
      EXPECT_EQ(std::unique(once.begin(), once.end()), once.end());
      for (void* p : in(order, all)) EXPECT_TRUE(cache->free(p));
      cache->shrink();
      EXPECT_TRUE(cache->consistent(&out)) << size;
      EXPECT_EQ(out, 0u);
      EXPECT_EQ(cache->stats().slabs, 0u);
      EXPECT_EQ(cache->stats().bad_frees, 0u);
    }
    EXPECT_TRUE(s.destroy(cache));
  }
  EXPECT_EQ(this->floors_.live(), 0u);
}

// By a cache without sheaves, where each free looks.
TYPED_TEST(SlabBulk, OnlyWhatBeginsAnObjectIsOne) {
  auto& s = this->slabs();
  for (unsigned i = 0; i < TestFixture::Slabs::kClasses; ++i) {
    const std::size_t size = s.class_size(i);
    auto* const cache = s.create("strides", size, 0, slab::no_sheaves);
    ASSERT_NE(cache, nullptr);
    std::vector<char*> all;
    for (int k = 0; k < 40; ++k) {
      all.push_back(static_cast<char*>(cache->alloc(gfp::kernel)));
      ASSERT_NE(all.back(), nullptr);
    }
    std::uintptr_t refused = 0;
    for (char* const p : all)
      for (std::size_t off = 8; off < size; off += size > 512 ? 56 : 8) {
        EXPECT_FALSE(cache->free(p + off)) << size << " + " << off;
        ++refused;
      }
    EXPECT_EQ(cache->stats().bad_frees, refused);
    for (char* const p : all) EXPECT_TRUE(cache->free(p));
    EXPECT_TRUE(s.destroy(cache));
  }
  EXPECT_EQ(this->floors_.live(), 0u);
}

}  // namespace
}  // namespace nestlock
