// The page allocator set up, and growing, in all eight kernels: what it is given, what it describes and commits.
#include <sys/mman.h>

#include <bit>
#include <cstring>
#include <functional>
#include <utility>
#include <vector>

#include "test/support/page_memory.h"

namespace nestlock::test_support {
namespace {

// ---- setting up ---------------------------------------------------------------------------------

class SettingUp : public PagesTest {};
INSTANTIATE_TEST_SUITE_P(All, SettingUp, ::testing::ValuesIn(all_pages()),
                         name_of_case<::testing::TestParamInfo<PagesCase>>);

TEST_P(SettingUp, EveryCallBeforeSetUpRefuses) {
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

TEST_P(SettingUp, SetUpSaysWhatItCannotUse) {
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

TEST_P(SettingUp, DescriptorsInsideTheRangeAreNotPages) {
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
TEST_P(SettingUp, DescriptorsAreMadeWritableBeforeTheyAreWritten) {
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

TEST_P(SettingUp, DescriptorsNeedNotBeAligned) {
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

class Growing : public PagesTest {
 protected:
  static constexpr std::size_t kStep = std::size_t{2} << 20;
  void SetUp() override {
    PagesTest::SetUp();
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
  EXPECT_EQ(committing.done[0].size, kStep / 4 * 3) << "at first";
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

}  // namespace
}  // namespace nestlock::test_support
