// The page allocator's upkeep, in all eight kernels: setting up, growing, draining, isolating,
// restricting and failing on purpose, and what it tells about itself.
#include <sys/mman.h>

#include <atomic>
#include <bit>
#include <condition_variable>
#include <mutex>
#include <thread>
#include <vector>

#include "test/support/page_memory.h"

namespace nestlock::test_support {
namespace {

class Upkeep : public PagesTest {
 protected:
  void take_all(Owned& owned, gfp flags, unsigned order) {
    while (void* const p = allocator->alloc(flags, order)) ASSERT_TRUE(owned.add(p, order));
  }
  void give_back(Owned& owned) {
    while (!owned.empty()) {
      const Owned::Block b = owned.take_first();
      EXPECT_TRUE(allocator->free(b.at, b.order));
    }
    EXPECT_EQ(owned.trouble(), "");
  }
};
INSTANTIATE_TEST_SUITE_P(All, Upkeep, ::testing::ValuesIn(all_pages()),
                         name_of_case<::testing::TestParamInfo<PagesCase>>);
// What needs a second CPU.
class UpkeepOnCpus : public Upkeep {};
INSTANTIATE_TEST_SUITE_P(All, UpkeepOnCpus, ::testing::ValuesIn(on_cpus(all_pages())),
                         name_of_case<::testing::TestParamInfo<PagesCase>>);

// ---- setting up ---------------------------------------------------------------------------------

TEST_P(Upkeep, EveryCallBeforeSetUpRefuses) {
  char byte;
  PageRefusal why{};
  EXPECT_EQ(allocator->alloc(gfp::kernel, 0), nullptr);
  EXPECT_EQ(allocator->alloc(gfp::atomic | gfp::memalloc, 9), nullptr);
  EXPECT_EQ(allocator->alloc_nolock(gfp::none, 0, kAnyNode, &why), nullptr);
  EXPECT_EQ(why, PageRefusal::no_memory);
  EXPECT_FALSE(allocator->free(&byte, 0));
  EXPECT_FALSE(allocator->free_nolock(&byte, 0));
  EXPECT_FALSE(allocator->free_at(&byte, 0));
  EXPECT_FALSE(allocator->managed(&byte));
  allocator->drain_cpu(0), allocator->drain_all(), allocator->unpark_all();
  allocator->isolate(&byte, true);
  EXPECT_EQ(allocator->stats().present, 0u);
  EXPECT_EQ(allocator->pages(), 0u);
  EXPECT_EQ(allocator->stats().failures, 0u) << "they looked for nothing";
  EXPECT_EQ(take_findings().size(), config().debug ? 3u : 0u) << "the frees";
  set_up(512);
  EXPECT_NE(allocator->alloc(gfp::kernel, 0), nullptr);
}

TEST_P(Upkeep, SetUpSaysWhatItCannotUse) {
  const PageMemory good = memory(512);
  PageMemory m = good;
  m.nodes = 0;
  EXPECT_EQ(allocator->set_up(m), PageSetup::bad_nodes);
  m.nodes = kMaxNodes + 1;
  EXPECT_EQ(allocator->set_up(m), PageSetup::bad_nodes);
  m = good;
  m.start = nullptr;
  EXPECT_EQ(allocator->set_up(m), PageSetup::too_small);
  m = good;
  m.size = 0;
  EXPECT_EQ(allocator->set_up(m), PageSetup::too_small);
  m.size = kPageSize;
  m.start = Arena::memory() + 1;  // no whole page in it
  EXPECT_EQ(allocator->set_up(m), PageSetup::too_small);
  m.start = Arena::memory();
  m.nodes = 2;
  EXPECT_EQ(allocator->set_up(m), PageSetup::too_small) << "a page for each node";
  m.nodes = 1;
  m.descriptors = nullptr;
  EXPECT_EQ(allocator->set_up(m), PageSetup::too_small) << "none left beside the descriptors";
  m.size = 64 * kPageSize;
  m.commit = [](void*, std::size_t) noexcept { return false; };
  EXPECT_EQ(allocator->set_up(m), PageSetup::commit_failed);
  EXPECT_EQ(allocator->alloc(gfp::kernel, 0), nullptr);
  m = good;
  m.commit_descriptors = [](void*, std::size_t) noexcept { return false; };
  EXPECT_EQ(allocator->set_up(m), PageSetup::too_small) << "without a commit";
  m.commit = [](void*, std::size_t) noexcept { return true; };
  m.nodes = 2;
  EXPECT_EQ(allocator->set_up(m), PageSetup::bad_nodes);

  EXPECT_EQ(allocator->set_up(good), PageSetup::ok);
  EXPECT_EQ(allocator->set_up(good), PageSetup::already);
  EXPECT_EQ(allocator->stats().free, 512u);
}

TEST_P(Upkeep, DescriptorsInsideTheRangeAreNotPages) {
  std::memset(Arena::memory(), 0xff, 512 * kPageSize);
  PageMemory m = memory(512);
  m.descriptors = nullptr;
  ASSERT_EQ(allocator->set_up(m), PageSetup::ok);
  const std::uintptr_t pages = allocator->pages();
  EXPECT_LT(pages, 512u);
  EXPECT_GE(pages, 512 - (allocator->descriptor_bytes(m.size) + kPageSize - 1) / kPageSize);
  EXPECT_EQ(allocator->page(pages - 1), Arena::memory() + 511 * kPageSize);
  EXPECT_FALSE(allocator->managed(Arena::memory()));
  Owned owned;  // writes all over what it gets
  take_all(owned, gfp::memalloc, 0);
  EXPECT_EQ(owned.pages(), pages);
  EXPECT_TRUE(allocator->consistent());
  give_back(owned);
  expect_all_free();
}

// A range of which only what is used costs anything, its descriptors included.
struct Reserved {
  static constexpr std::size_t kSize = std::size_t{200} << 20;
  explicit Reserved(std::size_t descriptor_bytes)
      : at{map(kSize, PROT_READ | PROT_WRITE), map(descriptor_bytes, PROT_NONE)},
        bytes(descriptor_bytes) {
    described = 0, refuses = false;
  }
  ~Reserved() { munmap(at[0], kSize), munmap(at[1], bytes); }
  Reserved(const Reserved&) = delete;
  Reserved& operator=(const Reserved&) = delete;
  static void* map(std::size_t size, int protection) {
    return mmap(nullptr, size, protection, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  }
  PageMemory memory() const {
    return {.start = at[0],
            .size = kSize,
            .commit = [](void*, std::size_t) noexcept { return true; },
            .descriptors = at[1],
            .commit_descriptors = writable};
  }
  static bool writable(void* start, std::size_t size) noexcept {
    if (refuses) return false;
    ++described;
    const auto begin = reinterpret_cast<std::uintptr_t>(start), offset = begin & 4095;
    return mprotect(reinterpret_cast<void*>(begin - offset), size + offset,
                    PROT_READ | PROT_WRITE) == 0;
  }
  void* const at[2];
  const std::size_t bytes;
  static inline unsigned described = 0;
  static inline bool refuses = false;
};

// Kind 11: of a large reserved range only so much is described as is used; nothing goes through all of it.
TEST_P(Upkeep, DescriptorsAreMadeWritableBeforeTheyAreWritten) {
  const Reserved reserved(allocator->descriptor_bytes(Reserved::kSize));
  ASSERT_EQ(allocator->set_up(reserved.memory()), PageSetup::ok);
  EXPECT_EQ(Reserved::described, 0u);
  Reserved::refuses = true;
  EXPECT_EQ(allocator->alloc(gfp::kernel, 0), nullptr);
  EXPECT_EQ(allocator->stats().committed, 0u);
  EXPECT_EQ(allocator->stats().free, 0u);
  Reserved::refuses = false;

  const auto order =
      static_cast<unsigned>(std::bit_width((std::size_t{1} << 20 >> kPageShift) - 1));
  std::vector<void*> blocks;  // a mebibyte each, of 150
  while (blocks.size() < 150) {
    blocks.push_back(allocator->alloc(gfp::kernel, order));
    ASSERT_NE(blocks.back(), nullptr);
  }
  EXPECT_EQ(Reserved::described, 7 + 1u)
      << "4, 4, 8, 16, 32 and 64 MiB twice, and the tags of 256 MiB";

  // What lies beyond is nobody's page.
  char* const beyond = static_cast<char*>(reserved.at[0]) + Reserved::kSize - kPageSize;
  EXPECT_FALSE(allocator->managed(beyond));
  EXPECT_FALSE(allocator->free(beyond, 0));
  EXPECT_EQ(take_findings().size(), config().debug ? 1u : 0u);
  allocator->isolate(beyond, true);
  for (void* const p : blocks) EXPECT_TRUE(allocator->free(p, order));
  EXPECT_TRUE(allocator->consistent());
  allocator.reset();  // before its memory goes
}

TEST_P(Upkeep, DescriptorsNeedNotBeAligned) {
  PageMemory m = memory(300);
  m.descriptors = static_cast<char*>(m.descriptors) + 40;
  ASSERT_EQ(allocator->set_up(m), PageSetup::ok);
  Owned owned;
  take_all(owned, gfp::memalloc, 2);
  EXPECT_EQ(owned.pages(), 300u);
  give_back(owned);
  expect_all_free();
}

// ---- growing ------------------------------------------------------------------------------------

struct Commit {
  char* start;
  std::size_t size;
};
struct Committing {
  std::vector<Commit> done;
  bool fail = false;
  std::function<void()> meanwhile;
  AnyPages* allocator = nullptr;
} committing;

bool commit(void* start, std::size_t size) noexcept {
  if (committing.meanwhile) std::exchange(committing.meanwhile, nullptr)();
  EXPECT_FALSE(committing.allocator && committing.allocator->zone_locked(0)) << "outside all locks";
  EXPECT_EQ(counts().masked, 0u);
  if (committing.fail) return false;
  committing.done.push_back({static_cast<char*>(start), size});
  return true;
}

class Growing : public Upkeep {
 protected:
  static constexpr std::size_t kStep = std::size_t{2} << 20;
  void SetUp() override {
    Upkeep::SetUp();
    committing = {};
    committing.allocator = allocator.get();
  }
  void set_up_growing(std::size_t pages, unsigned nodes = 1) {
    PageMemory m = memory(pages, nodes);
    m.commit = commit;
    ASSERT_EQ(allocator->set_up(m), PageSetup::ok);
  }
};
INSTANTIATE_TEST_SUITE_P(All, Growing, ::testing::ValuesIn(all_pages()),
                         name_of_case<::testing::TestParamInfo<PagesCase>>);

TEST_P(Growing, CommitsInStepsAsItNeedsMemory) {
  set_up_growing(16 * 512 - 100);
  EXPECT_TRUE(committing.done.empty());
  EXPECT_EQ(allocator->stats().committed, 0u);
  PageRefusal why{};
  EXPECT_EQ(allocator->alloc_nolock(gfp::none, 0, kAnyNode, &why), nullptr);
  EXPECT_EQ(why, PageRefusal::no_memory);
  EXPECT_EQ(allocator->alloc(gfp::memalloc, 0), nullptr) << "without gfp::wake";
  EXPECT_TRUE(committing.done.empty()) << "a nolock call never commits";

  Owned owned;
  void* p = allocator->alloc(gfp::nowait, 0);
  ASSERT_TRUE(p && owned.add(p, 0));
  ASSERT_EQ(committing.done.size(), 1u);
  EXPECT_EQ(committing.done[0].start, Arena::memory());
  EXPECT_EQ(committing.done[0].size, kStep / 8 * 7) << "at first";
  p = allocator->alloc_nolock(gfp::none, 0);
  ASSERT_TRUE(p && owned.add(p, 0));
  for (int i = 0; i < 30; ++i) {
    p = allocator->alloc(gfp::kernel, 3);
    ASSERT_TRUE(p && owned.add(p, 3));
  }
  EXPECT_EQ(committing.done.size(), 1u) << "there is enough of it";
  p = allocator->alloc(gfp::kernel, kMaxOrder);
  ASSERT_TRUE(p && owned.add(p, kMaxOrder)) << "a larger block gets a larger step";
  ASSERT_EQ(committing.done.size(), 2u);

  take_all(owned, gfp::kernel, 0);
  take_all(owned, gfp::kernel | gfp::memalloc, 0);
  EXPECT_EQ(owned.pages(), allocator->pages());
  char* at = Arena::memory();
  for (const Commit& c : committing.done) {
    EXPECT_EQ(c.start, at) << "in order, without gaps";
    EXPECT_TRUE(c.size >= kStep || &c == &committing.done.front() || &c == &committing.done.back());
    at = c.start + c.size;
  }
  EXPECT_EQ(at, Arena::memory() + allocator->pages() * kPageSize);
  give_back(owned);
  expect_all_free();
}

// Kind 4: a range whose commit failed is not lost; it is tried again, also where another was committed beside it.
TEST_P(Growing, AFailedCommitIsOutOfMemoryForNow) {
  set_up_growing(4 * 512);
  committing.fail = true;
  EXPECT_EQ(allocator->alloc(gfp::kernel, 0), nullptr);
  EXPECT_EQ(allocator->alloc(gfp::atomic, 9), nullptr);
  EXPECT_EQ(allocator->stats().committed, 0u);
  EXPECT_EQ(allocator->stats().failures, 2u);
  EXPECT_TRUE(allocator->consistent());
  committing.fail = false;
  void* const p = allocator->alloc(gfp::atomic, 0);
  EXPECT_EQ(p ? committing.done.front().start : nullptr, Arena::memory()) << "the same step again";
  EXPECT_TRUE(allocator->free(p, 0));
  expect_all_free();
}

// While one commit goes on, an interrupt needs memory, too, and gets the steps behind it; then the
// first one fails, and leaves a hole until a later call needs memory: no range is lost for good.
TEST_P(Growing, AFailedCommitBesideAnotherIsTriedAgain) {
  set_up_growing(4 * 512);
  void* inner = nullptr;
  committing.meanwhile = [&] {
    inner = allocator->alloc(gfp::nowait, 9);
    committing.fail = true;
  };
  EXPECT_EQ(allocator->alloc(gfp::nowait | gfp::thisnode, 9), nullptr);
  committing.fail = false;
  ASSERT_EQ(committing.done.size(), 2u) << "512 pages alone would leave no reserve";
  EXPECT_EQ(committing.done[0].start, Arena::memory() + kStep);
  EXPECT_NE(inner, nullptr);
  EXPECT_EQ(allocator->stats().committed, 1024u);
  for (std::uintptr_t i = 0; i < 512; ++i)
    EXPECT_EQ(allocator->state(allocator->page(i)), PageState::absent);
  EXPECT_TRUE(allocator->consistent());
  EXPECT_TRUE(allocator->free(inner, 9));
  Owned owned;
  take_all(owned, gfp::kernel | gfp::memalloc, 0);
  EXPECT_EQ(owned.pages(), 4 * 512u);
  EXPECT_EQ(allocator->stats().committed, 4 * 512u);
  give_back(owned);
  expect_all_free();
}

TEST_P(Growing, EachNodeGrowsByItself) {
  set_up_growing(2 * 1024, 2);
  void* const p = allocator->alloc(gfp::kernel | gfp::thisnode, 0, 1);
  ASSERT_EQ(committing.done.size(), 1u);
  EXPECT_EQ(committing.done[0].start, allocator->page(1024));
  EXPECT_EQ(allocator->stats(0).committed, 0u);
  EXPECT_TRUE(allocator->free(p, 0));
}

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
