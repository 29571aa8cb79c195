// Debug caches, in all eight kernels: each misuse is found and reported, with the places where the
// object was allocated and freed (in debug kernels), and what is reported leaves the cache whole.
// K17, K19 and K38 of the scenarios.
#include <cstring>
#include <new>
#include <utility>

#include "gtest/gtest.h"
#include "nestlock/slab.h"
#include "test/support/built_kernels.h"
#include "test/support/findings.h"
#include "test/support/interrupts.h"
#include "test/support/kernels.h"

namespace nestlock::test_support {
namespace {

template <class K>
class SlabDebug : public InterruptTest {
 protected:
  using Pages = BasicPageAllocator<K>;
  using Slabs = BasicSlabAllocator<K>;
  using Cache = BasicKmemCache<K>;
  static constexpr bool kPlaces = K::kConfig.debug;
  static constexpr std::size_t kMemory = std::size_t{4} << 20;

  void SetUp() override {
    InterruptTest::SetUp();
    static void* const memory = std::aligned_alloc(kMemory, kMemory);
    pages = ::new (page_memory) Pages;
    slabs = ::new (slab_memory) Slabs;
    ASSERT_EQ(pages->set_up({.start = memory, .size = kMemory}), PageSetup::ok);
    ASSERT_TRUE(slabs->set_up(*pages, slab::debug));
    cache = slabs->create("debugged", 100, 0, slab::debug);
    ASSERT_NE(cache, nullptr);
    pass_on();
  }
  void TearDown() override {
    pass_on();
    std::uintptr_t live = 1;
    EXPECT_TRUE(cache->consistent(&live));
    EXPECT_EQ(live, 0u);
    EXPECT_EQ(findings.size(), seen) << findings.text();
    InterruptTest::TearDown();
  }
  // To a handler, or back: what is written here is before what comes. To ThreadSanitizer, that is.
  static void pass_on() { hosted::tsan_blocks_change(); }
  unsigned char* alloc() { return static_cast<unsigned char*>(cache->alloc(gfp::kernel)); }

  // The next finding is this one, about `p`.
  const Report& expect(Finding f, const void* p) {
    EXPECT_EQ(findings.size(), seen + 1) << findings.text();
    const Report& r = findings[seen++];
    EXPECT_EQ(r.finding, f) << findings.text();
    EXPECT_EQ(r.lock, p);
    EXPECT_STREQ(r.detail, "debugged");
    return r;
  }
  static void expect_place(const Place& place, unsigned line) {
    if (kPlaces) {
      EXPECT_STREQ(place.file, __FILE__);
      EXPECT_EQ(place.line, line);
    } else {
      EXPECT_EQ(place.file, nullptr);
    }
  }

  Pages* pages = nullptr;
  Slabs* slabs = nullptr;
  Cache* cache = nullptr;
  Findings findings;
  unsigned seen = 0;
  alignas(64) static inline unsigned char page_memory[sizeof(Pages)];
  alignas(64) static inline unsigned char slab_memory[sizeof(Slabs)];
};
TYPED_TEST_SUITE(SlabDebug, AllKernels, KernelName);

TYPED_TEST(SlabDebug, GoodUseIsSilent) {
  void* objects[100];
  for (void*& p : objects) {
    p = this->cache->alloc(gfp::kernel);
    std::memset(p, 0, 100);
  }
  for (void* p : objects) EXPECT_TRUE(this->cache->free(p));
  // kmalloc's classes, too, with their alignment.
  for (std::size_t size = 8; size <= 8192; size *= 2) {
    void* const p = this->slabs->kzalloc(size, gfp::kernel);
    ASSERT_NE(p, nullptr);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(p) % size, 0u);
    std::memset(p, 1, this->slabs->ksize(p));
    EXPECT_TRUE(this->slabs->kfree(p));
  }
  EXPECT_TRUE(this->slabs->consistent());
}

// K38, as the three below.
TYPED_TEST(SlabDebug, K38DoubleFree) {
  for (const bool nolock : {false, true}) {
    const unsigned allocated = __LINE__ + 1;
    void* const p = this->cache->alloc(gfp::kernel);
    const unsigned freed = __LINE__ + 1;
    EXPECT_TRUE(this->cache->free(p));
    const unsigned again = __LINE__ + 1;
    EXPECT_FALSE(nolock ? this->cache->free_nolock(p) : this->cache->free(p));
    const Report& r = this->expect(Finding::double_free, p);
    this->expect_place(r.born_at, allocated);
    this->expect_place(r.taken_at, freed);
    this->expect_place(r.here, again);
  }
  EXPECT_EQ(this->cache->stats().bad_frees, 2u);
}

TYPED_TEST(SlabDebug, K38UseAfterFree) {
  auto* const p = this->alloc();
  const unsigned freed = __LINE__ + 1;
  EXPECT_TRUE(this->cache->free(p));
  p[50] = 1;
  // Found by whoever gets it next.
  EXPECT_EQ(this->alloc(), p);
  this->expect_place(this->expect(Finding::use_after_free, p).taken_at, freed);
  EXPECT_TRUE(this->cache->free(p));
}

// Behind it and before it; while it is out, and while it is free.
TYPED_TEST(SlabDebug, K38RedZones) {
  for (int at : {100, 107, -1, -16}) {
    const unsigned allocated = __LINE__ + 1;
    auto* const p = static_cast<unsigned char*>(this->cache->alloc(gfp::kernel));
    p[at] = 1;
    EXPECT_TRUE(this->cache->free(p)) << "it is freed all the same";
    this->expect_place(this->expect(Finding::overflow, p).born_at, allocated);
    p[at] = 1;
    EXPECT_EQ(this->alloc(), p);
    this->expect(Finding::overflow, p);
    EXPECT_TRUE(this->cache->free(p)) << "and mended";
  }
}

TYPED_TEST(SlabDebug, ForeignPointersAndTheWrongCache) {
  auto* const p = this->alloc();
  EXPECT_FALSE(this->cache->free(p + 8));
  this->expect(Finding::foreign_pointer, p + 8);
  auto* const other = this->slabs->create("other", 100, 0, slab::debug);
  const unsigned allocated = __LINE__ + 1;
  void* const theirs = other->alloc(gfp::kernel);
  EXPECT_FALSE(this->cache->free(theirs));
  this->expect_place(this->expect(Finding::foreign_pointer, theirs).born_at, allocated);
  int local = 0;
  EXPECT_FALSE(this->cache->free(&local));
  this->expect(Finding::foreign_pointer, &local);
  EXPECT_TRUE(this->cache->free(p));
  EXPECT_TRUE(other->free(theirs));
  EXPECT_TRUE(this->slabs->destroy(other));
}

TYPED_TEST(SlabDebug, ALeakIsReportedWithItsPlace) {
  const unsigned allocated = __LINE__ + 1;
  void* const p = this->cache->alloc(gfp::kernel);
  EXPECT_TRUE(this->cache->free(this->alloc()));
  EXPECT_FALSE(this->slabs->destroy(this->cache));
  this->expect_place(this->expect(Finding::leaked, p).born_at, allocated);
  EXPECT_TRUE(this->cache->free(p));
}

TYPED_TEST(SlabDebug, AConstructedObjectKeepsItsContents) {
  auto* const c =
      this->slabs->create("built", 40, 64, slab::debug, [](void* p) { std::memset(p, 7, 40); });
  for (int i = 0; i < 3; ++i) {
    auto* const p = static_cast<char*>(c->alloc(gfp::kernel));
    EXPECT_EQ(p[39], 7);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(p) % 64, 0u);
    EXPECT_TRUE(c->free(p));
  }
  EXPECT_TRUE(this->slabs->destroy(c));
}

// A deferred object's link lies outside what is checked: no false report.
TYPED_TEST(SlabDebug, K17) {
  // In an RT kernel's NMI the gate is closed, so these are deferred; elsewhere the list takes them
  // (with the list taken: slab_free_rows_test).
  for (int i = 0; i < 20; ++i) {
    void* const p = this->alloc();
    this->pass_on();
    interrupt(Where::nmi, [&] { EXPECT_TRUE(this->cache->free_nolock(p)); });
  }
  EXPECT_EQ(this->cache->stats().deferred > 0, TypeParam::kConfig.preempt_rt);
  EXPECT_EQ(this->cache->stats().gated_frees, this->cache->stats().deferred);
  EXPECT_TRUE(this->cache->free(this->alloc()));
  EXPECT_EQ(this->cache->stats().deferred, this->cache->stats().settled);
}

// Nolock calls on a debug cache: its lists are under a lock that they may try.
TYPED_TEST(SlabDebug, K19) {
  const Where w = TypeParam::kConfig.preempt_rt ? Where::probe : Where::nmi;
  interrupt(w, [&] {
    for (int i = 0; i < 50; ++i) {
      void* const p = this->cache->alloc_nolock(gfp::none);
      ASSERT_NE(p, nullptr);
      std::memset(p, i, 100);
      EXPECT_TRUE(this->cache->free_nolock(p));
    }
  });
  void* const p = this->slabs->kmalloc_nolock(1000, gfp::zero);
  ASSERT_NE(p, nullptr);
  EXPECT_TRUE(this->slabs->kfree_nolock(p));
}

// Debug caches know what was asked for.
TYPED_TEST(SlabDebug, ASizedFreeKnowsTheSize) {
  for (const std::size_t size : {0u, 1u, 96u, 100u, 8192u, 8193u, 40000u})
    for (const std::size_t told : {size, 4 * size + 1}) {
      const unsigned line = __LINE__ + 1;
      void* const p = this->slabs->kmalloc(size, gfp::kernel);
      ASSERT_NE(p, nullptr);
      EXPECT_TRUE(this->slabs->kfree_sized(p, told));
      ASSERT_EQ(this->findings.size() - this->seen, told != size) << size << this->findings.text();
      if (told == size) continue;
      const Report& r = this->findings[this->seen++];
      EXPECT_EQ(r.finding, Finding::wrong_size);
      EXPECT_EQ(r.lock, p);
      this->expect_place(r.here, line + 2);
      if (size - 1 < 8192) this->expect_place(r.born_at, line);
    }
  // The size is the last that was asked for.
  for (const std::size_t told : {80u, 100u}) {
    void* const p = this->slabs->kmalloc(100, gfp::kernel);
    ASSERT_EQ(this->slabs->krealloc(p, 80, gfp::kernel), p);
    EXPECT_TRUE(this->slabs->kfree_sized(p, told));
    ASSERT_EQ(this->findings.size() - this->seen, told != 80) << this->findings.text();
    if (told == 80) continue;
    EXPECT_EQ(this->findings[this->seen].finding, Finding::wrong_size);
    EXPECT_EQ(this->findings[this->seen++].lock, p);
  }
  EXPECT_TRUE(this->slabs->kfree_sized(nullptr, 5));
  int mine = 0;
  EXPECT_FALSE(this->slabs->kfree_sized(&mine, sizeof mine));
  EXPECT_EQ(this->findings.size(), this->seen + 1);
  EXPECT_EQ(this->findings[this->seen++].finding, Finding::foreign_pointer);
  EXPECT_TRUE(this->slabs->consistent());
}

// Of other caches debug kernels know the class. kmalloc_nolock() may have taken the next one's.
TYPED_TEST(SlabDebug, ASizedFreeKnowsTheClass) {
  static typename TestFixture::Slabs plain;
  ASSERT_TRUE(plain.set_up(*this->pages));
  for (const std::size_t size : {1u, 64u, 65u, 4097u, 8192u, 8193u}) {
    EXPECT_TRUE(plain.kfree_sized(plain.kmalloc(size, gfp::kernel), size));
    EXPECT_EQ(this->findings.size(), this->seen) << size << this->findings.text();
    void* const p = plain.kmalloc(size, gfp::kernel);
    EXPECT_TRUE(plain.kfree_sized(p, 4 * size + 13));
    if (!TypeParam::kConfig.debug) continue;
    ASSERT_EQ(this->findings.size(), this->seen + 1) << size << this->findings.text();
    EXPECT_EQ(this->findings[this->seen++].finding, Finding::wrong_size);
  }
  for (const auto& [size, next] : {std::pair{60u, 96u}, std::pair{64u, 128u}}) {
    auto& its_class = plain.kmalloc_cache(plain.class_of(size));
    its_class.fail_every(1);
    void* const p = plain.kmalloc_nolock(size, gfp::none);
    its_class.fail_every(0);
    EXPECT_EQ(plain.ksize(p), next);
    EXPECT_TRUE(plain.kfree_sized(p, size));
    EXPECT_EQ(this->findings.size(), this->seen) << this->findings.text();
  }
  // Shrunk where it lies: its size is the last that was asked for.
  for (const auto& [size, shrunk] :
       {std::pair{192u, 100u}, std::pair{1024u, 700u}, std::pair{40000u, 24000u}}) {
    void* const p = plain.kmalloc(size, gfp::kernel);
    ASSERT_EQ(plain.krealloc(p, shrunk, gfp::kernel), p);
    EXPECT_TRUE(plain.kfree_sized(p, shrunk));
    EXPECT_EQ(this->findings.size(), this->seen) << size << this->findings.text();
  }
  plain.flush_cpu();
}

// K25: kmalloc() remembers the size that was asked for, also by a nolock call that had to take the
// next class's object and to zero it. One byte more is an overflow, though the object is larger.
TYPED_TEST(SlabDebug, K25TheAskedForSizeIsWatched) {
  for (const bool nolock : {false, true})
    for (const std::size_t size : {100u, 128u, 129u, 4000u}) {
      auto& its_class = this->slabs->kmalloc_cache(this->slabs->class_of(size));
      if (nolock) its_class.fail_every(1);
      const auto take = [&] {
        auto* const p = static_cast<unsigned char*>(
            nolock ? this->slabs->kmalloc_nolock(size, gfp::zero)
                   : this->slabs->kmalloc(size, gfp::kernel | gfp::zero));
        EXPECT_EQ(this->slabs->ksize(p), size);
        for (std::size_t i = 0; i < size; ++i) EXPECT_EQ(p[i], 0) << "byte " << i << " of " << size;
        return p;
      };
      auto* p = take();
      std::memset(p, 0xff, size);
      EXPECT_TRUE(this->slabs->kfree(p));
      EXPECT_EQ(this->findings.size(), this->seen) << this->findings.text();
      p = take();
      p[size] = 1;
      EXPECT_TRUE(this->slabs->kfree(p));
      ASSERT_EQ(this->findings.size(), this->seen + 1) << this->findings.text();
      EXPECT_EQ(this->findings[this->seen].finding, Finding::overflow);
      EXPECT_EQ(this->findings[this->seen].lock, p);
      EXPECT_EQ(this->findings[this->seen++].detail == its_class.name(), !nolock);
      its_class.fail_every(0);
    }
}

// What krealloc() leaves where it is counts as asked for with the new size.
TYPED_TEST(SlabDebug, TheZoneFollowsKrealloc) {
  for (const std::size_t size : {128u, 1000u, 8192u}) {
    const std::size_t smaller = size - size / 4;
    for (const std::size_t last : {smaller, size - 1}) {
      auto* const p = static_cast<unsigned char*>(this->slabs->kmalloc(size, gfp::kernel));
      for (const std::size_t now : {smaller, size - 2, last}) {
        ASSERT_EQ(this->slabs->krealloc(p, now, gfp::kernel), p);
        EXPECT_EQ(this->slabs->ksize(p), now);
        std::memset(p, 0xff, now);
      }
      EXPECT_EQ(this->findings.size(), this->seen) << this->findings.text();
      p[last] = 1;
      EXPECT_TRUE(this->slabs->kfree(p));
      ASSERT_EQ(this->findings.size(), this->seen + 1) << this->findings.text();
      EXPECT_EQ(this->findings[this->seen].finding, Finding::overflow);
      EXPECT_EQ(this->findings[this->seen++].lock, p);
    }
  }
}

// Its poison stays whole: whoever gets the object next is told nothing wrong.
TYPED_TEST(SlabDebug, KreallocRefusesWhatIsFree) {
  auto& its_class = this->slabs->kmalloc_cache(this->slabs->class_of(100));
  for (const std::size_t size : {90u, 120u, 1000u}) {
    void* const p = this->slabs->kmalloc(100, gfp::kernel);
    EXPECT_TRUE(this->slabs->kfree(p));
    const auto before = its_class.stats().bad_frees;
    const unsigned line = __LINE__ + 1;
    EXPECT_EQ(this->slabs->krealloc(p, size, gfp::kernel), nullptr);
    EXPECT_EQ(its_class.stats().bad_frees, before + 1);
    ASSERT_EQ(this->findings.size(), this->seen + 1) << this->findings.text();
    EXPECT_EQ(this->findings[this->seen].finding, Finding::double_free);
    EXPECT_EQ(this->findings[this->seen].lock, p);
    this->expect_place(this->findings[this->seen++].here, line);
    EXPECT_EQ(this->slabs->kmalloc(100, gfp::kernel), p);
    EXPECT_TRUE(this->slabs->kfree(p));
  }
}

// A floor above asks for more than its own caller did, and says so.
TYPED_TEST(SlabDebug, TheAskedForSizeMayBeToldLater) {
  auto* const p = static_cast<unsigned char*>(this->slabs->kmalloc(64, gfp::kernel));
  EXPECT_TRUE(this->slabs->debug_resize(p, 0));
  EXPECT_TRUE(this->slabs->debug_resize(p, 64));
  EXPECT_FALSE(this->slabs->debug_resize(p, 65)) << "it has no room";
  EXPECT_FALSE(this->slabs->debug_resize(p + 8, 10)) << "no object begins there";
  EXPECT_TRUE(this->slabs->debug_resize(p, 50));
  p[50] = 1;
  EXPECT_TRUE(this->slabs->kfree(p));
  ASSERT_EQ(this->findings.size(), this->seen + 1) << this->findings.text();
  EXPECT_EQ(this->findings[this->seen++].finding, Finding::overflow);
  EXPECT_FALSE(this->slabs->debug_resize(p, 50)) << "it is free";
}

}  // namespace
}  // namespace nestlock::test_support
