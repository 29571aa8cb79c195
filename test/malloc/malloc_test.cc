// What malloc's functions promise, under their own names, in one program with the slab floor.
#include "nestlock/malloc.h"

#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <thread>
#include <vector>

#include "gtest/gtest.h"
#include "nestlock/system_slab.h"

namespace nestlock {
namespace {

constexpr std::size_t kMiB = std::size_t{1} << 20;
const std::size_t kSizes[] = {
    0,    1,    8,    15,   16,   17,    24,    63,   64,       65,       100,           192,
    1000, 1024, 1025, 8192, 8193, 20000, 65536, kMiB, kMiB + 1, 3 * kMiB, 5 * kMiB + 123};

unsigned char pattern(const void* p, std::size_t i) {
  return static_cast<unsigned char>((reinterpret_cast<std::uintptr_t>(p) >> 4) + i * 7);
}
void fill(void* p, std::size_t size) {
  for (std::size_t i = 0; i < size; ++i) static_cast<unsigned char*>(p)[i] = pattern(p, i);
}
// `as`: the block that it was filled as.
bool is_filled(const void* p, std::size_t size, const void* as) {
  for (std::size_t i = 0; i < size; ++i)
    if (static_cast<const unsigned char*>(p)[i] != pattern(as, i)) return false;
  return true;
}

TEST(Malloc, BlocksAreAlignedAndDoNotOverlap) {
  std::vector<std::pair<void*, std::size_t>> blocks;
  for (int round = 0; round < 3; ++round) {
    for (const std::size_t size : kSizes) {
      void* const p = nestlock_malloc(size);
      ASSERT_NE(p, nullptr) << size;
      EXPECT_EQ(reinterpret_cast<std::uintptr_t>(p) % 16, 0u) << size;
      EXPECT_GE(nestlock_malloc_usable_size(p), size);
      fill(p, size);
      blocks.emplace_back(p, size);
    }
  }
  for (const auto& [p, size] : blocks) {
    EXPECT_TRUE(is_filled(p, size, p)) << size;
    nestlock_free(p);
  }
}

TEST(Malloc, AllThatIsUsableMayBeWrittenTo) {
  std::vector<void*> blocks;
  for (const std::size_t size : kSizes) blocks.push_back(nestlock_malloc(size));
  for (void* const p : blocks) fill(p, nestlock_malloc_usable_size(p));
  for (void* const p : blocks) {
    EXPECT_TRUE(is_filled(p, nestlock_malloc_usable_size(p), p));
    nestlock_free(p);
  }
  EXPECT_EQ(nestlock_malloc_usable_size(nullptr), 0u);
}

TEST(Malloc, CallocIsZeroWhereMemoryWasUsed) {
  for (const std::size_t size : kSizes) {
    void* const was = nestlock_malloc(size);
    std::memset(was, 0xff, nestlock_malloc_usable_size(was));
    nestlock_free(was);
    auto* const p = static_cast<unsigned char*>(nestlock_calloc(size, 1));
    ASSERT_NE(p, nullptr);
    for (std::size_t i = 0; i < size; ++i) ASSERT_EQ(p[i], 0) << size << " at " << i;
    nestlock_free(p);
  }
}

// What the system has just given, or given anew, is zero: it is not written, and so takes no memory before it is used.
TEST(Malloc, CallocTouchesOnlyWhatWasUsed) {
  prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0);  // who touches a page gets no neighbours with it
  for (const std::size_t size : {4 * kPageSize, 19 * kPageSize, kMiB / 2, kMiB}) {
    std::size_t resident[2], wrong = 0;
    for (const bool used : {false, true, false}) {
      if (!used) nestlock_malloc_trim(0);
      auto* const p = static_cast<unsigned char*>(nestlock_calloc(size, 1));
      ASSERT_NE(p, nullptr);
      std::vector<unsigned char> there(size / 4096);
      ASSERT_EQ(mincore(p, size, there.data()), 0);
      resident[used] = 0;
      for (const unsigned char t : there) resident[used] += t & 1;
      for (std::size_t i = 0; i < size; ++i) wrong += p[i] != 0;
      std::memset(p, 0xff, size);
      nestlock_free(p);
    }
    EXPECT_EQ(resident[false], 0u) << size;
    EXPECT_GT(resident[true], 0u) << size << ": what was freed serves first";
    EXPECT_EQ(wrong, 0u) << size;
  }
  prctl(PR_SET_THP_DISABLE, 0, 0, 0, 0);
}

TEST(Malloc, ReallocKeepsTheContents) {
  for (const std::size_t from : kSizes) {
    for (const std::size_t to : kSizes) {
      void* const p = nestlock_malloc(from);
      fill(p, from);
      void* const was = p;
      void* const q = nestlock_realloc(p, to);
      ASSERT_NE(q, nullptr);
      EXPECT_EQ(reinterpret_cast<std::uintptr_t>(q) % 16, 0u);
      EXPECT_GE(nestlock_malloc_usable_size(q), to);
      EXPECT_TRUE(is_filled(q, from < to ? from : to, was)) << from << " to " << to;
      nestlock_free(q);
    }
  }
}

TEST(Malloc, ReallocMovesLargeBlocksAndForgetsWhereTheyWere) {
  const std::size_t mapped = nestlock_malloc_counts().mapped;
  void* p = nestlock_malloc(2 * kMiB);
  const void* const first = p;
  fill(p, 64);
  for (std::size_t size = 4 * kMiB; size <= 64 * kMiB; size *= 2) {
    void* const wall = nestlock_malloc(2 * kMiB);  // perhaps in the way of growth in place
    p = nestlock_realloc(p, size);
    ASSERT_NE(p, nullptr);
    EXPECT_EQ(nestlock_malloc_counts().mapped, mapped + size + 2 * kMiB);
    EXPECT_EQ(nestlock_malloc_usable_size(p), size);
    nestlock_free(wall);
  }
  static_cast<char*>(p)[64 * kMiB - 1] = 1;
  p = nestlock_realloc(p, 100);
  EXPECT_TRUE(is_filled(p, 64, first));
  EXPECT_EQ(nestlock_malloc_counts().mapped, mapped) << "small again: none of it is left mapped";
  nestlock_free(p);
}

TEST(Malloc, WhatCannotBeIsNullAndLeavesTheBlock) {
  const std::size_t too_much = std::size_t{PTRDIFF_MAX} + 1;
  volatile std::size_t half = SIZE_MAX / 2 + 2;  // the compiler must not judge it
  void* const p = nestlock_malloc(100);
  fill(p, 100);
  const auto refused = [](void* q) {
    const bool right = q == nullptr && errno == ENOMEM;
    errno = 0;
    return right;
  };
  errno = 0;
  EXPECT_TRUE(refused(nestlock_malloc(too_much)));
  EXPECT_TRUE(refused(nestlock_malloc(SIZE_MAX)));
  EXPECT_TRUE(refused(nestlock_malloc(std::size_t{PTRDIFF_MAX} - 100)));
  EXPECT_TRUE(refused(nestlock_calloc(half, 2)));
  EXPECT_TRUE(refused(nestlock_realloc(p, too_much)));
  EXPECT_TRUE(refused(nestlock_reallocarray(p, half, 2)));
  EXPECT_TRUE(refused(nestlock_aligned_alloc(64, too_much)));
  EXPECT_TRUE(refused(nestlock_aligned_alloc(too_much, 64)));
  EXPECT_TRUE(refused(nestlock_pvalloc(SIZE_MAX)));
  void* out = p;
  EXPECT_EQ(nestlock_posix_memalign(&out, 64, too_much), ENOMEM);
  EXPECT_EQ(out, p);
  EXPECT_EQ(errno, 0) << "posix_memalign answers by its result";
  EXPECT_TRUE(is_filled(p, 100, p));
  nestlock_free(p);
}

TEST(Malloc, AlignmentsOfEverySize) {
  for (std::size_t align = 1; align <= 16 * kMiB; align *= 2) {
    for (const std::size_t size : {std::size_t{1}, std::size_t{100}, std::size_t{5000}, kMiB + 5}) {
      void* const p = nestlock_aligned_alloc(align, size);
      ASSERT_NE(p, nullptr) << align << ", " << size;
      EXPECT_EQ(reinterpret_cast<std::uintptr_t>(p) % align, 0u);
      fill(p, size);
      EXPECT_TRUE(is_filled(p, size, p));
      nestlock_free_aligned_sized(p, align, size);
    }
  }
  void* const page = nestlock_valloc(10);
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(page) % kPageSize, 0u);
  void* const pages = nestlock_pvalloc(kPageSize + 1);
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(pages) % kPageSize, 0u);
  EXPECT_GE(nestlock_malloc_usable_size(pages), 2 * kPageSize);
  nestlock_free(page);
  nestlock_free(pages);
}

TEST(Malloc, OtherAlignmentsAreRefused) {
  for (const std::size_t align : {std::size_t{0}, std::size_t{3}, std::size_t{24}, SIZE_MAX}) {
    errno = 0;
    EXPECT_EQ(nestlock_aligned_alloc(align, 100), nullptr);
    EXPECT_EQ(errno, EINVAL);
    errno = 0;
    EXPECT_EQ(nestlock_memalign(align, 100), nullptr);
    EXPECT_EQ(errno, EINVAL);
    void* p = nullptr;
    EXPECT_EQ(nestlock_posix_memalign(&p, align, 100), EINVAL);
  }
  void* p = nullptr;
  EXPECT_EQ(nestlock_posix_memalign(&p, 4, 100), EINVAL) << "less than a pointer";
}

TEST(Malloc, FreeKeepsErrno) {
  for (const std::size_t size : kSizes) {
    void* const p = nestlock_malloc(size);
    errno = 1234;
    nestlock_free(p);
    EXPECT_EQ(errno, 1234) << size;
  }
  nestlock_free(nullptr);
  EXPECT_EQ(errno, 1234);
}

TEST(Malloc, WhatIsFreedIsUsedAgain) {
  const std::size_t committed = nestlock_malloc_counts().committed;
  for (int i = 0; i < 100000; ++i) {
    void* const p = nestlock_malloc(4000);
    static_cast<char*>(p)[0] = 1;
    nestlock_free_sized(p, 4000);
  }
  EXPECT_LE(nestlock_malloc_counts().committed, committed + 4 * kMiB);
}

TEST(Malloc, FreedOnAnotherThread) {
  constexpr int kBlocks = 20000;
  std::vector<void*> blocks(kBlocks);
  std::thread([&] {
    for (int i = 0; i < kBlocks; ++i) {
      blocks[i] = nestlock_malloc(i % 3000);
      if (blocks[i]) fill(blocks[i], i % 3000);
    }
  }).join();
  for (int i = 0; i < kBlocks; ++i) {
    ASSERT_TRUE(blocks[i] && is_filled(blocks[i], i % 3000, blocks[i]));
    nestlock_free(blocks[i]);
  }
}

// The guarantee of docs/malloc.md, as a number. A handler that interrupted a locked section finds irqs masked;
// what the slab allocator could still give it is made to fail.
TEST(Malloc, TheReserveServesWhereNothingElseMay) {
  constexpr std::size_t kReserved[] = {64, 256, 1024, 8192};
  constexpr unsigned kEach = 64;
  const auto fail_every = [](std::uint32_t k) {
    for (unsigned i = 0; i < SystemSlabAllocator::kClasses; ++i)
      system_slab().kmalloc_cache(i).fail_every(k);
  };
  for (int round = 0; round < 2; ++round) {  // what was freed is there again
    std::vector<std::pair<void*, std::size_t>> blocks;
    blocks.reserve(kEach * std::size(kReserved) + 1);
    const std::size_t taken = nestlock_malloc_counts().reserve_taken;
    const std::size_t mapped = nestlock_malloc_counts().mapped_blocks;
    fail_every(1);
    const auto state = BuiltKernel::Port::irq_save();
    for (const std::size_t size : kReserved) {
      for (unsigned i = 0; i < kEach; ++i) {
        void* const p = size == 256 ? nestlock_aligned_alloc(size, size) : nestlock_malloc(size);
        blocks.emplace_back(p, size);
        if (p) fill(p, size);
      }
    }
    const std::size_t served = nestlock_malloc_counts().reserve_taken - taken;
    blocks.emplace_back(nestlock_malloc(10), 10);  // none is left for it
    const std::size_t beyond = nestlock_malloc_counts().mapped_blocks - mapped;
    bool right = true;
    for (const auto& [p, size] : blocks) {
      right &= p && reinterpret_cast<std::uintptr_t>(p) % (size == 256 ? 256 : 16) == 0;
      right &= p && (size == 10 || is_filled(p, size, p));
      right &= p && nestlock_malloc_usable_size(p) >= size;
      if (size > 10) right &= nestlock_realloc(p, size) == p;  // it has room
      nestlock_free(p);
    }
    BuiltKernel::Port::irq_restore(state);
    fail_every(0);
    EXPECT_TRUE(right);
    EXPECT_EQ(served, kEach * std::size(kReserved));
    EXPECT_EQ(beyond, 1u);
    EXPECT_EQ(nestlock_malloc_counts().mapped_blocks, mapped);
  }
}

// Whatever a program still calls: what it freed before goes back to the system. It waits for that, for ever if
// nobody looks.
TEST(Malloc, CallsForLargeBlocksAndFreesLetMemoryGoBack) {
  constexpr std::size_t kBlock = 64 * 1024, kBlocks = 1024;
  system_pages().set_decay(50);
  const auto released = [] { return system_pages().stats(0).released; };
  for (const bool large : {true, false}) {
    std::vector<void*> blocks(kBlocks), others(2'000);
    for (void*& p : blocks) std::memset(p = nestlock_malloc(kBlock), 1, kBlock);
    for (void*& p : others) p = large ? nullptr : nestlock_malloc(kBlock);
    const std::uintptr_t before = released();
    for (void* const p : blocks) nestlock_free(p);  // in less time than that
    std::size_t i = 0;
    for (; released() == before && i < others.size(); ++i) {
      if (large)
        nestlock_free(nestlock_malloc(2 * kMiB));
      else
        nestlock_free(others[i]);
      usleep(1000);
    }
    EXPECT_GT(released(), before) << (large ? "large blocks" : "frees");
    for (; i < others.size(); ++i) nestlock_free(others[i]);
  }
  system_pages().set_decay(kDecayMs);
}

// Vectors that grow beyond the largest block of the range, an aligned block, and blocks that find the free ones
// too small: the pages that they come from, or lie beside, do not stay.
TEST(Malloc, TheProcessGrowsByWhatItNeedsAndNotByWhatLiesIdle) {
  const auto idle = [] {
    const PageStats s = system_pages().stats(0);
    return (s.free - s.clean) << kPageShift;
  };
  const auto much = [] {
    const PageStats s = system_pages().stats(0);
    return (kDecayKeeps + (s.committed - s.free) / 8) << kPageShift;
  };
  nestlock_malloc_trim(0);
  std::vector<void*> blocks(64);
  for (const bool aligned : {false, true}) {
    for (void*& p : blocks) ASSERT_NE(p = nestlock_malloc(kMiB - kMiB / 8), nullptr);
    if (aligned) {
      for (void* const p : blocks) nestlock_free(p);
      EXPECT_GT(idle(), much()) << "nothing to give back";
      for (void*& p : blocks) ASSERT_NE(p = nestlock_aligned_alloc(64, kMiB + kMiB / 8), nullptr);
    } else {
      for (void*& p : blocks) ASSERT_NE(p = nestlock_realloc(p, kMiB + kMiB / 8), nullptr);
    }
    EXPECT_LE(idle(), much() + kMiB) << (aligned ? "aligned" : "vectors");
    for (void* const p : blocks) nestlock_free(p);
  }
  blocks.resize(4096);
  for (void*& p : blocks) ASSERT_NE(p = nestlock_malloc(20'000), nullptr);
  for (std::size_t i = 0; i < blocks.size(); i += 2) nestlock_free(blocks[i]);
  std::vector<void*> larger(256);
  for (void*& p : larger) ASSERT_NE(p = nestlock_malloc(kMiB / 4), nullptr);
  EXPECT_LE(idle(), much() + kMiB) << "beside larger blocks";
  for (std::size_t i = 1; i < blocks.size(); i += 2) nestlock_free(blocks[i]);
  for (void* const p : larger) nestlock_free(p);
}

// docs/malloc.md has the number. Blocks of a page each, as emergencies make them: the same table.
TEST(Malloc, WhenTheTableOfMappingsIsFull) {
  constexpr std::size_t kMost = 131072;
  std::vector<void*> blocks;
  blocks.reserve(kMost + 300);
  const auto fail_every = [](std::uint32_t k) {
    for (unsigned i = 0; i < SystemSlabAllocator::kClasses; ++i)
      system_slab().kmalloc_cache(i).fail_every(k);
  };
  fail_every(1);
  const auto state = BuiltKernel::Port::irq_save();
  errno = 0;
  void* p;
  while (blocks.size() < blocks.capacity() && (p = nestlock_malloc(2000)) != nullptr)
    blocks.push_back(p);
  const int refused = errno;
  const std::size_t had = nestlock_malloc_counts().mapped_blocks;
  // One that is free serves again, and a block that has to move keeps its place in the table.
  nestlock_free(blocks[kMost / 2]);
  blocks[kMost / 2] = nestlock_malloc((std::size_t{1} << 20) + 1);
  void* const moved = blocks[kMost / 2] ? nestlock_realloc(blocks[kMost / 2], 3 * kMiB) : nullptr;
  if (moved) blocks[kMost / 2] = moved;
  const std::size_t usable = nestlock_malloc_usable_size(blocks[kMost / 2]);
  void* const none = nestlock_malloc(2 * kMiB);
  // The kernel makes one mapping of neighbours, and may have too many when every other one is freed: the
  // memory is given back all the same.
  constexpr std::size_t kTouched = 1000;
  for (std::size_t i = kMost - kTouched; i < kMost; i += 2) *static_cast<char*>(blocks[i]) = 1;
  std::size_t resident = 0;
  for (const std::size_t first : {0, 1}) {
    for (std::size_t i = first; i < blocks.size(); i += 2) nestlock_free(blocks[i]);
    unsigned char page = 0;
    for (std::size_t i = kMost - kTouched; first == 0 && i < kMost; i += 2)
      if (mincore(blocks[i], kPageSize, &page) == 0) resident += page & 1;
  }
  BuiltKernel::Port::irq_restore(state);
  fail_every(0);
  EXPECT_EQ(resident, 0u) << "memory of blocks that were freed";
  EXPECT_EQ(refused, ENOMEM);
  EXPECT_EQ(had, kMost);
  EXPECT_NE(moved, nullptr);
  EXPECT_GE(usable, 3 * kMiB);
  EXPECT_EQ(none, nullptr);
  EXPECT_EQ(nestlock_malloc_counts().mapped_blocks, 0u);
  EXPECT_EQ(nestlock_malloc_counts().mapped, 0u);
}

TEST(MallocDeathTest, WhatIsNoBlockIsNamed) {
  int on_the_stack = 0;
  EXPECT_DEATH(nestlock_free(&on_the_stack),
               "nestlock malloc: free\\(0x[0-9a-f]+\\): it lies nowhere");
  char* const p = static_cast<char*>(nestlock_malloc(100));
  EXPECT_DEATH(nestlock_free(p + 8), "free\\(0x[0-9a-f]+\\): no block begins there");
  EXPECT_DEATH((void)!nestlock_realloc(p + 8, 10),
               "realloc\\(0x[0-9a-f]+\\): no block begins there");
  EXPECT_DEATH((void)nestlock_malloc_usable_size(&on_the_stack), "malloc_usable_size\\(0x");
  nestlock_free(p);
  char* const large = static_cast<char*>(nestlock_malloc(2 * kMiB));
  EXPECT_DEATH(nestlock_free_sized(large + kPageSize, 1), "free_sized\\(0x");
  nestlock_free(large);
  EXPECT_DEATH(nestlock_free(large), "free\\(0x");
}

TEST(MallocDeathTest, FreedTwice) {
  for (const std::size_t size : {std::size_t{100}, std::size_t{20000}, 2 * kMiB}) {
    void* const p = nestlock_malloc(size);
    nestlock_free(p);
    EXPECT_DEATH(nestlock_free(p), "free\\(0x[0-9a-f]+\\): ") << size;
  }
}

}  // namespace
}  // namespace nestlock
