// The process's own page allocator, as lib/page sets it up, in the built configuration.
#include "nestlock/system_pages.h"

#include <cstdlib>
#include <cstring>
#include <string>
#include <thread>

#include "gtest/gtest.h"

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
  ASSERT_EQ(setenv("NESTLOCK_RESERVE_MIB", "16", 1), 0);
  EXPECT_EXIT(std::_Exit(system_pages().stats(0).present == 16u << 20 >> kPageShift ? 0 : 1),
              ::testing::ExitedWithCode(0), "^$");
  unsetenv("NESTLOCK_RESERVE_MIB");
}

}  // namespace
}  // namespace nestlock
