// With AddressSanitizer, as `bazel test --config=asan //test:slab_asan_test`: it is told which
// objects are free, in which cache ever, and which are not.
// Kind 13: AddressSanitizer and LeakSanitizer know the objects, and what only an object refers to is not lost.
#include <sanitizer/lsan_interface.h>

#include <cstdlib>
#include <cstring>

#include "gtest/gtest.h"
#include "nestlock/slab.h"
#include "nestlock/system_slab.h"
#include "test/support/kernels.h"

namespace nestlock::test_support {
namespace {

static_assert(nestlock::internal::kWithAsan);

template <class K>
class SlabAsan : public ::testing::Test {
 protected:
  static constexpr std::size_t kMemory = std::size_t{4} << 20;
  void SetUp() override {
    ASSERT_EQ(pages->set_up({.start = memory, .size = kMemory}), PageSetup::ok);
    ASSERT_TRUE(slabs->set_up(*pages));
  }
  void TearDown() override {
    std::free(memory);
    delete slabs;
    delete pages;
  }
  void* const memory = std::aligned_alloc(kMemory, kMemory);
  BasicPageAllocator<K>* const pages = new BasicPageAllocator<K>;
  BasicSlabAllocator<K>* const slabs = new BasicSlabAllocator<K>;
};
TYPED_TEST_SUITE(SlabAsan, AllKernels, KernelName);

constexpr const char* kFound = "use-after-poison";
char look(const void* p, std::size_t at) { return static_cast<const volatile char*>(p)[at]; }

TYPED_TEST(SlabAsan, WhatIsGivenMayBeUsedAllOfIt) {
  for (std::size_t size : {1, 8, 64, 100, 4096, 8192}) {
    void* const p = this->slabs->kmalloc(size, gfp::kernel);
    ASSERT_NE(p, nullptr);
    std::memset(p, 1, this->slabs->ksize(p));
    void* const q = this->slabs->kmalloc_nolock(size, gfp::zero);
    ASSERT_NE(q, nullptr);
    std::memset(q, 2, this->slabs->ksize(q));
    EXPECT_TRUE(this->slabs->kfree_nolock(p));
    EXPECT_TRUE(this->slabs->kfree(q));
    this->slabs->kmalloc_cache(this->slabs->class_of(size)).shrink();
  }
  // And what was a slab may be pages.
  for (int i = 0; i < 64; ++i) {
    auto* const p = this->pages->alloc_pages(gfp::kernel, 3);
    ASSERT_NE(p, nullptr);
    std::memset(this->pages->address(p), 3, kPageSize << 3);
  }
}

TYPED_TEST(SlabAsan, WhatIsFreeIsPoisoned) {
  for (std::size_t size : {8, 64, 4096}) {
    void* const p = this->slabs->kmalloc(size, gfp::kernel);
    EXPECT_TRUE(this->slabs->kfree(p));
    EXPECT_DEATH(look(p, 0), kFound);
    EXPECT_DEATH(look(p, size - 1), kFound);
    void* const q = this->slabs->kmalloc_nolock(size, gfp::none);
    EXPECT_TRUE(this->slabs->kfree_nolock(q));
    EXPECT_DEATH(look(q, size / 2), kFound);
    EXPECT_DEATH(this->slabs->kfree(q), kFound) << "a second free";
  }
}

TYPED_TEST(SlabAsan, TheBytePastTheEndIsPoisoned) {
  void* const p = this->slabs->kmalloc(256, gfp::kernel);
  EXPECT_DEATH(look(p, 256), kFound);
  EXPECT_TRUE(this->slabs->kfree(p));
}

TYPED_TEST(SlabAsan, AConstructedObjectTooAndItsContentsStay) {
  auto* const cache = this->slabs->create("constructed", 48, 0, slab::none,
                                          [](void* p) { std::memset(p, 0x5a, 48); });
  ASSERT_NE(cache, nullptr);
  void* const p = cache->alloc(gfp::kernel);
  EXPECT_EQ(look(p, 47), 0x5a);
  EXPECT_TRUE(cache->free(p));
  EXPECT_DEATH(look(p, 20), kFound);
  EXPECT_EQ(cache->alloc(gfp::kernel), p);
  EXPECT_EQ(look(p, 20), 0x5a);
  EXPECT_TRUE(cache->free(p));
  EXPECT_TRUE(this->slabs->destroy(cache));
}

// A thousand blocks of malloc(), to which only the object refers; of them LeakSanitizer finds none lost
// while the object is out.
struct Owner {
  void* block[1000];
};
constinit Owner* owner = nullptr;
[[gnu::noinline]] void own_blocks() {
  for (void*& b : owner->block) b = std::malloc(40);
}
// Which registers and the stack may still refer to: of some blocks, not of all.
bool any_lost() { return __lsan_do_recoverable_leak_check() != 0; }

TEST(SlabLsan, WhatAnObjectRefersToIsNotLost) {
  for (const std::size_t size : {sizeof(Owner), std::size_t{1} << 17, std::size_t{8} << 20}) {
    SCOPED_TRACE(size);
    owner = static_cast<Owner*>(system_slab().kmalloc(size, gfp::kernel));
    ASSERT_NE(owner, nullptr);
    own_blocks();
    EXPECT_FALSE(any_lost());
    if (size > sizeof(Owner)) {
      owner = static_cast<Owner*>(system_slab().krealloc(owner, 2 * size, gfp::kernel));
      ASSERT_NE(owner, nullptr);
      EXPECT_FALSE(any_lost());
    }
    for (void*& b : owner->block) std::free(b);
    EXPECT_TRUE(system_slab().kfree(owner));
  }
}

TEST(SlabLsan, WhatAnObjectReferredToThatIsFreeIsLost) {
  owner = static_cast<Owner*>(system_slab().kmalloc(sizeof(Owner), gfp::kernel));
  ASSERT_NE(owner, nullptr);
  own_blocks();
  void* kept[1000];
  std::memcpy(kept, owner->block, sizeof kept);
  for (void*& k : kept) k = reinterpret_cast<void*>(~reinterpret_cast<std::uintptr_t>(k));
  std::memset(owner, 0, sizeof(Owner));
  EXPECT_TRUE(any_lost());
  for (void*& k : kept) std::free(reinterpret_cast<void*>(~reinterpret_cast<std::uintptr_t>(k)));
  EXPECT_TRUE(system_slab().kfree(owner));
}

}  // namespace
}  // namespace nestlock::test_support
