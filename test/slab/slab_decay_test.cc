// While free pages wait for their return to the system every allocation could look at the clock whether it is time, and
// none would take the fast path. Each ninth looks, and of many in a millisecond each 129th; in all eight kernels.
#include "gtest/gtest.h"
#include "nestlock/slab.h"
#include "test/support/kernels.h"
#include "test/support/slab_floors.h"

namespace nestlock {
namespace {

using test_support::AllKernels;
using test_support::Floors;
using test_support::KernelName;

struct System {
  static inline std::uint64_t time = 0;
  static inline unsigned looks = 0;
  static inline bool moves = true;  // with each look
  static std::uint64_t now() noexcept { return ++looks, moves ? ++time : time; }
  static bool takes(void*, std::size_t) noexcept { return true; }
};

template <class K>
struct SlabDecay : ::testing::Test {
  using Pages = typename Floors<K>::PageAlloc;
  // All of the memory is free and may be the system's to keep, so that it waits from the first free of a large block on.
  void SetUp() override {
    System::time = 1000;
    System::moves = true;
    pages = ::new (floors_.page_memory) Pages;
    slabs = ::new (floors_.slab_memory) typename Floors<K>::Slabs;
    ASSERT_EQ(pages->set_up({.start = test_support::memory(),
                             .size = test_support::kMemory,
                             .release = System::takes,
                             .now = System::now}),
              PageSetup::ok);
    ASSERT_TRUE(slabs->set_up(*pages));
    auto* const block = pages->alloc_pages(gfp::nowait, 8);
    ASSERT_TRUE(block && pages->free_pages(block, 8));
    pair();  // an object comes into the sheaf, and the first look is due
    pair();
  }
  void pair() { ASSERT_TRUE(slabs->kfree(slabs->kmalloc(64, gfp::kernel))); }
  std::uintptr_t released() const { return pages->stats(0).released; }

  Pages* pages = nullptr;
  typename Floors<K>::Slabs* slabs = nullptr;
  static Floors<K> floors_;
};
template <class K>
Floors<K> SlabDecay<K>::floors_;
TYPED_TEST_SUITE(SlabDecay, AllKernels, KernelName);

TYPED_TEST(SlabDecay, EachNinthAllocationLooksAtTheClock) {
  System::looks = 0;
  for (int i = 0; i < 900; ++i) this->pair();
  EXPECT_GE(System::looks, 99u);
  EXPECT_LE(System::looks, 101u);
  EXPECT_EQ(this->slabs->kmalloc_cache(this->slabs->class_of(64)).stats().allocs(), 902u);
}

TYPED_TEST(SlabDecay, OfManyInAMillisecondFewLookAtTheClock) {
  System::moves = false;
  for (int i = 0; i < 9; ++i) this->pair();  // the first look within it
  System::looks = 0;
  for (int i = 0; i < 10 * 129; ++i) this->pair();
  EXPECT_GE(System::looks, 10u);
  EXPECT_LE(System::looks, 11u);
  ++System::time;
  for (int i = 0; i < 129; ++i) this->pair();
  System::looks = 0;
  System::moves = true;
  for (int i = 0; i < 90; ++i) this->pair();
  EXPECT_GE(System::looks, 10u) << "as before";
}

TYPED_TEST(SlabDecay, WhatIsDueGoesBackBehindMany) {
  System::moves = false;
  for (int i = 0; i < 1000; ++i) this->pair();
  EXPECT_EQ(this->released(), 0u);
  System::time += kDecayMs;
  for (int i = 0; i < 129; ++i) this->pair();
  EXPECT_GT(this->released(), 0u);
}

TYPED_TEST(SlabDecay, WhatIsDueGoesBackWithinNineAllocations) {
  for (int i = 0; i < 100; ++i) this->pair();
  EXPECT_EQ(this->released(), 0u);
  System::time += kDecayMs;
  for (int i = 0; i < 9; ++i) this->pair();
  EXPECT_GT(this->released(), 0u);
}

// What lies in the sheaf is given as ever: the last that came is the first that goes.
TYPED_TEST(SlabDecay, TheNextObjectIsTheOneThatWasFreedLast) {
  for (int i = 0; i < 20; ++i) {
    void* const p = this->slabs->kmalloc(64, gfp::kernel);
    void* const q = this->slabs->kmalloc(64, gfp::kernel);
    ASSERT_NE(p, q);
    ASSERT_TRUE(this->slabs->kfree(q));
    EXPECT_EQ(this->slabs->kmalloc(64, gfp::kernel), q);
    ASSERT_TRUE(this->slabs->kfree(q) && this->slabs->kfree(p));
  }
  EXPECT_TRUE(this->slabs->consistent());
}

}  // namespace
}  // namespace nestlock
