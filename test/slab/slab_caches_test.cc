// Kind 11: growth. Created caches, and many of them: nothing that happens often, as a thread's end, goes through all of
// them. Who goes through all caches (slabinfo(), shrink_all(), flush_cpu()) beside those who create and destroy
// some: each that stays is come upon exactly once, and nobody waits for the whole way.
// Who empties a CPU's sheaves goes through those that it used.
#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstring>
#include <new>
#include <string>
#include <string_view>
#include <thread>
#include <type_traits>
#include <vector>

#include "gtest/gtest.h"
#include "nestlock/slab.h"
#include "test/support/kernels.h"
#include "test/support/slab_floors.h"

namespace nestlock {
namespace {

using test_support::Floors;
using test_support::HostedKernel;

unsigned times(std::string_view text, std::string_view name) {
  unsigned n = 0;
  for (std::size_t at = 0; (at = text.find(name, at)) != text.npos; ++at) ++n;
  return n;
}

template <class K>
struct Own : policy::PerLockByte<K> {};  // so that all is compiled here

template <class K>
struct SlabCaches : ::testing::Test {
  using Slabs = typename Floors<K, Own<K>>::Slabs;
  void SetUp() override { floors_.reset(); }
  Slabs& slabs() { return *floors_.slabs; }
  std::string table() {
    static thread_local char text[16'384];
    return {text, slabs().slabinfo(text, sizeof text)};
  }
  static Floors<K, Own<K>> floors_;
};
template <class K>
Floors<K, Own<K>> SlabCaches<K>::floors_;
using Several = ::testing::Types<HostedKernel<configs::smp>, HostedKernel<configs::smp_debug>,
                                 HostedKernel<configs::smp_rt>>;
TYPED_TEST_SUITE(SlabCaches, Several, test_support::KernelName);

// What goes up and down about a sheaf's end, wherever it began, does not exchange a sheaf each time.
TYPED_TEST(SlabCaches, ALoadAboutASheafsEndExchangesSeldom) {
  constexpr unsigned kSheaf = 14, kRounds = 200;
  auto* const c = this->slabs().create("up-and-down", 1024);
  ASSERT_NE(c, nullptr);
  for (unsigned level = 0; level <= 2 * kSheaf; ++level) {
    void* objects[4 * kSheaf];
    unsigned n = 0;
    while (n < 4 * kSheaf) objects[n++] = c->alloc(gfp::kernel);
    c->shrink();
    for (unsigned i = 0; i < 2 * kSheaf + level; ++i) {  // up over the first end, or both
      if (i >= 2 * kSheaf)
        objects[n++] = c->alloc(gfp::kernel);
      else
        EXPECT_TRUE(c->free(objects[--n]));
    }
    const SlabStats before = c->stats();
    for (unsigned i = 0; i < kRounds; ++i) {
      for (int k = 0; k < 2; ++k) objects[n++] = c->alloc(gfp::kernel);
      for (int k = 0; k < 2; ++k) EXPECT_TRUE(c->free(objects[--n]));
    }
    const SlabStats after = c->stats();
    EXPECT_LE(after.spare_swaps - before.spare_swaps, 2u) << level;
    EXPECT_EQ(after.allocs() - before.allocs(), 2 * kRounds);
    c->free_bulk(n, objects);
    c->shrink();
  }
  std::uintptr_t out = 1;
  EXPECT_TRUE(c->consistent(&out));
  EXPECT_EQ(out, 0u);
  EXPECT_TRUE(this->slabs().destroy(c));
}

// What goes up and down over more than two sheaves exchanges them with the barn, and no slow path has a share in it: the
// calls for front ends, which have none, serve all of it.
TYPED_TEST(SlabCaches, TheShortPathsReachTheBarn) {
  constexpr unsigned kSheaf = 14, kObjects = 4 * kSheaf;
  auto& s = this->slabs();
  const unsigned i = s.class_of(1024);
  auto& c = s.kmalloc_cache(i);
  void* objects[kObjects];
  for (void*& p : objects) ASSERT_NE(p = s.kmalloc(1024, gfp::kernel), nullptr);
  c.shrink();
  for (unsigned k = 0; k < kObjects; ++k) {
    if (k == 2 * kSheaf) c.flush_cpu();  // two full ones to the barn
    ASSERT_TRUE(s.kfree(objects[k]));
  }
  const SlabStats before = c.stats();
  for (void*& p : objects) {
    p = s.kmalloc_at_hand(i);
    if (!p) p = s.kmalloc_near(i);
    ASSERT_NE(p, nullptr);
  }
  EXPECT_EQ(s.kmalloc_near(i), nullptr) << "no more in the barn";
  // (A debug kernel looks closely at what is freed.)
  for (void* const p : objects)
    ASSERT_TRUE(s.kfree_at_hand(p) || (TypeParam::kConfig.debug ? s.kfree(p) : s.kfree_near(p)));
  EXPECT_FALSE(s.kfree_near(objects[kObjects - 1])) << "it lies on top";
  const SlabStats after = c.stats();
  EXPECT_EQ(after.allocs() - before.allocs(), kObjects);
  EXPECT_EQ(after.frees() - before.frees(), kObjects);
  EXPECT_EQ(after.barn_gets - before.barn_gets, 2u);
  EXPECT_EQ(after.barn_puts - before.barn_puts, 2u);
  EXPECT_EQ(after.refills + after.flushes, before.refills + before.flushes);
  c.shrink();
  std::uintptr_t out = 1;
  EXPECT_TRUE(c.consistent(&out));
  EXPECT_EQ(out, 0u);
}

// The pages of a slab for which the system has no memory yet are touched one by one as they are wanted, and a sheaf is
// filled with the objects of no more than one; with what was used before, by whomever, it is filled at once.
TYPED_TEST(SlabCaches, ANewSlabIsTouchedAsItIsWanted) {
  if (internal::kWithAsan) GTEST_SKIP() << "each object is poisoned beforehand";
  constexpr unsigned kObjects = 8, kPages = 4, kInPage = kObjects / kPages;
  constexpr unsigned char kMark = 0x5a;
  std::memset(test_support::memory(), kMark, test_support::kMemory);
  auto& f = this->floors_;
  f.pages = ::new (f.page_memory) std::remove_reference_t<decltype(*f.pages)>;
  f.slabs = ::new (f.slab_memory) typename TestFixture::Slabs;
  ASSERT_EQ(f.pages->set_up({.start = test_support::memory(),
                             .size = test_support::kMemory,
                             .commit = [](void*, std::size_t) noexcept { return true; }}),
            PageSetup::ok);
  ASSERT_TRUE(f.slabs->set_up(*f.pages));
  auto* const c = this->slabs().create("wanted", kPageSize / kInPage);
  ASSERT_NE(c, nullptr);
  const unsigned char* slab = nullptr;
  const auto touched = [&] {
    unsigned n = 0;
    for (unsigned i = 0; i < kPages; ++i) {
      const unsigned char* const page = slab + i * kPageSize;
      n += std::any_of(page, page + kPageSize, [](unsigned char b) { return b != kMark; });
    }
    return n;
  };
  void* objects[kObjects];
  for (unsigned i = 0; i < kObjects; ++i) {
    ASSERT_NE(objects[i] = c->alloc(gfp::kernel), nullptr);
    if (!slab)
      slab = reinterpret_cast<const unsigned char*>(reinterpret_cast<std::uintptr_t>(objects[0]) &
                                                    ~std::uintptr_t{kPages * kPageSize - 1});
    EXPECT_EQ(touched(), i / kInPage + 1) << i;
  }
  EXPECT_EQ(c->stats().slabs, 1u);
  EXPECT_EQ(c->stats().refills, kPages);
  for (const unsigned stays : {1u, 0u}) {
    for (unsigned i = stays; i < kObjects; ++i) EXPECT_TRUE(c->free(objects[i]));
    c->shrink();
    const SlabStats before = c->stats();
    EXPECT_EQ(before.slabs, stays);
    for (unsigned i = stays; i < kObjects; ++i)
      ASSERT_NE(objects[i] = c->alloc(gfp::kernel), nullptr);
    EXPECT_EQ(c->stats().slabs, 1u);
    EXPECT_EQ(c->stats().refills, before.refills + 1) << stays;
  }
  EXPECT_TRUE(c->consistent());
  c->free_bulk(kObjects, objects);
  EXPECT_TRUE(this->slabs().destroy(c));
}

TYPED_TEST(SlabCaches, ATableThatIsTooShortIsCutOff) {
  auto& s = this->slabs();
  for (const char* name : {"first", "second"}) ASSERT_NE(s.create(name, 64), nullptr);
  const std::string whole = this->table();
  EXPECT_EQ(times(whole, "first "), 1u);
  EXPECT_EQ(times(whole, "second "), 1u);
  for (std::size_t size :
       {std::size_t{1}, std::size_t{100}, whole.size() / 2, whole.size(), whole.size() + 1}) {
    std::vector<char> text(size + 1, '#');
    const std::size_t length = s.slabinfo(text.data(), size);
    EXPECT_EQ(length, std::min(size - 1, whole.size()));
    EXPECT_EQ(std::string(text.data(), length), whole.substr(0, length));
    EXPECT_EQ(text[size], '#');
  }
  EXPECT_EQ(s.slabinfo(nullptr, 0), 0u);
}

// More walk at once than have a place of their own.
TYPED_TEST(SlabCaches, WhoStaysIsMetOnceBesideWhoComesAndGoes) {
  auto& s = this->slabs();
  ASSERT_NE(s.create("first", 64), nullptr);
  constexpr unsigned kWalkers = 6, kRounds = 300;
  std::atomic<unsigned> walked{0};
  std::vector<std::thread> threads;
  for (unsigned i = 0; i < kWalkers; ++i)
    threads.emplace_back([&, i] {
      for (unsigned round = 0; round < kRounds; ++round) {
        if (i % 3 == 0) s.shrink_all();
        if (i % 3 == 1) s.flush_cpu();
        const std::string text = this->table();
        ASSERT_EQ(times(text, "first "), 1u) << text;
        for (const char* name : {"one ", "two ", "three "})
          ASSERT_LE(times(text, name), 1u) << text;
      }
      walked.fetch_add(1);
    });
  for (unsigned round = 0; walked.load() < kWalkers; ++round) {
    auto* const one = s.create("one", 64);
    auto* const two = s.create("two", 128);
    auto* const three = s.create("three", 256);
    ASSERT_TRUE(one && two && three);
    ASSERT_TRUE(s.destroy(round % 2 ? one : two));
    ASSERT_TRUE(s.destroy(three));
    ASSERT_TRUE(s.destroy(round % 2 ? two : one));
  }
  for (std::thread& t : threads) t.join();
  EXPECT_TRUE(s.consistent());
}

// Of sheaves that were emptied once, too: what a thread frees again is found again.
TYPED_TEST(SlabCaches, WhatEndsGivesBackWhatItUsed) {
  auto& s = this->slabs();
  std::vector<typename TestFixture::Slabs::Cache*> caches;
  for (int i = 0; i < 100; ++i) {
    caches.push_back(s.create("one of many", 64));
    ASSERT_NE(caches.back(), nullptr);
  }
  std::thread([&] {
    for (int round = 0; round < 3; ++round) {
      for (auto* c : {caches[0], caches[63], caches[64], caches[99]}) {
        void* const object = c->alloc(gfp::kernel);
        ASSERT_NE(object, nullptr);
        ASSERT_TRUE(c->free(object));
      }
      s.flush_cpu();
      std::thread([&] {  // has a CPU of its own
        for (auto* c : caches) {
          c->shrink();
          EXPECT_EQ(c->stats().slabs, 0u) << "round " << round;
        }
      })
          .join();
    }
  }).join();
}

TYPED_TEST(SlabCaches, NothingOfThemStays) {
  auto& s = this->slabs();
  const auto pages_out = [&] {
    s.shrink_all();
    const PageStats now = this->floors_.pages->stats(0);
    return now.committed - now.free - now.isolated - now.cached - now.parked;
  };
  const auto before = pages_out();
  for (int round = 0; round < 2; ++round) {
    std::vector<typename TestFixture::Slabs::Cache*> caches;
    for (int i = 0; i < 200; ++i) caches.push_back(s.create("one of many", 64));
    for (auto* c : caches) ASSERT_TRUE(c && c->free(c->alloc(gfp::kernel)));
    for (auto* c : caches) ASSERT_TRUE(s.destroy(c));
    EXPECT_EQ(pages_out(), before);
  }
}

struct Counting : NullObserver {
  static inline std::atomic<unsigned> taken{0};
  static void acquired(const LockRef&, bool) noexcept { taken.fetch_add(1); }
};
using Counted = KernelOf<configs::smp, HostedPort<configs::smp>, Counting>;

// A thread's end, which flush_cpu() is called at, goes through what it used.
TEST(SlabCachesUnused, CostAThreadsEndNothing) {
  static Floors<Counted, Own<Counted>> floors;
  floors.reset();
  auto& s = *floors.slabs;
  const auto locks_of_a_flush = [&] {
    const unsigned before = Counting::taken.load();
    s.flush_cpu();
    return Counting::taken.load() - before;
  };
  auto* const used = s.create("used", 64);
  ASSERT_NE(used, nullptr);
  for (int i = 0; i < 63; ++i)
    ASSERT_NE(s.create("unused", 64), nullptr);  // the first group is full
  const unsigned with_few = locks_of_a_flush();
  ASSERT_GT(with_few, 0u);
  for (int i = 0; i < 900; ++i) ASSERT_NE(s.create("unused", 64), nullptr);
  EXPECT_EQ(locks_of_a_flush(), with_few);
  s.shrink_all();
  EXPECT_EQ(locks_of_a_flush(), with_few) << "who looks through all uses none";
  ASSERT_TRUE(used->free(used->alloc(gfp::kernel)));
  EXPECT_GT(locks_of_a_flush(), with_few);
  EXPECT_EQ(locks_of_a_flush(), with_few);
}

}  // namespace
}  // namespace nestlock
