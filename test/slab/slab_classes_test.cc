// Kind 12: the classes are a table that the embedder picks, and a free finds the class in a map of a
// byte a page.
#include <algorithm>
#include <bit>
#include <cstdint>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "nestlock/slab.h"
#include "nestlock/slab/classes.h"
#include "test/support/kernels.h"
#include "test/support/slab_floors.h"

namespace nestlock {
namespace {

using test_support::AllKernels;
using test_support::Floors;
using test_support::ignore;
using test_support::KernelName;

// As few as there may be.
struct PowersOfTwo {
  static constexpr std::uint32_t kSizes[] = {8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192};
};
struct NotAscending {
  static constexpr std::uint32_t kSizes[] = {8,   16,  32,   64,   128,  256,
                                             200, 512, 1024, 2048, 4096, 8192};
};
struct NoThirtyTwo {
  static constexpr std::uint32_t kSizes[] = {8, 16, 40, 64, 128, 256, 512, 1024, 2048, 4096, 8192};
};
struct Uneven {
  static constexpr std::uint32_t kSizes[] = {8,   16,  20,   32,   64,   128,
                                             256, 512, 1024, 2048, 4096, 8192};
};
struct TooSmall {
  static constexpr std::uint32_t kSizes[] = {8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096};
};
static_assert(internal::right_classes<KernelClasses>() && internal::right_classes<FineClasses>() &&
              internal::right_classes<PowersOfTwo>());
static_assert(!internal::right_classes<NotAscending>() && !internal::right_classes<NoThirtyTwo>() &&
              !internal::right_classes<Uneven>() && !internal::right_classes<TooSmall>());

template <class Classes>
void check_sizes(double most) {
  using Table = internal::ClassTable<Classes>;
  for (std::size_t size = 1; size <= Table::kLargest; ++size) {
    const unsigned i = Table::index_of(size);
    ASSERT_GE(Classes::kSizes[i], size);
    if (i == 0) continue;
    ASSERT_LT(Classes::kSizes[i - 1], size) << "the smallest that holds it";
    const double step = double{1} * Classes::kSizes[i] / Classes::kSizes[i - 1];
    if (size > 128) {
      ASSERT_LE(step, size > 1024 ? 1.25 : most) << size;
    }
  }
}

TEST(SlabClasses, EachSizeHasTheSmallestClassThatHoldsIt) {
  check_sizes<FineClasses>(1.125);
  using Kernel = internal::ClassTable<KernelClasses>;
  EXPECT_EQ(Kernel::kCount, 13u);
  EXPECT_EQ(Kernel::kNames.of[4], std::string("kmalloc-96"));
  EXPECT_EQ(Kernel::kNames.of[12], std::string("kmalloc-8k"));
  EXPECT_EQ(internal::ClassTable<FineClasses>::kNames.of[44], std::string("kmalloc-8k"));
  EXPECT_EQ(internal::ClassTable<FineClasses>::kNames.of[45], std::string("kmalloc-9k"));
  EXPECT_EQ(internal::ClassTable<FineClasses>::kNames.of[47], std::string("kmalloc-13056"));
  for (const std::uint32_t s : FineClasses::kSizes) EXPECT_TRUE(s == 8 || s % 16 == 0) << s;
  EXPECT_EQ(Kernel::index_of(193), 7u);
  EXPECT_EQ(Kernel::index_of(4097), 12u);
}

template <class K, class Classes>
struct FloorsOf {
  using Pages = BasicPageAllocator<K>;
  using Slabs = BasicSlabAllocator<K, policy::PerLockByte<K>, Classes>;
  FloorsOf() {
    EXPECT_EQ(pages.set_up({.start = test_support::memory(), .size = test_support::kMemory}),
              PageSetup::ok);
    EXPECT_TRUE(slabs.set_up(pages));
  }
  Pages& pages = *new Pages;
  Slabs& slabs = *new Slabs;
  ~FloorsOf() {
    delete &slabs;
    delete &pages;
  }
};

template <class K>
struct SlabClassMap : ::testing::Test {
  void SetUp() override { before_ = hosted::set_report_sink(ignore); }
  void TearDown() override { hosted::set_report_sink(before_); }
  hosted::ReportSink before_ = nullptr;
};
TYPED_TEST_SUITE(SlabClassMap, AllKernels, KernelName);

// Sizes of each class come and go, in tables of few and of many classes; what is free is nobody's.
template <class K, class Classes>
void load() {
  FloorsOf<K, Classes> f;
  auto& s = f.slabs;
  struct Block {
    unsigned char* at;
    std::size_t size;
  };
  std::vector<Block> live;
  std::mt19937 rng(12);
  for (int i = 0; i < 12000; ++i) {
    if (live.size() < 400 && rng() % 5 < 3) {
      const std::size_t size = 1 + (rng() % 4 ? rng() % 1100 : rng() % 12000);
      auto* const p = static_cast<unsigned char*>(i % 3 || size > kMaxKmalloc
                                                      ? s.kmalloc(size, gfp::kernel)
                                                      : s.kmalloc_nolock(size, gfp::none));
      if (!p) continue;
      ASSERT_GE(s.ksize(p), size);
      std::memset(p, static_cast<int>(size), size);
      live.push_back({p, size});
    } else if (!live.empty()) {
      std::swap(live[rng() % live.size()], live.back());
      const Block b = live.back();
      live.pop_back();
      for (const std::size_t at : {std::size_t{0}, b.size / 2, b.size - 1})
        ASSERT_EQ(b.at[at], static_cast<unsigned char>(b.size));
      ASSERT_TRUE(i % 2 ? s.kfree(b.at) : s.kfree_nolock(b.at));
    }
  }
  for (const Block& b : live) EXPECT_TRUE(s.kfree(b.at));
  EXPECT_TRUE(s.consistent());
  EXPECT_TRUE(f.pages.consistent());
  for (unsigned i = 0; i < s.kClasses; ++i) {
    const SlabStats t = s.kmalloc_cache(i).stats();
    EXPECT_EQ(t.allocs(), t.frees()) << s.kmalloc_cache(i).name();
  }
}
TYPED_TEST(SlabClassMap, AnyTableServes) {
  load<TypeParam, FineClasses>();
  load<TypeParam, PowersOfTwo>();
}

// The map says 0 for every page that is none of a class's slab: it is written when a slab is made and
// when it is given back.
TYPED_TEST(SlabClassMap, TheMapKnowsTheSlabsOfTheClassesAndNothingElse) {
  FloorsOf<TypeParam, FineClasses> f;
  auto& s = f.slabs;
  auto tag = [&](const void* p) {
    const auto tags = f.pages.tags();
    return tags.index(p) < tags.pages ? unsigned{tags.tag[tags.index(p)]} : 0;
  };
  for (unsigned i = 0; i < s.kClasses; ++i) {
    auto* const p = static_cast<char*>(s.kmalloc(s.class_size(i), gfp::kernel));
    EXPECT_EQ(tag(p), i + 1);
    EXPECT_EQ(tag(p + s.class_size(i) - 1), i + 1) << "in each page of the slab";
    EXPECT_TRUE(s.kfree(p));
    s.kmalloc_cache(i).shrink();
    EXPECT_EQ(tag(p), 0u) << "given back";
    EXPECT_FALSE(s.kfree(p)) << "a page of nobody's";
  }
  auto* const large = static_cast<char*>(s.kmalloc(20000, gfp::kernel));
  EXPECT_EQ(tag(large), 0u);
  auto* const own = s.create("own", 24);
  void* const object = own->alloc(gfp::kernel);
  EXPECT_EQ(tag(object), 0u);
  EXPECT_TRUE(s.kfree(object)) << "found by its page's descriptor";
  EXPECT_FALSE(s.kfree(large + 8));
  EXPECT_TRUE(s.kfree(large));
  EXPECT_TRUE(s.destroy(own));
  EXPECT_FALSE(s.kfree(&s));
}

// Slabs of several pages where these waste less: at most a 16th of a slab is no object, for each of its pages has been
// somebody else's before, and is resident.
TYPED_TEST(SlabClassMap, FineClassesWasteLittleOfASlab) {
  FloorsOf<TypeParam, FineClasses> f;
  auto& s = f.slabs;
  if (internal::kWithAsan) GTEST_SKIP() << "objects are larger for it";
  for (unsigned i = 0; i < s.kClasses; ++i) {
    void* const p = s.kmalloc(s.class_size(i), gfp::kernel);
    const auto* const page = f.pages.head_of(f.pages.page_of(p));
    const std::size_t slab = kPageSize << page->order(), size = s.class_size(i);
    EXPECT_LE(slab % size * 16, slab) << size;
    EXPECT_TRUE(s.kfree(p));
  }
}

// A nolock call makes no slab of more pages than a CPU's lists have, but of as many: it would get none at all, or such
// as hold one object each.
TYPED_TEST(SlabClassMap, ANolockCallMakesTheLargestSlabThatItCan) {
  FloorsOf<TypeParam, FineClasses> f;
  auto& s = f.slabs;
  unsigned larger = 0;
  for (unsigned i = 0; i < s.kClasses; ++i) {
    auto order = [&](void* p) { return f.pages.head_of(f.pages.page_of(p))->order(); };
    void* const nolock = s.kmalloc_nolock(s.class_size(i), gfp::none);
    ASSERT_NE(nolock, nullptr) << s.class_size(i);
    const unsigned has = order(nolock);
    EXPECT_TRUE(s.kfree(nolock));
    s.kmalloc_cache(i).shrink();
    void* const other = s.kmalloc(s.class_size(i), gfp::kernel);
    larger += order(other) >= kPcpOrders;
    EXPECT_EQ(has, std::min(order(other), kPcpOrders - 1)) << s.class_size(i);
    EXPECT_TRUE(s.kfree(other));
  }
  EXPECT_TRUE(larger || internal::kWithAsan || kPageSize > 4096) << "nothing was looked at";
}

// What is counted without a counter of frees: pops, pushes, and what moves in whole sheaves.
// Kind 13: the statistics add up, where frees are told from what lies in the sheaves.
TYPED_TEST(SlabClassMap, FreesAreCountedByWhatIsThere) {
  FloorsOf<TypeParam, KernelClasses> f;
  auto& s = f.slabs;
  auto& c = s.kmalloc_cache(s.class_of(1024));
  std::vector<void*> out;
  std::uintptr_t freed = 0;
  std::mt19937 rng(5);
  for (int i = 0; i < 4000; ++i) {
    if (rng() % 64 < 33 ? out.size() < 120 : out.empty()) {
      out.push_back(s.kmalloc(1024, gfp::kernel));
    } else if (!out.empty()) {
      ASSERT_TRUE(s.kfree(out.back()));
      out.pop_back();
      ++freed;
    }
    if (rng() % 97 == 0) c.shrink();
    if (rng() % 89 == 0) c.flush_cpu();
    ASSERT_EQ(c.stats().frees(), freed) << i;
    ASSERT_EQ(c.stats().allocs(), freed + out.size()) << i;
  }
  for (void* p : out) EXPECT_TRUE(s.kfree(p));
}

TYPED_TEST(SlabClassMap, AFreeBeforeSetUpIsRefused) {
  using Slabs = BasicSlabAllocator<TypeParam, policy::PerLockByte<TypeParam>, FineClasses>;
  auto* const s = new Slabs;
  int not_ours = 0;
  EXPECT_TRUE(s->kfree(nullptr));
  EXPECT_FALSE(s->kfree(&not_ours));
  EXPECT_FALSE(s->kfree_nolock(&not_ours));
  delete s;
}

}  // namespace
}  // namespace nestlock
