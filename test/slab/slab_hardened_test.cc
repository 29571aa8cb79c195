// Hardened caches, in all eight kernels: each interior pointer and each second free is refused, counted and
// reported, whatever lies between, and everything else goes on as before.
#include <algorithm>
#include <cstring>
#include <new>
#include <random>
#include <set>
#include <vector>

#include "gtest/gtest.h"
#include "nestlock/slab.h"
#include "test/support/built_kernels.h"
#include "test/support/findings.h"
#include "test/support/interrupts.h"
#include "test/support/kernels.h"

namespace nestlock::test_support {
namespace {

template <class K>
class SlabHardened : public InterruptTest {
 protected:
  using Pages = BasicPageAllocator<K>;
  using Slabs = BasicSlabAllocator<K>;
  using Cache = BasicKmemCache<K>;
  static constexpr std::size_t kMemory = std::size_t{4} << 20;

  void SetUp() override {
    InterruptTest::SetUp();
    static void* const memory = std::aligned_alloc(kMemory, kMemory);
    pages = ::new (page_memory) Pages;
    slabs = ::new (slab_memory) Slabs;
    ASSERT_EQ(pages->set_up({.start = memory, .size = kMemory}), PageSetup::ok);
    ASSERT_TRUE(slabs->set_up(*pages, slab::hardened));
    cache = slabs->create("hardened", 40, 0, slab::hardened);
    ASSERT_NE(cache, nullptr);
  }
  void TearDown() override {
    std::uintptr_t live = 1;
    EXPECT_TRUE(cache->consistent(&live));
    EXPECT_EQ(live, 0u);
    EXPECT_TRUE(slabs->consistent());
    EXPECT_EQ(findings.size(), seen) << findings.text();
    InterruptTest::TearDown();
  }
  void expect(Finding f, const void* p) {
    ASSERT_EQ(findings.size(), seen + 1) << findings.text();
    EXPECT_EQ(findings[seen].finding, f) << findings.text();
    EXPECT_EQ(findings[seen++].lock, p);
  }
  std::vector<char*> some(std::size_t n) {
    std::vector<char*> v(n);
    for (char*& p : v) {
      p = static_cast<char*>(cache->alloc(gfp::kernel));
      std::memset(p, 0xff, 40);
    }
    return v;
  }

  Pages* pages = nullptr;
  Slabs* slabs = nullptr;
  Cache* cache = nullptr;
  Findings findings;
  unsigned seen = 0;
  alignas(64) static inline unsigned char page_memory[sizeof(Pages)];
  alignas(64) static inline unsigned char slab_memory[sizeof(Slabs)];
};
TYPED_TEST_SUITE(SlabHardened, AllKernels, KernelName);

TYPED_TEST(SlabHardened, GoodUseIsSilentAndNothingIsGivenTwice) {
  std::mt19937 random(1);
  std::vector<char*> out;
  std::set<char*> distinct;
  for (int i = 0; i < 20'000; ++i) {
    if (out.empty() || (random() % 2 && out.size() < 3000)) {
      char* const p = static_cast<char*>(random() % 2 ? this->cache->alloc(gfp::kernel)
                                                      : this->cache->alloc_nolock(gfp::none));
      if (!p) continue;  // a nolock call
      ASSERT_TRUE(distinct.insert(p).second);
      std::memset(p, 0xff, 40);
      out.push_back(p);
    } else {
      std::swap(out[random() % out.size()], out.back());
      distinct.erase(out.back());
      ASSERT_TRUE(random() % 2 ? this->cache->free(out.back())
                               : this->cache->free_nolock(out.back()));
      out.pop_back();
    }
  }
  for (char* p : out) EXPECT_TRUE(this->cache->free(p));
}

TYPED_TEST(SlabHardened, ASecondFreeIsRefusedWhateverLiesBetween) {
  auto v = this->some(500);  // several sheaves, several slabs
  // Of a slab that is free as a whole and went back no object is known: some stay out.
  const auto stays = [](std::size_t i) { return i % 10 == 0; };
  for (std::size_t i = 0; i < v.size(); ++i)
    if (!stays(i)) {
      ASSERT_TRUE(this->cache->free(v[i]));
    }
  const auto bad = this->cache->stats().bad_frees;
  for (std::size_t i = 1; i < v.size(); i += 51) {
    if (stays(i)) ++i;
    EXPECT_FALSE(i % 2 ? this->cache->free(v[i]) : this->cache->free_nolock(v[i]));
    this->expect(Finding::double_free, v[i]);
  }
  EXPECT_EQ(this->cache->stats().bad_frees, bad + this->seen);
  for (std::size_t i = 0; i < v.size(); ++i)
    if (stays(i)) {
      EXPECT_TRUE(this->cache->free(v[i]));
    }
  v = this->some(500);
  std::sort(v.begin(), v.end());
  EXPECT_EQ(std::unique(v.begin(), v.end()), v.end());
  for (char* p : v) EXPECT_TRUE(this->cache->free(p));
}

TYPED_TEST(SlabHardened, APointerIntoAnObjectIsRefused) {
  char* const p = this->some(1)[0];
  for (const std::ptrdiff_t inside : {1, 8, 16, 39}) {
    EXPECT_FALSE(this->cache->free(p + inside));
    this->expect(Finding::foreign_pointer, p + inside);
  }
  EXPECT_TRUE(this->cache->free(p));
  EXPECT_FALSE(this->cache->free(p));
  this->expect(Finding::double_free, p);
}

TYPED_TEST(SlabHardened, KmallocKeepsItsPromises) {
  for (const std::size_t size : {1, 8, 24, 100, 256, 1000, 4096, 8192}) {
    auto* const p = static_cast<char*>(this->slabs->kzalloc(size, gfp::kernel));
    ASSERT_NE(p, nullptr) << size;
    EXPECT_GE(this->slabs->ksize(p), size);
    if ((size & (size - 1)) == 0) {
      EXPECT_EQ(reinterpret_cast<std::uintptr_t>(p) % size, 0u);
    }
    std::memset(p, 1, this->slabs->ksize(p));
    if (size > 8) {
      EXPECT_FALSE(this->slabs->kfree(p + 8));
      this->expect(Finding::foreign_pointer, p + 8);
    }
    EXPECT_TRUE(this->slabs->kfree(p));
    EXPECT_FALSE(this->slabs->kfree_nolock(p));
    this->expect(Finding::double_free, p);
  }
}

TYPED_TEST(SlabHardened, APrefilledSheafsObjectsAreOutWhenTheyAreGiven) {
  auto* const sheaf = this->cache->prefill_sheaf(gfp::kernel, 3);
  ASSERT_NE(sheaf, nullptr);
  void* const p = this->cache->alloc_from_sheaf(sheaf, gfp::none);
  this->cache->return_sheaf(sheaf);
  EXPECT_TRUE(this->cache->free(p));
  EXPECT_FALSE(this->cache->free(p));
  this->expect(Finding::double_free, p);
}

// Whatever lies between: this CPU's sheaves, the barn, the slabs' lists.
TYPED_TEST(SlabHardened, InADebugKernelNoCacheTakesAnObjectTwice) {
  if (!TypeParam::kConfig.debug) GTEST_SKIP() << "only what lies on top is seen";
  for (const std::size_t size : {std::size_t{8}, std::size_t{64}, std::size_t{4096}}) {
    auto* const plain = this->slabs->create("plain", size, size);
    ASSERT_NE(plain, nullptr);
    for (int round = 0; round < 2; ++round) {
      std::set<void*> objects;
      for (int i = 0; i < 200; ++i)
        objects.insert(i % 2 ? plain->alloc(gfp::kernel) : plain->alloc_nolock(gfp::none));
      ASSERT_EQ(objects.size(), 200u);
      bool nolock = false;
      const auto free = [&](void* p) {
        return (nolock = !nolock) ? plain->free_nolock(p) : plain->free(p);
      };
      for (void* const p : objects) {
        EXPECT_EQ(reinterpret_cast<std::uintptr_t>(p) % size, 0u);
        EXPECT_TRUE(free(p));
      }
      const unsigned before = this->findings.size();
      for (void* const p : objects) EXPECT_FALSE(free(p));
      EXPECT_EQ(plain->stats().bad_frees, 200u * (round + 1));
      EXPECT_EQ(this->findings.size(), before + 200);
      this->seen = this->findings.size();
    }
    EXPECT_GT(plain->stats().fast_frees, 0u);
    EXPECT_TRUE(plain->consistent());
    EXPECT_TRUE(this->slabs->destroy(plain));
  }
}

// Kind 13: flags are flags: each works together with the others, and an unknown one is refused.
TYPED_TEST(SlabHardened, FlagsAreFlags) {
  for (const slab flags : {slab::hardened | slab::no_sheaves, slab::hardened | slab::debug,
                           slab::debug | slab::no_sheaves}) {
    auto* const c = this->slabs->create("both", 24, 0, flags);
    ASSERT_NE(c, nullptr);
    void* const p = c->alloc(gfp::kernel);
    void* const q = c->alloc(gfp::kernel);
    EXPECT_TRUE(c->free(p) && c->free(q));
    EXPECT_FALSE(c->free(p));
    this->expect(Finding::double_free, p);
    EXPECT_EQ(c->stats().fast_frees, 0u);
    EXPECT_TRUE(this->slabs->destroy(c));
  }
  EXPECT_EQ(this->slabs->create("none", 24, 0, slab{8}), nullptr);
}

}  // namespace
}  // namespace nestlock::test_support
