// Kind 6: sizes in page steps: blocks of any number of pages, longer and shorter where they lie.
#include <bit>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "nestlock/slab.h"
#include "test/page/page_system.h"
#include "test/support/kernels.h"

namespace nestlock {
namespace {

using test_support::AllKernels;
using test_support::KernelName;

template <class K>
struct PageSteps : test_support::CountedPages<K> {
  using Page = typename test_support::CountedPages<K>::Pages::Page;
  // Pages in somebody's hands.
  std::uintptr_t used() {
    const PageStats s = this->pages->stats(0);
    return s.committed - s.free - s.cached;
  }
  unsigned char* bytes(Page* p) { return static_cast<unsigned char*>(this->pages->address(p)); }
};
TYPED_TEST_SUITE(PageSteps, AllKernels, KernelName);

TYPED_TEST(PageSteps, ABlockOfAnyNumberOfPagesTakesSoManyPages) {
  auto& floor = *this->pages;
  std::vector<std::pair<typename TestFixture::Page*, std::uint32_t>> all;
  std::uint32_t sum = 0;
  for (const std::uint32_t n : {1u, 2u, 3u, 5u, 7u, 8u, 9u, 31u, 33u, 100u, 513u, 1023u, 1024u}) {
    auto* const p = floor.alloc_pages_exact(gfp::kernel | gfp::zero, n);
    ASSERT_NE(p, nullptr) << n;
    sum += n;
    EXPECT_EQ(this->used(), sum) << n;
    const auto at = reinterpret_cast<std::uintptr_t>(floor.address(p));
    EXPECT_EQ(at % (kPageSize * std::bit_ceil(n)), 0u) << n;
    for (std::uint32_t i = 0; i < n; ++i) {
      auto* const word = this->bytes(p) + i * kPageSize;
      ASSERT_EQ(*word, 0) << "zeroed, and nobody else's";
      *word = 1;
    }
    all.emplace_back(p, n);
  }
  EXPECT_TRUE(floor.consistent());
  EXPECT_EQ(floor.alloc_pages_exact(gfp::kernel, 0), nullptr);
  EXPECT_EQ(floor.alloc_pages_exact(gfp::kernel, (1u << kMaxOrder) + 1), nullptr);
  bool nolock = false;
  for (auto& [p, n] : all) {
    EXPECT_FALSE(floor.free_pages_exact(p, 0));
    EXPECT_FALSE(floor.free_pages_exact(p, 2 * std::bit_ceil(n)));
    EXPECT_TRUE((nolock = !nolock) ? floor.free_pages_exact_nolock(p, n)
                                   : floor.free_pages_exact(p, n));
    EXPECT_FALSE(floor.free_pages_exact(p, n)) << "once";
    sum -= n;
    EXPECT_EQ(this->used() - floor.stats(0).parked, sum) << n;
  }
}

TYPED_TEST(PageSteps, ABlockGrowsAndShrinksWhereItLies) {
  auto& floor = *this->pages;
  auto* const p = floor.alloc_pages_exact(gfp::kernel, 20);
  ASSERT_NE(p, nullptr);
  for (std::uint32_t i = 0; i < 20; ++i) this->bytes(p)[i * kPageSize] = 7;
  EXPECT_TRUE(floor.resize_exact(p, 20, 27)) << "its own rest is free";
  EXPECT_EQ(this->used(), 27u);
  EXPECT_TRUE(floor.resize_exact(p, 27, 32));
  EXPECT_TRUE(floor.resize_exact(p, 32, 17));
  EXPECT_EQ(this->used(), 17u);
  for (std::uint32_t i = 0; i < 17; ++i) EXPECT_EQ(this->bytes(p)[i * kPageSize], 7) << i;
  EXPECT_FALSE(floor.resize_exact(p, 17, 0));
  EXPECT_FALSE(floor.resize_exact(p, 17, (1u << kMaxOrder) + 1));
  EXPECT_TRUE(floor.consistent());
  EXPECT_TRUE(floor.free_pages_exact(p, 17));
  EXPECT_EQ(this->used(), 0u);
}

TYPED_TEST(PageSteps, WhatSomebodyHasIsNotGrownOver) {
  auto& floor = *this->pages;
  auto* const whole = floor.alloc_pages(gfp::kernel, 6);
  const auto first = floor.index_of(whole);
  EXPECT_TRUE(floor.free_pages(whole, 6));
  auto* const p = floor.alloc_pages_exact(gfp::kernel, 33);
  ASSERT_EQ(floor.index_of(p), first) << "the same place";
  EXPECT_TRUE(floor.resize_exact(p, 33, 64));
  EXPECT_TRUE(floor.resize_exact(p, 64, 48));
  auto* const next = floor.alloc_pages(gfp::kernel, 4);
  ASSERT_EQ(floor.index_of(next), first + 48);
  EXPECT_FALSE(floor.resize_exact(p, 48, 49));
  EXPECT_EQ(this->used(), 64u);
  EXPECT_TRUE(floor.consistent());
  EXPECT_TRUE(floor.free_pages(next, 4));
  EXPECT_TRUE(floor.free_pages_exact(p, 48));
}

// kmalloc()'s sizes above its classes; and a buffer that grows by a page at a time is seldom copied.
TYPED_TEST(PageSteps, LargeSizesTakeWholePagesAndGrowInPlace) {
  auto slabs = std::make_unique<BasicSlabAllocator<TypeParam>>();
  ASSERT_TRUE(slabs->set_up(*this->pages));
  for (const std::size_t many : {std::size_t{5}, std::size_t{17}, std::size_t{300}}) {
    const std::uintptr_t before = this->used();
    void* const p = slabs->kmalloc(many * kPageSize - 100, gfp::kernel);
    EXPECT_EQ(this->used(), before + many);
    EXPECT_EQ(slabs->ksize(p), many * kPageSize);
    EXPECT_FALSE(slabs->kfree(static_cast<char*>(p) + 4 * kPageSize)) << "a block of the row";
    EXPECT_TRUE(slabs->kfree(p));
    EXPECT_EQ(this->used(), before);
  }
  unsigned moves = 0;
  unsigned char* p = nullptr;
  for (std::size_t n = kPageSize; n <= 600 * kPageSize; n += kPageSize) {
    auto* const q = static_cast<unsigned char*>(slabs->krealloc(p, n, gfp::kernel | gfp::zero));
    ASSERT_NE(q, nullptr) << n;
    moves += q != p;
    p = q;
    ASSERT_EQ(p[n - 1], 0);
    p[n - 1] = static_cast<unsigned char>(n / kPageSize);
  }
  EXPECT_LE(moves, 40u);
  for (std::size_t n = kPageSize; n <= 600 * kPageSize; n += kPageSize)
    ASSERT_EQ(p[n - 1], static_cast<unsigned char>(n / kPageSize));
  const std::uintptr_t before = this->used();
  EXPECT_EQ(slabs->krealloc(p, 20 * kPageSize, gfp::kernel), p);
  EXPECT_EQ(this->used(), before - 580);
  EXPECT_TRUE(slabs->kfree(p));
}

}  // namespace
}  // namespace nestlock
