// The slab floor in all eight kernels: sizes, conservation under a random load of all its calls,
// bad input, caches.
// Kind 8: what krealloc(), kmalloc_array(), kcalloc(), kmalloc_aligned() and kmalloc_size_roundup() promise.
// Kind 10: nodes: who names one gets its memory, and one that there is not is refused.
#include "nestlock/slab.h"

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <new>
#include <random>
#include <vector>

#include "gtest/gtest.h"
#include "test/support/built_kernels.h"
#include "test/support/kernels.h"
#include "test/support/slab_floors.h"

namespace nestlock {
namespace {

using test_support::AllKernels;
using test_support::HostedKernel;
using test_support::KernelName;

using test_support::Floors;
using test_support::ignore;
using test_support::kMemory;
using test_support::memory;

template <class K>
struct Slab : ::testing::Test {
  void SetUp() override {
    before_ = hosted::set_report_sink(ignore);
    floors_.reset();
  }
  void TearDown() override { hosted::set_report_sink(before_); }
  static Floors<K> floors_;
  hosted::ReportSink before_ = nullptr;
};
template <class K>
Floors<K> Slab<K>::floors_;
TYPED_TEST_SUITE(Slab, AllKernels, KernelName);

TYPED_TEST(Slab, EachSizeIsUsable) {
  auto& s = *this->floors_.slabs;
  for (std::size_t size = 1; size <= 20000; size += size < 300 ? 1 : 97) {
    auto* const p = static_cast<unsigned char*>(s.kmalloc(size, gfp::kernel));
    ASSERT_NE(p, nullptr) << size;
    EXPECT_GE(s.ksize(p), size);
    std::memset(p, 0xff, size);
    EXPECT_TRUE(s.kfree(p));
  }
  EXPECT_EQ(s.kmalloc(0, gfp::kernel), s.kZeroSize);
  EXPECT_EQ(s.kmalloc_nolock(0, gfp::none), s.kZeroSize);
  EXPECT_TRUE(s.kfree(s.kZeroSize));
  EXPECT_TRUE(s.kfree(nullptr));
  SlabRefusal why{};
  EXPECT_EQ(s.kmalloc_nolock(kMaxKmalloc + 1, gfp::none, kAnyNode, &why), nullptr);
  EXPECT_EQ(why, SlabRefusal::size);
  EXPECT_EQ(this->floors_.live(), 0u);
}

// Up to the largest block, many of a slab, wherever the pages' memory starts; and where a nolock
// call takes the next class's object.
TYPED_TEST(Slab, PowersOfTwoAreNaturallyAligned) {
  unsigned checked = 0, from_the_next = 0;
  const auto aligned = [&](const void* p, std::size_t size) {
    ++checked;
    return p && reinterpret_cast<std::uintptr_t>(p) % size == 0;
  };
  for (const slab flags : {slab::none, slab::debug})
    for (const std::size_t pages : {0u, 1u, 3u}) {
      this->floors_.reset(kMemory, 1, flags, pages * kPageSize);
      auto& s = *this->floors_.slabs;
      for (std::size_t size = 1; size <= kPageSize << kMaxOrder; size *= 2) {
        std::vector<void*> got(size <= kMaxKmalloc ? 40 : 1);
        for (void*& p : got) {
          p = s.kmalloc(size, gfp::kernel);
          EXPECT_TRUE(aligned(p, size)) << size << " at " << p << ", " << pages << " pages on";
        }
        for (void* p : got) EXPECT_TRUE(s.kfree(p));
        if (size >= kMaxKmalloc) continue;
        auto& its_class = s.kmalloc_cache(s.class_of(size));
        its_class.fail_every(1);
        for (void*& p : got) {
          p = s.kmalloc_nolock(size, gfp::none);
          EXPECT_TRUE(aligned(p, size)) << size << " at " << p << ", of the next class";
          EXPECT_NE(this->floors_.pages->page_of(p)->owner, &its_class);
          ++from_the_next;
        }
        its_class.fail_every(0);
        for (void* p : got) EXPECT_TRUE(s.kfree(p));
      }
      EXPECT_EQ(this->floors_.live(), 0u);
    }
  EXPECT_EQ(checked, 6u * (14 * 40 + 9) + from_the_next);
  EXPECT_EQ(from_the_next, 6u * 13 * 40);
}

TYPED_TEST(Slab, ZeroedObjectsAreZeroAfterUse) {
  auto& s = *this->floors_.slabs;
  for (int round = 0; round < 3; ++round) {
    auto* const p = static_cast<unsigned char*>(s.kzalloc(200, gfp::kernel));
    for (int i = 0; i < 200; ++i) ASSERT_EQ(p[i], 0);
    std::memset(p, 0xff, 200);
    s.kfree(p);
  }
}

// Every call in a random order; each block filled with a tag that is checked before its free.
TYPED_TEST(Slab, NothingIsLostNorGivenTwiceUnderARandomLoad) {
  auto& s = *this->floors_.slabs;
  struct Block {
    unsigned char* at;
    std::size_t size;
    unsigned char tag;
  };
  std::vector<Block> live;
  std::mt19937 rng(20261121);
  for (int i = 0; i < 24000; ++i) {
    if (rng() % 100 < (i / 4000 % 2 ? 60u : 40u) || live.empty()) {
      const std::size_t size = rng() % 100 < 97 ? 1 + rng() % 1500 : 1 + rng() % kMaxKmalloc;
      void* const p = i & 3 ? s.kmalloc(size, gfp::kernel) : s.kmalloc_nolock(size, gfp::none);
      if (!p) continue;  // out of memory, counted by the allocator
      live.push_back({static_cast<unsigned char*>(p), size, static_cast<unsigned char>(i)});
      std::memset(p, live.back().tag, size);
    } else {
      std::swap(live[rng() % live.size()], live.back());
      const Block b = live.back();
      live.pop_back();
      ASSERT_EQ(b.at[0], b.tag);
      ASSERT_EQ(b.at[b.size - 1], b.tag);
      ASSERT_TRUE(i & 2 ? s.kfree(b.at) : s.kfree_nolock(b.at));
    }
  }
  ASSERT_EQ(this->floors_.live(), live.size());
  for (const Block& b : live) s.kfree(b.at);
  EXPECT_EQ(this->floors_.live(), 0u);
  const SlabStats busy = s.kmalloc_cache(9).stats();  // 1k: small sheaves, so all paths
  EXPECT_GT(busy.refills, 0u);
  EXPECT_GT(busy.flushes, 0u);
  EXPECT_GT(busy.spare_swaps, 0u);
  EXPECT_GT(busy.barn_gets, 0u);
  EXPECT_GT(busy.barn_puts, 0u);
  EXPECT_GT(busy.new_slabs, 0u);
  EXPECT_GT(busy.discarded_slabs, 0u);
}

TYPED_TEST(Slab, BadFreesAreRefused) {
  auto& s = *this->floors_.slabs;
  int local = 0;
  EXPECT_FALSE(s.kfree(&local));
  void* const p = s.kmalloc(64, gfp::kernel);
  EXPECT_FALSE(s.kmalloc_cache(0).free(p));  // of another cache
  EXPECT_TRUE(s.kfree(p));
  EXPECT_EQ(this->floors_.live(), 0u);
}

TYPED_TEST(Slab, ACacheConstructsAlignsAndReportsLeaks) {
  auto& s = *this->floors_.slabs;
  EXPECT_EQ(s.create("bad", 0), nullptr);
  EXPECT_EQ(s.create("bad", 8, 24), nullptr);
  auto* const c = s.create("mine", 40, 64, slab::none, [](void* p) { std::memset(p, 7, 40); });
  ASSERT_NE(c, nullptr);
  void* objects[100];
  ASSERT_EQ(c->alloc_bulk(gfp::kernel, 100, objects), 100u);
  for (void* o : objects) {
    EXPECT_EQ(static_cast<char*>(o)[39], 7);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(o) % 64, 0u);
  }
  void* const one = c->alloc_nolock(gfp::none);
  ASSERT_NE(one, nullptr);
  c->free_bulk(100, objects);
  EXPECT_FALSE(s.destroy(c));  // one is out
  EXPECT_TRUE(c->free_nolock(one));
  EXPECT_TRUE(s.destroy(c));
  EXPECT_EQ(this->floors_.live(), 0u);
}

// A cache with objects out is not destroyed, and goes on as before: with sheaves of its own, and
// keeping a few empty slabs.
TYPED_TEST(Slab, ACacheThatIsNotDestroyedStaysAsItWas) {
  auto& s = *this->floors_.slabs;
  for (const slab flags : {slab::none, slab::no_sheaves}) {
    auto* const c = s.create("stays", 1024, 0, flags);
    ASSERT_NE(c, nullptr);
    std::vector<void*> objects(200);
    const auto slabs_kept = [&] {
      EXPECT_EQ(c->alloc_bulk(gfp::kernel, objects.size(), objects.data()), objects.size());
      c->free_bulk(objects.size(), objects.data());
      return c->stats().slabs;
    };
    const std::uintptr_t before = slabs_kept();
    EXPECT_GT(before, 0u);
    void* const out = c->alloc(gfp::kernel);
    EXPECT_FALSE(s.destroy(c));
    EXPECT_EQ(c->stats().slabs, 1u);
    EXPECT_TRUE(c->free(out));
    EXPECT_EQ(slabs_kept(), before);
    EXPECT_TRUE(s.destroy(c));
  }
  EXPECT_EQ(this->floors_.live(), 0u);
}

// K21: a missing reclaim bit does not make a call a nolock one.
TYPED_TEST(Slab, GfpBitsDoNotDecideWhetherAPathMaySpin) {
  auto& s = *this->floors_.slabs;
  this->floors_.pages->set_allowed(gfp::none);  // K20: early boot
  for (int i = 0; i < 200; ++i) EXPECT_NE(s.kmalloc(64, gfp::nowarn), nullptr);
  EXPECT_EQ(s.kmalloc_cache(3).stats().list_busy, 0u);
}

TYPED_TEST(Slab, InjectedFailuresFailEveryKth) {
  auto& c = this->floors_.slabs->kmalloc_cache(3);
  c.fail_every(3);
  int failed = 0;
  for (int i = 0; i < 30; ++i) failed += c.alloc(gfp::kernel) == nullptr;
  EXPECT_EQ(failed, 10);
  EXPECT_EQ(c.stats().injected, 10u);
  EXPECT_EQ(c.stats().failures, 10u);
  c.fail_every(0);
  EXPECT_NE(c.alloc(gfp::kernel), nullptr);
}

// ---- kind 8: krealloc() and kin -----------------------------------------------------------------

TYPED_TEST(Slab, KreallocKeepsTheContents) {
  auto& s = *this->floors_.slabs;
  auto* p = static_cast<char*>(s.kmalloc(10, gfp::kernel));
  std::strcpy(p, "nestlock");
  for (std::size_t size : {100u, 5000u, 20000u, 64u}) {
    p = static_cast<char*>(s.krealloc(p, size, gfp::kernel));
    ASSERT_STREQ(p, "nestlock");
  }
  s.kfree(p);
  EXPECT_EQ(this->floors_.live(), 0u);
}

TYPED_TEST(Slab, KreallocKeepsAlignmentAndZeroes) {
  auto& s = *this->floors_.slabs;
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

TYPED_TEST(Slab, ArraysThatDoNotFitAreNull) {
  auto& s = *this->floors_.slabs;
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

// ---- kind 10: nodes -----------------------------------------------------------------------------

TYPED_TEST(Slab, TwoNodes) {
  this->floors_.reset(kMemory, 2);
  auto& s = *this->floors_.slabs;
  std::vector<void*> got;
  for (int i = 0; i < 200; ++i) {
    void* const p = s.kmalloc_cache(3).alloc(gfp::kernel | gfp::thisnode, i % 2);
    ASSERT_NE(p, nullptr);
    EXPECT_EQ(this->floors_.pages->page_of(p)->zone(), static_cast<unsigned>(i % 2));
    got.push_back(p);
  }
  for (void* p : got) EXPECT_TRUE(s.kfree(p));
  EXPECT_EQ(this->floors_.live(), 0u);
}

TYPED_TEST(Slab, AnAbsentNodeIsRefusedAndANamedOneComesFirst) {
  this->floors_.reset(kMemory, 2);
  auto& s = *this->floors_.slabs;
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
      EXPECT_EQ(this->floors_.pages->page_of(p)->zone(), static_cast<unsigned>(node));
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
