// The lean form of pages and slab (NESTLOCK_LEAN=1), compiled with this file, as a firmware has it: pages of 256
// bytes. What interrupts it after each instruction stands in examples/firmware.
#include <array>
#include <cstring>
#include <memory>
#include <random>
#include <vector>

#include "gtest/gtest.h"
#include "nestlock/slab.h"

namespace nestlock {
namespace {

static_assert(kLean && kPageSize == 256);
static_assert(kBuiltConfig.debug || sizeof(Page) == 8 + 2 * sizeof(void*));

constexpr std::size_t kMemory = 64 * 1024;

// The library's own locks with a gate that a test can shut: as a context that may not try.
bool gate_shut = false;
struct Gated : policy::PerLockByte<LibraryKernel> {
  static bool may_try() noexcept { return !gate_shut; }
};

template <class P, class S>
struct Allocators {
  using Pages = P;
  using Slabs = S;
  Allocators() {
    EXPECT_EQ(pages->set_up({.start = memory.get(), .size = kMemory}), PageSetup::ok);
    EXPECT_TRUE(slabs->set_up(*pages));
    slabs->shrink_all();
    pages->drain_all_pages();
    free_at_first = free();
  }
  std::size_t free() const { return pages->stats(0).free; }
  // All is back.
  ~Allocators() {
    EXPECT_TRUE(slabs->consistent());
    slabs->shrink_all();
    pages->drain_all_pages();
    EXPECT_TRUE(pages->consistent());
    EXPECT_EQ(free(), free_at_first);
  }
  std::unique_ptr<unsigned char[]> memory{new unsigned char[kMemory]};
  std::unique_ptr<Pages> pages{new Pages};
  std::unique_ptr<Slabs> slabs{new Slabs};
  std::size_t free_at_first = 0;
};
using Plain = Allocators<PageAllocator, SlabAllocator>;
using WithGate =
    Allocators<BasicPageAllocator<LibraryKernel, Gated>, BasicSlabAllocator<LibraryKernel, Gated>>;

TEST(LeanPages, RefusesWhatItLeavesOut) {
  auto pages = std::make_unique<PageAllocator>();
  std::vector<unsigned char> memory(kMemory);
  EXPECT_EQ(pages->alloc_pages(gfp::kernel, 0), nullptr) << "not set up";
  EXPECT_EQ(pages->set_up({.start = memory.data(), .size = kMemory, .nodes = 2}),
            PageSetup::bad_nodes);
  const auto commit = [](void*, std::size_t) noexcept { return true; };
  EXPECT_EQ(pages->set_up({.start = memory.data(), .size = kMemory, .commit = commit}),
            PageSetup::commit_failed);
  // More pages than 16 bits tell apart: nothing of it is touched.
  std::vector<unsigned char> descriptors(PageAllocator::descriptor_bytes(std::size_t{1} << 14));
  EXPECT_EQ(pages->set_up({.start = memory.data(),
                           .size = std::size_t{1} << 25,
                           .descriptors = descriptors.data()}),
            PageSetup::too_small);
  EXPECT_EQ(pages->set_up({.start = memory.data(), .size = kMemory}), PageSetup::ok);
  EXPECT_EQ(pages->set_up({.start = memory.data(), .size = kMemory}), PageSetup::already);
}

TEST(LeanPages, GivesEachPageOnceAndMergesThemAgain) {
  Plain a;
  std::mt19937 random(1);
  struct Block {
    Page* page;
    unsigned order;
    unsigned char stamp;
  };
  std::vector<Block> out;
  auto bytes = [&](const Block& b) {
    return static_cast<unsigned char*>(a.pages->address(b.page));
  };
  std::size_t most = 0;
  for (int i = 0; i < 20000; ++i) {
    if (random() % 5 < 3) {
      Block b{nullptr, static_cast<unsigned>(random() % 4), static_cast<unsigned char>(random())};
      b.page = random() % 2 ? a.pages->alloc_pages(gfp::kernel, b.order)
                            : a.pages->alloc_pages_nolock(gfp::none, b.order);
      if (!b.page) continue;
      std::memset(bytes(b), b.stamp, kPageSize << b.order);
      ASSERT_EQ(reinterpret_cast<std::uintptr_t>(bytes(b)) % (kPageSize << b.order), 0u);
      out.push_back(b);
      most = std::max(most, out.size());
    } else if (!out.empty()) {
      std::swap(out[random() % out.size()], out.back());
      const Block b = out.back();
      out.pop_back();
      for (std::size_t k = 0; k < kPageSize << b.order; ++k) ASSERT_EQ(bytes(b)[k], b.stamp);
      ASSERT_TRUE(random() % 2 ? a.pages->free_pages(b.page, b.order)
                               : a.pages->free_pages_nolock(b.page, b.order));
    }
    if (i % 1000 == 0) {
      ASSERT_TRUE(a.pages->consistent());
    }
  }
  EXPECT_GT(most, 20u);
  for (const Block& b : out) EXPECT_TRUE(a.pages->free_pages(b.page, b.order));
}

// What debug configurations report is expected while one lives.
unsigned reports = 0;
struct Told {
  hosted::ReportSink before = hosted::set_report_sink([](const Report&) noexcept { ++reports; });
  Told() { reports = 0; }
  ~Told() {
    hosted::set_report_sink(before);
    EXPECT_EQ(reports > 0, kBuiltConfig.debug);
  }
};

TEST(LeanPages, RefusesBadFrees) {
  const Told told;
  Plain a;
  Page* const p = a.pages->alloc_pages(gfp::kernel, 1);
  ASSERT_NE(p, nullptr);
  EXPECT_FALSE(a.pages->free_pages(p, 0)) << "another order";
  EXPECT_FALSE(a.pages->free_pages(p, 17)) << "none";
  EXPECT_FALSE(a.pages->free_pages(nullptr, 0));
  EXPECT_TRUE(a.pages->free_pages(p, 1));
  EXPECT_FALSE(a.pages->free_pages(p, 1)) << "a second time";
  EXPECT_FALSE(a.pages->free_pages_nolock(p, 1));
}

TEST(LeanPages, ParksWhatNoLockIsToBeHadFor) {
  WithGate a;
  std::vector<BasicPage<LibraryKernel>*> out;
  for (int i = 0; i < 100; ++i) out.push_back(a.pages->alloc_pages(gfp::kernel, 0));
  gate_shut = true;
  EXPECT_EQ(a.pages->alloc_pages_nolock(gfp::none, 0), nullptr);
  for (auto* p : out) EXPECT_TRUE(a.pages->free_pages_nolock(p, 0));
  gate_shut = false;
  EXPECT_EQ(a.pages->stats(0).parked, 100u);
  EXPECT_TRUE(a.pages->consistent());
  auto* const p = a.pages->alloc_pages(gfp::kernel, 0);
  EXPECT_LT(a.pages->stats(0).parked, 100u) << "a call that may spin puts some back";
  EXPECT_TRUE(a.pages->free_pages(p, 0));
}

// Objects of all sizes, by both kinds of calls.
TEST(LeanSlab, GivesEachObjectOnce) {
  Plain a;
  std::mt19937 random(2);
  struct Object {
    unsigned char* at;
    std::size_t size;
    unsigned char stamp;
  };
  std::vector<Object> out;
  std::size_t refused = 0;
  for (int i = 0; i < 50000; ++i) {
    if (random() % 9 < 5) {
      Object o{nullptr, 1 + random() % (random() % 20 ? 300 : 3000),
               static_cast<unsigned char>(random())};
      o.at = static_cast<unsigned char*>(random() % 2 ? a.slabs->kmalloc(o.size, gfp::kernel)
                                                      : a.slabs->kmalloc_nolock(o.size, gfp::none));
      if (!o.at) {
        ++refused;
        continue;
      }
      ASSERT_GE(a.slabs->ksize(o.at), o.size);
      std::memset(o.at, o.stamp, o.size);
      out.push_back(o);
    } else if (!out.empty()) {
      std::swap(out[random() % out.size()], out.back());
      const Object o = out.back();
      out.pop_back();
      for (std::size_t k = 0; k < o.size; ++k) ASSERT_EQ(o.at[k], o.stamp);
      ASSERT_TRUE(random() % 2 ? a.slabs->kfree(o.at) : a.slabs->kfree_nolock(o.at));
    }
  }
  EXPECT_GT(refused, 0u) << "memory never ran short";
  for (const Object& o : out) EXPECT_TRUE(a.slabs->kfree(o.at));
}

TEST(LeanSlab, KeepsContentsAndAlignment) {
  Plain a;
  for (std::size_t size = 8; size <= 4096; size *= 2) {
    void* const p = a.slabs->kmalloc(size, gfp::kernel);
    ASSERT_NE(p, nullptr);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(p) % size, 0u) << size;
    EXPECT_TRUE(a.slabs->kfree(p));
  }
  auto* p = static_cast<char*>(a.slabs->kzalloc(20, gfp::kernel));
  ASSERT_NE(p, nullptr);
  for (int i = 0; i < 20; ++i) EXPECT_EQ(p[i], 0);
  std::strcpy(p, "kept");
  for (const std::size_t size : {100u, 2000u, 5000u, 9u}) {
    p = static_cast<char*>(a.slabs->krealloc(p, size, gfp::kernel));
    ASSERT_NE(p, nullptr);
    EXPECT_STREQ(p, "kept") << size;
  }
  EXPECT_TRUE(a.slabs->kfree(p));
  EXPECT_EQ(a.slabs->kmalloc(std::size_t{1} << 30, gfp::kernel), nullptr);
}

TEST(LeanSlab, RefusesBadFrees) {
  const Told told;
  Plain a;
  auto* const p = static_cast<char*>(a.slabs->kmalloc(32, gfp::kernel));
  EXPECT_FALSE(a.slabs->kfree(p + 8)) << "inside an object";
  EXPECT_FALSE(a.slabs->kfree(&a)) << "not ours";
  EXPECT_TRUE(a.slabs->kfree(p));
  EXPECT_FALSE(a.slabs->kfree(p)) << "a second time";
  EXPECT_FALSE(a.slabs->kfree_nolock(p));
}

TEST(LeanSlab, CachesOfTheProgramsOwn) {
  Plain a;
  EXPECT_EQ(a.slabs->create("watched", 24, 0, slab::debug), nullptr) << "left out";
  KmemCache* const c = a.slabs->create("own", 24);
  ASSERT_NE(c, nullptr);
  std::array<void*, 100> out{};
  ASSERT_EQ(c->alloc_bulk(gfp::kernel, out.size(), out.data()), out.size());
  EXPECT_FALSE(a.slabs->destroy(c)) << "objects are out";
  void* const other = a.slabs->kmalloc(24, gfp::kernel);
  if (!kBuiltConfig.debug) {
    EXPECT_FALSE(c->free(other)) << "of another cache";
    EXPECT_FALSE(a.slabs->destroy(static_cast<KmemCache*>(other))) << "no cache";
  }
  EXPECT_TRUE(a.slabs->kfree(other));
  c->free_bulk(out.size(), out.data());
  EXPECT_TRUE(a.slabs->destroy(c));
  EXPECT_TRUE(a.slabs->destroy(nullptr));
}

TEST(LeanSlab, DefersWhatNoLockIsToBeHadFor) {
  WithGate a;
  std::vector<void*> out;
  for (int i = 0; i < 100; ++i) out.push_back(a.slabs->kmalloc(40, gfp::kernel));
  gate_shut = true;
  SlabRefusal why{};
  EXPECT_EQ(a.slabs->kmalloc_nolock(40, gfp::none, kAnyNode, &why), nullptr);
  EXPECT_EQ(why, SlabRefusal::gate);
  for (void* p : out) EXPECT_TRUE(a.slabs->kfree_nolock(p));
  gate_shut = false;
  for (int i = 0; i < 10 && !a.slabs->settle(); ++i) continue;
  EXPECT_TRUE(a.slabs->settle()) << "nothing waits any more";
}

// Where the program ends up with nothing, what caches keep of empty slabs is given back.
TEST(LeanSlab, TheLastPageIsFound) {
  Plain a;
  std::vector<void*> objects;
  while (void* const p = a.slabs->kmalloc(64, gfp::kernel)) objects.push_back(p);
  for (void* const p : objects) EXPECT_TRUE(a.slabs->kfree(p));
  std::vector<Page*> all;
  while (Page* const p = a.pages->alloc_pages(gfp::kernel, 0)) all.push_back(p);
  EXPECT_GE(all.size() + 1, a.free_at_first);  // (a page stays below the watermark)
  for (Page* const p : all) EXPECT_TRUE(a.pages->free_pages(p, 0));
}

}  // namespace
}  // namespace nestlock
