// The page allocator's upkeep, in all eight kernels: its caches and their draining, threads and CPUs.
#include <atomic>
#include <condition_variable>
#include <mutex>
#include <thread>
#include <vector>

#include "test/support/page_memory.h"

namespace nestlock::test_support {
namespace {

class Upkeep : public PagesTest {};
INSTANTIATE_TEST_SUITE_P(All, Upkeep, ::testing::ValuesIn(all_pages()),
                         name_of_case<::testing::TestParamInfo<PagesCase>>);
// What needs a second CPU.
class UpkeepOnCpus : public Upkeep {};
INSTANTIATE_TEST_SUITE_P(All, UpkeepOnCpus, ::testing::ValuesIn(on_cpus(all_pages())),
                         name_of_case<::testing::TestParamInfo<PagesCase>>);

// ---- caches -------------------------------------------------------------------------------------

TEST_P(Upkeep, ACpusCacheIsBoundedAndDrains) {
  set_up(4096);
  const unsigned cpu = allocator->cpu_id();
  Owned owned;
  for (int i = 0; i < 400; ++i) ASSERT_TRUE(owned.add(allocator->alloc(gfp::kernel, i % 4), i % 4));
  give_back(owned);
  const PageStats s = allocator->stats();
  EXPECT_GT(allocator->cached(0, cpu), 0u);
  EXPECT_LE(allocator->cached(0, cpu), 6 * 16u) << "high, at this size of a zone";
  EXPECT_EQ(s.cached, allocator->cached(0, cpu));
  EXPECT_GT(s.drains, 0u);
  EXPECT_GT(s.refills, 0u);
  allocator->drain_cpu(allocator->stats().present);  // no such CPU
  EXPECT_EQ(allocator->cached(0, cpu), s.cached);
  allocator->drain_cpu(cpu);
  EXPECT_EQ(allocator->cached(0, cpu), 0u);
  expect_all_free();
}

// Nolock calls alone, which empty no cache as a whole: what they free in one order is had in another, by another CPU.
unsigned take_all_nolock(AnyPages& from, Owned& owned, unsigned order) {
  unsigned n = 0;
  for (; void* const p = from.alloc_nolock(gfp::none, order); ++n) EXPECT_TRUE(owned.add(p, order));
  return n;
}
void free_all_nolock(AnyPages& to, Owned& owned) {
  while (!owned.empty()) {
    const Owned::Block b = owned.take_first();
    EXPECT_TRUE(to.free_nolock(b.at, b.order));
  }
}
constexpr unsigned kCached = 2 * 6 * 8 + 8;  // twice high, at this size of a zone, and a block
TEST_P(Upkeep, WhatNolockCallsFreeServesOtherOrders) {
  set_up(2048);
  Owned owned;
  const unsigned pages = take_all_nolock(*allocator, owned, 0);
  EXPECT_GT(pages, 2000u);
  for (const unsigned order : {3u, 0u, 2u}) {
    free_all_nolock(*allocator, owned);
    EXPECT_LE(allocator->stats().cached, kCached);
    EXPECT_GE((take_all_nolock(*allocator, owned, order) << order) + kCached + 32, pages) << order;
  }
  give_back(owned);
  expect_all_free();
}

TEST_P(Upkeep, DisabledCachesStayEmptyUntilTheLastEnable) {
  set_up(1024, 2);
  void* p = allocator->alloc(gfp::kernel, 0, 0);
  EXPECT_TRUE(allocator->free(p, 0));
  EXPECT_GT(allocator->stats(0).cached, 0u);
  allocator->pcp_disable(0);
  allocator->pcp_disable(0);
  allocator->pcp_enable(0);
  for (unsigned order = 0; order < 4; ++order) {
    p = allocator->alloc(gfp::kernel, order, 0);
    EXPECT_EQ(allocator->stats(0).cached, 0u);
    EXPECT_TRUE(allocator->free(p, order));
    EXPECT_EQ(allocator->stats(0).cached, 0u) << "order " << order;
  }
  p = allocator->alloc(gfp::kernel, 0, 1);
  EXPECT_TRUE(allocator->free(p, 0));
  EXPECT_GT(allocator->stats(1).cached, 0u) << "the other node's go on";
  allocator->pcp_enable(0);
  p = allocator->alloc(gfp::kernel, 0, 0);
  EXPECT_TRUE(allocator->free(p, 0));
  EXPECT_GT(allocator->stats(0).cached, 0u);
  expect_all_free(0);
}

TEST_P(Upkeep, WhatIsSaidOfANodeOrCpuThatIsNotThereIsNothing) {
  set_up(1024, 2);
  const unsigned cpu = allocator->cpu_id();
  void* p = allocator->alloc(gfp::kernel, 0, 0);
  EXPECT_TRUE(allocator->free(p, 0));
  const std::uintptr_t cached = allocator->cached(0, cpu);
  ASSERT_GT(cached, 0u);
  for (const unsigned none : {2u, 3u, 4u, 9u, 100'000u, ~0u}) {
    EXPECT_EQ(allocator->cached(none, cpu), 0u) << none;
    EXPECT_EQ(allocator->stats(none).present, 0u) << none;
    allocator->pcp_disable(none);
    allocator->pcp_enable(none);
    allocator->pcp_enable(none);
  }
  for (const unsigned none : {1024u, 100'000u, ~0u})
    EXPECT_EQ(allocator->cached(0, none), 0u) << none;
  EXPECT_EQ(allocator->cached(0, cpu), cached);
  allocator->pcp_enable(0);  // undoes nothing
  allocator->pcp_disable(0);
  EXPECT_EQ(allocator->cached(0, cpu), 0u);
  allocator->pcp_enable(0);
  p = allocator->alloc(gfp::kernel, 0, 0);
  EXPECT_TRUE(allocator->free(p, 0));
  EXPECT_GT(allocator->cached(0, cpu), 0u) << "and does all of it";
  expect_all_free();
}

TEST_P(UpkeepOnCpus, DrainAllReachesEveryCpu) {
  set_up(2048);
  allocator->cpu_id();
  constexpr unsigned kThreads = 3;
  std::atomic<unsigned> ready{0};
  std::atomic<bool> drained{false};
  std::vector<std::thread> threads;
  for (unsigned i = 0; i < kThreads; ++i)
    threads.emplace_back([&] {
      EXPECT_TRUE(allocator->free(allocator->alloc(gfp::kernel, 0), 0));
      EXPECT_GT(allocator->cached(0, allocator->cpu_id()), 0u);
      ++ready;
      while (!drained) std::this_thread::yield();
      EXPECT_EQ(allocator->cached(0, allocator->cpu_id()), 0u);
    });
  while (ready != kThreads) std::this_thread::yield();
  EXPECT_TRUE(allocator->free(allocator->alloc(gfp::kernel, 0), 0));
  allocator->drain_all();
  EXPECT_EQ(allocator->stats().cached, 0u);
  drained = true;
  for (std::thread& t : threads) t.join();
  expect_all_free();
}

TEST_P(UpkeepOnCpus, WhatNolockCallsFreeServesOtherCpus) {
  set_up(2048);
  Owned owned;
  const unsigned pages = take_all_nolock(*allocator, owned, 0);
  unsigned had = 0;
  std::thread([&] {
    free_all_nolock(*allocator, owned);
    // (Beside the one that freed them: a thread's end empties its CPU's cache.)
    std::thread([&] { had = take_all_nolock(*allocator, owned, 0); }).join();
  }).join();
  EXPECT_GE(had + kCached, pages);
  give_back(owned);
  expect_all_free();
}

// ---- thread and CPU -----------------------------------------------------------------------------

// Lives for ever, as the port wants it.
struct DrainOffline : hosted::OfflineHook {
  std::atomic<AnyPages*> pages{nullptr};
  std::atomic<unsigned> drained{0};
};
DrainOffline& drain_offline() {
  static DrainOffline& hook = [&]() -> DrainOffline& {
    auto* const h = new DrainOffline;
    h->run = [](hosted::OfflineHook& self, unsigned cpu) noexcept {
      auto& mine = static_cast<DrainOffline&>(self);
      AnyPages* const pages = mine.pages;
      if (!pages) return;
      mine.drained += pages->cached(0, cpu);
      pages->drain_cpu(cpu);
    };
    hosted::on_cpu_offline(*h);
    return *h;
  }();
  return hook;
}

TEST_P(UpkeepOnCpus, AThreadsExitFlushesItsCpu) {
  set_up(1024);
  allocator->cpu_id();
  DrainOffline& hook = drain_offline();
  hook.pages = allocator.get(), hook.drained = 0;
  unsigned cpu = 0;
  std::thread([&] {
    EXPECT_TRUE(allocator->free(allocator->alloc(gfp::kernel, 2), 2));
    cpu = allocator->cpu_id();
    EXPECT_GT(allocator->cached(0, cpu), 0u);
  }).join();
  hook.pages = nullptr;
  EXPECT_GT(hook.drained, 0u);
  EXPECT_EQ(allocator->cached(0, cpu), 0u);
  EXPECT_EQ(allocator->stats().cached, 0u);
  expect_all_free();
}

// More threads than virtual CPUs: those without one work past the caches.
// Kind 9: more threads than CPUs; the one without a CPU goes to the buddy.
TEST_P(UpkeepOnCpus, AThreadWithoutACpuGoesToTheBuddy) {
  set_up(1024);
  std::mutex mutex;
  std::condition_variable changed;
  unsigned claimed = 0;
  bool done = false;
  std::vector<std::thread> threads;
  for (unsigned i = 0; i < kHostedMaxCpus; ++i)
    threads.emplace_back([&] {
      allocator->cpu_id();
      std::unique_lock l(mutex);
      ++claimed, changed.notify_all();
      changed.wait(l, [&] { return done; });
    });
  {
    std::unique_lock l(mutex);
    changed.wait(l, [&] { return claimed == kHostedMaxCpus; });
  }
  std::thread([&] {
    EXPECT_EQ(allocator->cpu_id(), kHostedMaxCpus);
    Owned owned;
    for (unsigned order : {0u, 1u, 3u, 5u}) {
      EXPECT_TRUE(owned.add(allocator->alloc(gfp::kernel, order), order));
      if (order > 3) continue;
      EXPECT_TRUE(owned.add(allocator->alloc_nolock(gfp::none, order), order));
    }
    EXPECT_EQ(allocator->stats().cached, 0u);
    for (bool nolock = false; !owned.empty(); nolock = !nolock) {
      const Owned::Block b = owned.take_first();
      EXPECT_TRUE(nolock ? allocator->free_nolock(b.at, b.order) : allocator->free(b.at, b.order));
    }
    EXPECT_EQ(allocator->stats().cached, 0u);
    EXPECT_EQ(owned.trouble(), "");
  }).join();
  {
    std::unique_lock l(mutex);
    done = true, changed.notify_all();
  }
  for (std::thread& t : threads) t.join();
  expect_all_free();
}

}  // namespace
}  // namespace nestlock::test_support
