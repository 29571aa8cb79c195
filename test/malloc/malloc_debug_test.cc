// What NESTLOCK_MALLOC=debug finds of a program's mistakes, and that it finds nothing else.
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <optional>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "nestlock/malloc.h"
#include "nestlock/system_slab.h"
#include "test/support/findings.h"

namespace nestlock {
namespace {

// The environment is read before main() begins, so the program sets it and starts anew.
[[maybe_unused]] const bool started_anew = [] {
  if (std::getenv("NESTLOCK_MALLOC")) return false;
  setenv("NESTLOCK_MALLOC", "debug", 1);
  std::ifstream file("/proc/self/cmdline");
  std::string line{std::istreambuf_iterator<char>(file), {}};
  std::vector<char*> arguments;
  for (std::size_t at = 0; at < line.size(); at += std::strlen(&line[at]) + 1)
    arguments.push_back(&line[at]);
  arguments.push_back(nullptr);
  execv("/proc/self/exe", arguments.data());
  std::abort();
}();

constexpr std::size_t kLargestClass = SystemSlabAllocator::kLargestClass;
constexpr std::size_t kMiB = std::size_t{1} << 20;

class MallocDebug : public ::testing::Test {
 protected:
  void SetUp() override { findings.emplace(); }
  void TearDown() override { expect_none(); }
  void expect_none() { EXPECT_EQ(findings->size(), 0u) << findings->text(); }
  void expect_overflow(const void* block, std::size_t at) {
    ASSERT_EQ(findings->size(), 1u) << at << ": " << findings->text();
    EXPECT_EQ((*findings)[0].finding, Finding::overflow);
    EXPECT_EQ((*findings)[0].lock, block);
    findings.emplace();
  }
  // A byte is written at `at`, and what frees the block finds it.
  void expect_watched(void* block, std::size_t at) {
    static_cast<unsigned char*>(block)[at] = 1;
    nestlock_free(block);
    expect_overflow(block, at);
  }
  std::optional<test_support::Findings> findings;
};

// The bytes up to `size` are the program's, and they are all that it may use.
void fill(void* block, std::size_t size) {
  std::memset(block, 0xff, size);
  EXPECT_EQ(nestlock_malloc_usable_size(block), size);
}

TEST_F(MallocDebug, TheByteBehindWhatWasAskedForIsWatched) {
  for (std::size_t size = 0; size <= kLargestClass; size += size < 40 ? 1 : size / 3) {
    for (void* const p : {nestlock_malloc(size), nestlock_calloc(1, size),
                          nestlock_realloc(nullptr, size), nestlock_aligned_alloc(16, size)}) {
      ASSERT_NE(p, nullptr);
      fill(p, size);
      expect_watched(p, size);
      if (HasFailure()) return;
    }
  }
  for (const std::size_t align : {32, 64, 1024})
    for (const std::size_t size : {0, 1, 100, 1000, 1024, 1025}) {
      void* const p = nestlock_aligned_alloc(align, size);
      fill(p, size);
      expect_watched(p, size);
    }
}

// Smaller by a little, so that it stays where it is, and larger as far as there is room.
TEST_F(MallocDebug, WhatReallocLeavesInPlaceIsWatchedUpToItsNewSize) {
  for (const std::size_t size : {16u, 17u, 100u, 128u, 1000u, 4096u, 9000u, 10240u}) {
    void* const p = nestlock_malloc(size);
    fill(p, size);
    const std::size_t smaller = size - size / 4;
    ASSERT_EQ(nestlock_realloc(p, smaller), p) << size;
    fill(p, smaller);
    ASSERT_EQ(nestlock_realloc(p, size), p) << size;
    fill(p, size);
    ASSERT_EQ(nestlock_realloc(p, smaller), p) << size;
    expect_none();
    expect_watched(p, smaller);
    // What was written before it grew is found when it grows: from then on the byte is the program's.
    auto* const q = static_cast<unsigned char*>(nestlock_malloc(size));
    ASSERT_EQ(nestlock_realloc(q, smaller), q) << size;
    q[smaller] = 1;
    ASSERT_EQ(nestlock_realloc(q, size), q) << size;
    expect_overflow(q, smaller);
    fill(q, size);
    expect_watched(q, size);
  }
}

TEST_F(MallocDebug, WhatReallocMovesIsWatchedUpToItsNewSize) {
  for (const std::size_t from : {0u, 1u, 100u, 1000u, 10240u, 20000u, 2u << 20})
    for (const std::size_t to : {0u, 1u, 100u, 1000u, 10240u}) {
      auto* p = static_cast<unsigned char*>(nestlock_malloc(from));
      std::memset(p, 0x11, from);
      p = static_cast<unsigned char*>(nestlock_realloc(p, to));
      ASSERT_NE(p, nullptr);
      for (std::size_t i = 0; i < from && i < to; ++i) ASSERT_EQ(p[i], 0x11) << from << ", " << to;
      fill(p, to);
      expect_watched(p, to);
    }
}

// Blocks of whole pages are not watched, small ones up to what was asked for.
TEST_F(MallocDebug, AllThatIsUsableMayBeWrittenTo) {
  for (const std::size_t size : {std::size_t{0}, std::size_t{1}, std::size_t{100}, kLargestClass,
                                 kLargestClass + 1, std::size_t{20000}, kMiB, kMiB + 1}) {
    void* p = nestlock_malloc(size);
    for (const std::size_t then : {size, size - size / 4, size + size / 8, size}) {
      p = nestlock_realloc(p, then);
      const std::size_t usable = nestlock_malloc_usable_size(p);
      EXPECT_GE(usable, then);
      std::memset(p, 0xff, usable);
    }
    nestlock_free(p);
  }
}

TEST_F(MallocDebug, WhatIsFreeIsNotChanged) {
  void* const p = nestlock_malloc(100);
  nestlock_free(p);
  for (const std::size_t size : {80u, 100u, 104u, 1000u})
    EXPECT_DEATH((void)!nestlock_realloc(p, size), "realloc\\(0x[0-9a-f]+\\): it is free already");
  EXPECT_DEATH((void)nestlock_malloc_usable_size(p), "usable_size\\(0x[0-9a-f]+\\): it is free");
}

// ---- free_sized() and its kin -------------------------------------------------------------------

struct Block {
  std::size_t align, size;
};
// The largest class, whole pages, and mappings; what is aligned takes a power of two.
const Block kBlocks[] = {{16, 0},          {16, 1},       {16, 100},      {16, kLargestClass},
                         {16, 20000},      {16, kMiB},    {16, kMiB + 1}, {16, 3 * kMiB},
                         {64, 0},          {64, 100},     {64, 5000},     {4096, 100},
                         {4096, 2 * kMiB}, {65536, 5000}, {2 * kMiB, 100}};
void* allocate(const Block& b) {
  return b.align == 16 ? nestlock_malloc(b.size) : nestlock_aligned_alloc(b.align, b.size);
}
void free_as(const Block& b, void* p, std::size_t size) {
  b.align == 16 ? nestlock_free_sized(p, size) : nestlock_free_aligned_sized(p, b.align, size);
}

TEST_F(MallocDebug, ASizedFreeKnowsItsSize) {
  for (const Block& b : kBlocks) free_as(b, allocate(b), b.size);
  for (const std::size_t size : {std::size_t{1}, std::size_t{100}, kLargestClass,
                                 kLargestClass + 100, std::size_t{20000}, kMiB + 1, 3 * kMiB})
    for (const std::size_t then : {size, size - size / 4, size / 8, size + 3, 3 * size})
      nestlock_free_sized(nestlock_realloc(nestlock_malloc(size), then), then);
  nestlock_free_sized(nullptr, 5);
  nestlock_free_aligned_sized(nullptr, 64, 5);
}

// Where nothing is at hand the reserve serves, and then mappings: of any size that is large enough.
TEST_F(MallocDebug, ASizedFreeKnowsWhatServedInAnEmergency) {
  const auto fail_every = [](std::uint32_t k) {
    for (unsigned i = 0; i < SystemSlabAllocator::kClasses; ++i)
      system_slab().kmalloc_cache(i).fail_every(k);
  };
  fail_every(1);
  const auto state = BuiltKernel::Port::irq_save();
  for (const Block& b : kBlocks) {
    void* blocks[300];  // more than the reserve has
    for (void*& p : blocks) p = b.size < kMiB ? allocate(b) : nullptr;
    for (void* const p : blocks) free_as(b, p, b.size);
  }
  BuiltKernel::Port::irq_restore(state);
  fail_every(0);
}

TEST_F(MallocDebug, ASizedFreeWithAnotherSizeEndsTheProcess) {
  for (const Block& b : kBlocks) {
    const std::string call = b.align == 16 ? "free_sized" : "free_aligned_sized";
    void* const p = allocate(b);
    const std::size_t usable = nestlock_malloc_usable_size(p);
    const bool watched = usable == b.size && b.size <= kLargestClass;
    const std::string is = watched ? std::to_string(usable) + " were asked for, allocated by "
                                   : "the block has " + std::to_string(usable);
    for (const std::size_t wrong :
         {b.size + 1, b.size - 1, 4 * b.size + 5 * 65536, SIZE_MAX, b.size / 2}) {
      if (wrong == b.size || (!watched && wrong <= usable)) continue;
      EXPECT_DEATH(free_as(b, p, wrong),
                   "nestlock malloc: " + call + "\\(0x[0-9a-f]+\\): freed as " +
                       std::to_string(wrong) + " bytes, but " + is + ".*, called by ");
    }
    free_as(b, p, b.size);
  }
  // Of what is not watched: half as much as there is.
  for (const std::size_t size : {std::size_t{20000}, kMiB, 3 * kMiB}) {
    void* const p = nestlock_malloc(size);
    EXPECT_DEATH(nestlock_free_sized(p, size / 2), "free_sized.*: freed as .* but the block has ");
    nestlock_free(p);
  }
  // The size is the last that was asked for.
  void* const p = nestlock_malloc(100);
  ASSERT_EQ(nestlock_realloc(p, 80), p);
  EXPECT_DEATH(nestlock_free_sized(p, 100), "freed as 100 bytes, but 80 were asked for");
  nestlock_free_sized(p, 80);
  EXPECT_DEATH(nestlock_free_sized(p, 5), "free_sized.*: no block begins there, or it is free");
}

}  // namespace
}  // namespace nestlock
