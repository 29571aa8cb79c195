// The process's own page allocator, as lib/page sets it up, in the built configuration.
#include "nestlock/system_pages.h"

#include <sched.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cinttypes>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include "gtest/gtest.h"

namespace {
// For a test: the size of the system's pages, and the least that was given back to it.
int pretended_page_size = 0;
std::size_t least_given_back = SIZE_MAX;
std::atomic<std::uintptr_t> waits_from{UINTPTR_MAX};
}  // namespace

#if !NESTLOCK_WITH_TSAN && \
    !NESTLOCK_WITH_ASAN  // whose runtimes have their own, and call them early
// In place of the C library's, for all of the program.
extern "C" int getpagesize() noexcept {
  return pretended_page_size ? pretended_page_size : static_cast<int>(sysconf(_SC_PAGESIZE));
}
extern "C" int madvise(void* start, std::size_t size, int advice) noexcept {
  if (advice == MADV_DONTNEED && size < least_given_back) least_given_back = size;
  return static_cast<int>(syscall(SYS_madvise, start, size, advice));
}
// While it is asked to, who has mapped something from that address on waits until another has been refused it.
extern "C" void* mmap(void* at, std::size_t size, int protection, int flags, int file,
                      off_t offset) noexcept {
  void* const p =
      reinterpret_cast<void*>(syscall(SYS_mmap, at, size, protection, flags, file, offset));
  if (p == MAP_FAILED && errno == EEXIST) waits_from = UINTPTR_MAX;
  while (p != MAP_FAILED && reinterpret_cast<std::uintptr_t>(at) >= waits_from) sched_yield();
  return p;
}
#endif

namespace nestlock {
namespace {

// The first constructors run after it was set up.
Page* const early = system_pages().alloc_pages(gfp::kernel | gfp::zero, 0);

TEST(SystemPages, AreThereBeforeMain) {
  ASSERT_NE(early, nullptr);
  const auto* const p = static_cast<const char*>(system_pages().address(early));
  for (std::size_t i = 0; i < kPageSize; ++i) ASSERT_EQ(p[i], 0);
  EXPECT_TRUE(system_pages().free_pages(early, 0));
}

TEST(SystemPages, GiveAndTakeEveryOrder) {
  PageAllocator& pages = system_pages();
  for (unsigned order = 0; order <= kMaxOrder; ++order) {
    Page* const p = pages.alloc_pages(gfp::kernel, order);
    ASSERT_NE(p, nullptr) << "order " << order;
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(pages.address(p)) & ((kPageSize << order) - 1), 0u);
    std::memset(pages.address(p), 0x5a, kPageSize << order);
    EXPECT_EQ(pages.page_of(pages.address(p)), p);
    EXPECT_TRUE(pages.free_pages(p, order));
  }
  Page* const p = pages.alloc_pages_nolock(gfp::zero, 1);
  ASSERT_NE(p, nullptr);
  EXPECT_TRUE(pages.free_pages_nolock(p, 1));
  EXPECT_TRUE(pages.consistent());
  EXPECT_GE(pages.stats(0).committed, 1024u);
  EXPECT_GT(pages.stats(0).present, pages.stats(0).committed) << "a reserve of addresses";
}

// Whether the system was told that these bytes are not to be on huge pages.
bool stays_small(const void* at) {
  std::ifstream maps("/proc/self/smaps");
  bool here = false;
  for (std::string line; std::getline(maps, line);) {
    std::uintptr_t begin = 0, end = 0;
    if (std::sscanf(line.c_str(), "%" SCNxPTR "-%" SCNxPTR " ", &begin, &end) == 2)
      here = begin <= reinterpret_cast<std::uintptr_t>(at) &&
             reinterpret_cast<std::uintptr_t>(at) < end;
    else if (here && line.starts_with("VmFlags:"))
      return line.find(" nh") != line.npos;
  }
  return false;
}

// A program that wants little pays for no huge page: not for the tables, and not for its first memory.
TEST(SystemPages, WhatIsTouchedHereAndThereStaysOnSmallPages) {
  if (!std::ifstream("/sys/kernel/mm/transparent_hugepage/enabled")) GTEST_SKIP() << "none here";
  PageAllocator& pages = system_pages();
  EXPECT_TRUE(stays_small(&pages));
  EXPECT_TRUE(stays_small(reinterpret_cast<const char*>(&pages + 1) - 1));
  EXPECT_TRUE(stays_small(pages.address(pages.page_at(0))));
  static char elsewhere[8 << 20];
  elsewhere[4 << 20] = 1;
  EXPECT_FALSE(stays_small(&elsewhere[4 << 20]));
}

// Nor for the descriptors of all that is committed with its first memory.
TEST(SystemPages, ADescriptorIsTouchedWhenItsPageIsUsed) {
  if (internal::kWithTsan || internal::kWithAsan || kBuiltConfig.debug)
    GTEST_SKIP() << "each page of a block has its history";
  constexpr std::size_t kBlock = kPageSize << kMaxOrder, kSize = 8 * kBlock;
  const auto map = [](std::size_t size) {
    return static_cast<unsigned char*>(
        mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  };
  unsigned char* const range = map(kSize + kBlock);
  unsigned char* const descriptors = map(PageAllocator::descriptor_bytes(kSize));
  ASSERT_NE(range, MAP_FAILED);
  ASSERT_NE(descriptors, MAP_FAILED);
  prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0);  // who touches a page gets no neighbours with it
  static constinit PageAllocator pages;
  unsigned char* const start =
      range + (-reinterpret_cast<std::uintptr_t>(range) & (kBlock - 1));  // whole blocks
  ASSERT_EQ(pages.set_up({.start = start,
                          .size = kSize,
                          .commit = [](void*, std::size_t) noexcept { return true; },
                          .descriptors = descriptors}),
            PageSetup::ok);
  ASSERT_NE(pages.alloc_pages(gfp::kernel, kMaxOrder), nullptr);
  const std::size_t of_all = pages.stats(0).committed * sizeof(Page) / 4096;
  std::vector<unsigned char> resident(of_all);
  ASSERT_EQ(mincore(descriptors, of_all * 4096, resident.data()), 0);
  std::size_t touched = 0;
  for (const unsigned char r : resident) touched += r & 1;
  EXPECT_LE(touched, of_all / 4) << "of " << of_all;
  prctl(PR_SET_THP_DISABLE, 0, 0, 0, 0);
}

TEST(SystemPages, AThreadsExitSendsItsPagesHome) {
  if (!kBuiltConfig.smp) GTEST_SKIP() << "one CPU";
  PageAllocator& pages = system_pages();
  BuiltKernel::Port::cpu_id();
  pages.drain_all_pages();
  std::uintptr_t cached = 0;
  std::thread([&] {
    pages.free_pages(pages.alloc_pages(gfp::kernel, 0), 0);
    cached = pages.stats(0).cached;
  }).join();
  EXPECT_GT(cached, 0u);
  EXPECT_EQ(pages.stats(0).cached, 0u);
}

// Kind 6: what cannot be is said, and the default taken. In a new process, for it is read once.
TEST(SystemPages, ASettingOutsideItsRangeIsNamed) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  for (const char* const value : {"1", "17592186044416", "many", "12x", ""}) {
    ASSERT_EQ(setenv("NESTLOCK_RESERVE_MIB", value, 1), 0);
    EXPECT_EXIT(
        std::_Exit(system_pages().stats(0).present >= (4u << 20 >> kPageShift) ? 0 : 1),
        ::testing::ExitedWithCode(0),
        std::string("^nestlock: NESTLOCK_RESERVE_MIB=") + value + " is no number from 4 to");
  }
  ASSERT_EQ(setenv("NESTLOCK_RESERVE_MIB", "134217728", 1), 0);  // all that 47 bits address
  EXPECT_EXIT(std::_Exit(system_pages().alloc_pages(gfp::kernel, 0) ? 0 : 1),
              ::testing::ExitedWithCode(0),
              "^nestlock: NESTLOCK_RESERVE_MIB: not so many addresses can be had");
  ASSERT_EQ(setenv("NESTLOCK_RESERVE_MIB", "16", 1), 0);
  EXPECT_EXIT(std::_Exit(system_pages().stats(0).present == 16u << 20 >> kPageShift ? 0 : 1),
              ::testing::ExitedWithCode(0), "^$");
  unsetenv("NESTLOCK_RESERVE_MIB");
}

// Part of a page of the system's cannot be given back: the kernel would take the whole page, and what is in use
// there with it. (It has pages of 64 KiB on some machines; here it is told so.)
TEST(SystemPages, OnlyWholePagesOfTheSystemGoBack) {
  if (internal::kWithTsan || internal::kWithAsan) GTEST_SKIP() << "the tool's are asked";
  constexpr std::size_t kLarge = std::size_t{64} << 10;
  PageAllocator& pages = system_pages();
  std::vector<Page*> used, free;
  for (int i = 0; i < 512; ++i) (i % 2 ? used : free).push_back(pages.alloc_pages(gfp::kernel, 0));
  Page* const large = pages.alloc_pages(gfp::kernel, 6);
  ASSERT_NE(large, nullptr);
  std::memset(pages.address(large), 1, kPageSize << 6);
  for (Page* const p : free) EXPECT_TRUE(pages.free_pages(p, 0));
  EXPECT_TRUE(pages.free_pages(large, 6));

  least_given_back = SIZE_MAX;
  pretended_page_size = static_cast<int>(kLarge);
  EXPECT_GE(pages.trim(), kPageSize << 6);
  EXPECT_GE(least_given_back, kLarge);
  EXPECT_NE(least_given_back, SIZE_MAX) << "nothing was given back: nothing was shown";
  pretended_page_size = 0;
  // They were there: with pages of the usual size they go back, too.
  EXPECT_GT(pages.trim(), 0u);
  EXPECT_EQ(least_given_back, kPageSize);
  for (Page* const p : used) EXPECT_TRUE(pages.free_pages(p, 0));
}

long resident_pages() {
  long size = 0, resident = 0;
  std::FILE* const f = std::fopen("/proc/self/statm", "r");
  if (!f || std::fscanf(f, "%ld %ld", &size, &resident) != 2) resident = -1;
  if (f) std::fclose(f);
  return resident;
}

// Kind 6: what is only reserved costs nothing where addresses are counted. (The sanitizers reserve their own.)
TEST(SystemPages, TakeNoAddressesBeforeTheyAreUsed) {
  if (internal::kWithTsan || internal::kWithAsan) GTEST_SKIP() << "the tool's addresses count, too";
  long pages = 0;
  std::FILE* const f = std::fopen("/proc/self/statm", "r");
  ASSERT_TRUE(f && std::fscanf(f, "%ld", &pages) == 1);
  std::fclose(f);
  const std::uintptr_t range = system_pages().pages() << kPageShift;
  ASSERT_GE(range, std::uintptr_t{1} << 30);
  EXPECT_LT(static_cast<std::uintptr_t>(pages) * static_cast<std::uintptr_t>(getpagesize()),
            range / 8);
}

// The premise is that nobody else maps something at addresses of the range. Who does keeps it, and the range does
// not grow past it; it does again when it is gone. In a child, for this one's other tests.
TEST(SystemPages, WhatIsMappedInTheRangeStaysWhatItIs) {
  if (internal::kWithTsan) GTEST_SKIP() << "the tool lets nobody map there: it is reserved at once";
  const auto map_there = [] {
    PageAllocator& pages = system_pages();
    const auto page = static_cast<std::size_t>(getpagesize());
    void* const next = static_cast<char*>(pages.address(pages.page_at(0))) +
                       (std::size_t{pages.stats(0).committed} << kPageShift);
    void* const theirs = mmap(next, page, PROT_READ | PROT_WRITE,
                              MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    if (theirs != next) _exit(2);
    std::memset(theirs, 0x5a, page);
    int got = 0;
    while (Page* const p = pages.alloc_pages(gfp::kernel, kMaxOrder)) {
      std::memset(pages.address(p), 1, kPageSize);
      if (++got == 64) _exit(3);
    }
    for (std::size_t i = 0; i < page; ++i)
      if (static_cast<const unsigned char*>(theirs)[i] != 0x5a) _exit(4);
    munmap(theirs, page);
    _exit(pages.alloc_pages(gfp::kernel, kMaxOrder) ? 0 : 5);
  };
  EXPECT_EXIT(map_there(), ::testing::ExitedWithCode(0), "");
}

// Several threads want the next descriptors at once: each gets its memory.
TEST(SystemPages, GrowForSeveralThreadsAtOnce) {
  if (!kBuiltConfig.smp) GTEST_SKIP() << "one CPU";
  PageAllocator& pages = system_pages();
  constexpr unsigned kThreads = 4, kBlocks = 64;
  std::atomic<unsigned> got{0}, waiting{kThreads};
  // The descriptors lie behind the range.
  waits_from = reinterpret_cast<std::uintptr_t>(pages.address(pages.page_at(0))) +
               (pages.pages() << kPageShift);
  std::vector<std::thread> threads;
  for (unsigned i = 0; i < kThreads; ++i)
    threads.emplace_back([&] {
      Page* blocks[kBlocks];
      waiting.fetch_sub(1);
      while (waiting.load()) sched_yield();
      for (Page*& b : blocks)
        got.fetch_add((b = pages.alloc_pages(gfp::kernel, kMaxOrder)) != nullptr);
      for (Page* const b : blocks)
        if (b) pages.free_pages(b, kMaxOrder);
    });
  for (std::thread& t : threads) t.join();
  waits_from = UINTPTR_MAX;
  EXPECT_EQ(got.load(), kThreads * kBlocks);
  EXPECT_TRUE(pages.consistent());
}

// Kind 6: a real-time program locks its memory, which costs what is used and not what is reserved. In a child,
// for this one's other tests. (The sanitizers' own memory would be locked, too.)
TEST(SystemPages, AllOfItCanBeLockedInMemory) {
  if (internal::kWithTsan || internal::kWithAsan)
    GTEST_SKIP() << "the tool's memory is locked, too";
  constexpr int kNotPermitted = 77;
  const auto lock_all = [] {
    const long before = resident_pages();
    if (mlockall(MCL_CURRENT | MCL_FUTURE) != 0) _exit(kNotPermitted);
    Page* const p = system_pages().alloc_pages(gfp::kernel, kMaxOrder);
    const long more = (resident_pages() - before) * getpagesize();
    _exit(p && before > 0 && more < (64 << 20) ? 0 : 1);
  };
  EXPECT_EXIT(
      lock_all(),
      [](int status) {
        if (WIFEXITED(status) && WEXITSTATUS(status) == kNotPermitted)
          std::printf("skipped: mlockall() is not permitted\n");
        return WIFEXITED(status) &&
               (WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == kNotPermitted);
      },
      "");
}

}  // namespace
}  // namespace nestlock
