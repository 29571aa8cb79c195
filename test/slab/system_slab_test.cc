// The process's own slab allocator: blocks larger than the largest of the page allocator, which are
// mappings of their own.
#include "nestlock/system_slab.h"

#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdint>
#include <thread>
#include <vector>

#include "gtest/gtest.h"
#include "nestlock/port/hosted.h"
#include "nestlock/slab/mapped_blocks.h"

namespace {
// For a test: the size of the system's pages, and what was unmapped.
int pretended_page_size = 0;
struct Unmapped {
  std::uintptr_t at;
  std::size_t size;
};
std::vector<Unmapped>* unmapped = nullptr;
}  // namespace

#if !NESTLOCK_WITH_TSAN && \
    !NESTLOCK_WITH_ASAN  // whose runtimes have their own, and call them early
// In place of the C library's, for all of the program.
extern "C" int getpagesize() noexcept {
  return pretended_page_size ? pretended_page_size : static_cast<int>(sysconf(_SC_PAGESIZE));
}
extern "C" int munmap(void* start, std::size_t size) noexcept {
  if (unmapped) unmapped->push_back({reinterpret_cast<std::uintptr_t>(start), size});
  return static_cast<int>(syscall(SYS_munmap, start, size));
}
#endif

namespace nestlock {
namespace {

constexpr std::size_t kLargestBlock = kPageSize << kMaxOrder;
constexpr std::size_t kMiB = std::size_t{1} << 20;

class SystemSlab : public ::testing::Test {
 protected:
  void SetUp() override {
    reports = 0;
    before_ = hosted::set_report_sink([](const Report&) noexcept { ++reports; });
    ASSERT_EQ(mapped_blocks::counts().blocks, 0u);
  }
  void TearDown() override {
    hosted::set_report_sink(before_);
    EXPECT_EQ(mapped_blocks::counts().blocks, 0u);
    EXPECT_EQ(mapped_blocks::counts().bytes, 0u);
  }
  SystemSlabAllocator& slabs = system_slab();
  static inline unsigned reports = 0;

 private:
  hosted::ReportSink before_ = nullptr;
};

bool is_mapped(const void* p) {
  unsigned char resident = 0;
  return mincore(const_cast<void*>(p), kPageSize, &resident) == 0;
}
unsigned char byte_of(std::size_t i) { return static_cast<unsigned char>(i * 31 >> 12); }
// Some of the bytes from `begin` to `end`: those of a step that is no part of a page, and the last one.
template <class F>
void each_byte(std::size_t begin, std::size_t end, F f) {
  for (std::size_t i = begin; i < end; i += 509) f(i);
  if (begin < end) f(end - 1);
}

TEST_F(SystemSlab, WhatIsLargerThanABlockOfPagesIsAMapping) {
  for (const std::size_t size : {kLargestBlock + 1, 8 * kMiB, 100 * kMiB + 17}) {
    auto* const p = static_cast<unsigned char*>(slabs.kzalloc(size, gfp::kernel));
    ASSERT_NE(p, nullptr) << size;
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(p) % kPageSize, 0u);
    EXPECT_GE(slabs.ksize(p), size);
    EXPECT_LT(slabs.ksize(p), size + kPageSize);
    EXPECT_EQ(mapped_blocks::counts().bytes, slabs.ksize(p));
    for (std::size_t i = 0; i < size; i += kPageSize) ASSERT_EQ(p[i], 0);
    p[0] = 1, p[size - 1] = 2;
    EXPECT_TRUE(slabs.kfree_sized(p, size));
    EXPECT_FALSE(is_mapped(p)) << "the memory went back";
  }
  EXPECT_EQ(reports, 0u);
}

TEST_F(SystemSlab, WhatMayNotAskForMemoryGetsNoMapping) {
  EXPECT_EQ(slabs.kmalloc(8 * kMiB, gfp::none), nullptr);
  SlabRefusal why{};
  EXPECT_EQ(slabs.kmalloc_nolock(8 * kMiB, gfp::wake, kAnyNode, &why), nullptr);
  EXPECT_EQ(why, SlabRefusal::size);
  EXPECT_EQ(slabs.kmalloc(SIZE_MAX - 5, gfp::kernel), nullptr);
  EXPECT_EQ(slabs.kmalloc(PTRDIFF_MAX, gfp::kernel), nullptr);
  EXPECT_EQ(slabs.kmalloc_array(SIZE_MAX / 8, 16, gfp::kernel), nullptr);
}

TEST_F(SystemSlab, AnAlignmentMayBeLargerThanABlockOfPages) {
  for (const std::size_t align : {kPageSize, 8 * kMiB, 64 * kMiB}) {
    void* const p = slabs.kmalloc_aligned(kLargestBlock + 100, align, gfp::kernel);
    ASSERT_NE(p, nullptr);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(p) % align, 0u);
    EXPECT_TRUE(slabs.kfree(p));
  }
  void* const small = slabs.kmalloc_aligned(100, 8 * kMiB, gfp::kernel);
  ASSERT_NE(small, nullptr);
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(small) % (8 * kMiB), 0u);
  EXPECT_TRUE(slabs.kfree(small));
  EXPECT_EQ(slabs.kmalloc_aligned(8 * kMiB, 3 * kPageSize, gfp::kernel), nullptr);
}

// Where the system's pages are larger than ours (64 KiB on some machines; here it is told so) it unmaps nothing that
// begins inside of one: what an alignment leaves over behind the block would stay.
TEST_F(SystemSlab, WhatIsLeftOverBehindABlockBeginsWithAPageOfTheSystem) {
  if (internal::kWithTsan || internal::kWithAsan) GTEST_SKIP() << "the tool's are asked";
  constexpr std::size_t kLarge = std::size_t{64} << 10;
  std::vector<Unmapped> seen;
  seen.reserve(16);
  pretended_page_size = static_cast<int>(kLarge);
  unmapped = &seen;
  void* const p = slabs.kmalloc_aligned(kLargestBlock + 100, 8 * kMiB, gfp::kernel);
  unmapped = nullptr;
  pretended_page_size = 0;
  ASSERT_NE(p, nullptr);
  const auto block = reinterpret_cast<std::uintptr_t>(p);
  unsigned behind = 0;
  for (const Unmapped& u : seen) {
    if (u.at < block) continue;
    ++behind;
    EXPECT_EQ(u.at % kLarge, 0u);
    EXPECT_GE(u.at, block + kLargestBlock + 100);
  }
  EXPECT_EQ(behind, 1u) << "nothing was left over: nothing was shown";
  EXPECT_TRUE(slabs.kfree(p));
  munmap(reinterpret_cast<void*>(block + kLargestBlock + kPageSize), kLarge - kPageSize);
}

// From a class to pages to a mapping, larger and smaller, and all the way back.
TEST_F(SystemSlab, AReallocKeepsTheContentsFromClassToMappingAndBack) {
  const std::vector<std::size_t> sizes{
      100,       5000,          kMiB + 3,          kLargestBlock, 5 * kMiB + 1,
      64 * kMiB, 40 * kMiB + 9, kLargestBlock + 1, kLargestBlock, 20000,
      64};
  std::size_t had = 0;
  void* p = nullptr;
  for (const std::size_t size : sizes) {
    p = slabs.krealloc(p, size, gfp::kernel | gfp::zero);
    ASSERT_NE(p, nullptr) << size;
    auto* const bytes = static_cast<unsigned char*>(p);
    EXPECT_GE(slabs.ksize(p), size);
    std::size_t wrong = 0;
    each_byte(0, had, [&](std::size_t i) { wrong += i < size && bytes[i] != byte_of(i); });
    each_byte(had, size, [&](std::size_t i) { wrong += bytes[i] != 0; });
    EXPECT_EQ(wrong, 0u) << size;
    each_byte(0, size, [&](std::size_t i) { bytes[i] = byte_of(i); });
    EXPECT_EQ(mapped_blocks::counts().blocks, size > kLargestBlock ? 1u : 0u) << size;
    had = size;
  }
  EXPECT_TRUE(slabs.kfree(p));
  EXPECT_EQ(reports, 0u);
}

// By mremap(): not copied, so nothing becomes resident.
TEST_F(SystemSlab, AMappingGrowsWithoutACopy) {
  if (internal::kWithTsan) GTEST_SKIP() << "ThreadSanitizer does not see mremap()";
  void* p = slabs.kmalloc(8 * kMiB, gfp::kernel);
  ASSERT_NE(p, nullptr);
  p = slabs.krealloc(p, 64 * kMiB, gfp::kernel);
  ASSERT_NE(p, nullptr);
  std::vector<unsigned char> resident(64 * kMiB / kPageSize);
  ASSERT_EQ(mincore(p, 64 * kMiB, resident.data()), 0);
  std::size_t n = 0;
  for (const unsigned char r : resident) n += r & 1;
  EXPECT_EQ(n, 0u);
  EXPECT_TRUE(slabs.kfree(p));
}

TEST_F(SystemSlab, ABadFreeOfAMappingIsSeen) {
  auto* const p = static_cast<char*>(slabs.kmalloc(8 * kMiB, gfp::kernel));
  ASSERT_NE(p, nullptr);
  EXPECT_FALSE(slabs.kfree(p + 8));
  EXPECT_FALSE(slabs.kfree(p + kPageSize));
  EXPECT_EQ(slabs.ksize(p + kPageSize), 0u);
  EXPECT_EQ(slabs.krealloc(p + kPageSize, 100, gfp::kernel), nullptr);
  EXPECT_TRUE(slabs.kfree_nolock(p));
  EXPECT_FALSE(slabs.kfree(p)) << "twice";
  EXPECT_EQ(reports, kBuiltConfig.debug ? 4u : 0u);
}

TEST_F(SystemSlab, ThreadsHaveTheirOwnMappings) {
  if (!kBuiltConfig.smp) GTEST_SKIP() << "one thread";
  constexpr unsigned kRounds = internal::kWithTsan ? 5 : 100;  // there each growth is a copy
  std::vector<std::thread> threads;
  for (unsigned t = 0; t < 4; ++t)
    threads.emplace_back([this, t] {
      for (unsigned round = 0; round < kRounds; ++round) {
        const std::size_t size = kLargestBlock + 1 + (t * 100 + round) * kPageSize;
        auto* p = static_cast<unsigned char*>(slabs.kmalloc(size, gfp::kernel));
        ASSERT_NE(p, nullptr);
        ASSERT_EQ(p[0], 0);
        p[0] = p[size - 1] = static_cast<unsigned char>(t + 1);
        p = static_cast<unsigned char*>(slabs.krealloc(p, size + kMiB, gfp::kernel));
        ASSERT_NE(p, nullptr);
        ASSERT_EQ(p[0], t + 1);
        ASSERT_EQ(p[size - 1], t + 1);
        ASSERT_TRUE(slabs.kfree(p));
      }
    });
  for (std::thread& t : threads) t.join();
}

}  // namespace
}  // namespace nestlock
