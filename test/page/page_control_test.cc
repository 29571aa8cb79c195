// The page allocator's switches (isolation, the allowed flags, failing on purpose), what it tells
// about itself, and what it does when it is misused. All eight kernels.
#include <thread>

#include "test/support/page_memory.h"

namespace nestlock::test_support {
namespace {

class Control : public PagesTest {};
INSTANTIATE_TEST_SUITE_P(All, Control, ::testing::ValuesIn(all_pages()),
                         name_of_case<::testing::TestParamInfo<PagesCase>>);

// ---- isolation ----------------------------------------------------------------------------------

TEST_P(Control, AnIsolatedBlockIsNotAllocatedFrom) {
  set_up(4 * 1024);
  const auto inside = [&](const void* p) {
    return p >= allocator->page(1024) && p < allocator->page(2 * 1024);
  };
  Owned owned;
  take_all(owned, gfp::nowait | gfp::memalloc, 0);
  std::vector<void*> held;  // inside, freed while it is isolated
  while (!owned.empty()) {
    const Owned::Block b = owned.take_first();
    if (inside(b.at) && held.size() < 24)
      held.push_back(b.at);
    else
      EXPECT_TRUE(allocator->free(b.at, 0));
  }
  allocator->isolate(static_cast<char*>(allocator->page(1024)) + 77 * kPageSize, true);
  allocator->isolate(allocator->page(1024), true);  // of the same block: it is
  PageStats s = allocator->stats();
  EXPECT_EQ(s.cached, 0u) << "caches went home";
  EXPECT_EQ(s.isolated, 1024 - held.size());
  EXPECT_EQ(s.free, 3 * 1024u);
  EXPECT_TRUE(allocator->consistent());
  for (std::size_t i = 0; i < held.size(); ++i)
    EXPECT_TRUE(i % 2 ? allocator->free(held[i], 0) : allocator->free_nolock(held[i], 0));
  EXPECT_EQ(allocator->stats().isolated, 1024u) << "past the caches";
  EXPECT_EQ(allocator->stats().cached, 0u);
  for (unsigned order : {0u, 3u, 0u, 6u}) {
    take_all(owned, gfp::kernel | gfp::memalloc, order);
    while (void* const p = allocator->alloc_nolock(gfp::none, 0)) ASSERT_TRUE(owned.add(p, 0));
    while (!owned.empty()) {
      const Owned::Block b = owned.take_first();
      EXPECT_FALSE(inside(b.at));
      EXPECT_TRUE(allocator->free(b.at, b.order));
    }
  }
  allocator->isolate(allocator->page(2 * 1024 - 1), false);
  expect_all_free();
  EXPECT_EQ(allocator->stats().isolated, 0u);
  EXPECT_EQ(blocks(), (std::vector<unsigned>{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4}));
}

// The block is the aligned one, also where a node begins in the middle of it.
TEST_P(Control, IsolationStopsAtTheBlocksAndTheNodesEnds) {
  set_up(2 * 1500, 2);
  allocator->isolate(allocator->page(1400), true);  // [1024, 1500) of node 0
  EXPECT_EQ(allocator->stats(0).isolated, 1500u - 1024);
  EXPECT_EQ(allocator->stats(1).isolated, 0u);
  allocator->isolate(allocator->page(1500), true);  // [1500, 2048) of node 1
  EXPECT_EQ(allocator->stats(1).isolated, 2048u - 1500);
  EXPECT_TRUE(allocator->consistent());
  void* const p = allocator->alloc(gfp::kernel | gfp::thisnode, 0, 1);
  EXPECT_GE(p, allocator->page(2048));
  EXPECT_TRUE(allocator->free(p, 0));
  allocator->isolate(allocator->page(1024), false);
  allocator->isolate(allocator->page(2047), false);
  allocator->isolate(allocator->page(2047), false);  // it is not
  expect_all_free(0);
  expect_all_free(1);
  EXPECT_EQ(allocator->stats(0).isolated + allocator->stats(1).isolated, 0u);
}

TEST_P(Control, IsolatedBeforeItsMemoryComes) {
  PageMemory m = memory(4 * 1024, 2);
  m.commit = [](void*, std::size_t) noexcept { return true; };
  ASSERT_EQ(allocator->set_up(m), PageSetup::ok);
  allocator->isolate(allocator->page(2048), true);  // the first block of node 1
  void* const p = allocator->alloc(gfp::kernel | gfp::memalloc | gfp::thisnode, 10, 1);
  EXPECT_EQ(p, allocator->page(3072));
  EXPECT_EQ(allocator->stats(1).isolated, 1024u);
  allocator->isolate(allocator->page(2048), false);
  EXPECT_EQ(allocator->stats(1).isolated, 0u);
  EXPECT_TRUE(allocator->free(p, 10));
  expect_all_free(1);
}

// ---- the mask of early boot ---------------------------------------------------------------------

TEST_P(Control, TheAllowedFlagsTakeAwayButNotTheResult) {
  PageMemory m = memory(1024);
  static bool asked;
  asked = false;
  m.commit = [](void*, std::size_t) noexcept {
    asked = true;
    return true;
  };
  ASSERT_EQ(allocator->set_up(m), PageSetup::ok);
  allocator->set_allowed(gfp::high);
  EXPECT_EQ(allocator->alloc(gfp::kernel, 0), nullptr);
  EXPECT_FALSE(asked) << "wake is not allowed";
  allocator->set_allowed(kGfpAll);
  void* const first = allocator->alloc(gfp::kernel, 0);
  EXPECT_TRUE(asked);
  EXPECT_TRUE(allocator->free(first, 0));

  allocator->set_allowed(gfp::none);
  Owned owned;
  allocator->pcp_disable(0);
  take_all(owned, gfp::kernel | gfp::memalloc, 0);
  EXPECT_EQ(allocator->stats().free, allocator->stats().min) << "memalloc is not allowed";
  allocator->pcp_enable(0);
  give_back(owned);
  // What the block is like is not restricted.
  auto* const p = static_cast<unsigned char*>(allocator->alloc(gfp::kernel, 1));
  std::memset(p, 0xff, 2 * kPageSize);
  EXPECT_TRUE(allocator->free(p, 1));
  auto* const q =
      static_cast<unsigned char*>(allocator->alloc(gfp::kernel | gfp::zero | gfp::comp, 1));
  EXPECT_EQ(q[0] + q[kPageSize + 200] + q[2 * kPageSize - 1], 0);
  EXPECT_EQ(allocator->head_of(q + kPageSize), q);
  EXPECT_EQ(allocator->alloc(gfp::kernel | gfp::thisnode, 0, 1), nullptr);
  EXPECT_TRUE(allocator->free(q, 1));
  allocator->set_allowed(kGfpAll);
  expect_all_free();
}

// ---- failing on purpose -------------------------------------------------------------------------

TEST_P(Control, EveryKthAllocationFails) {
  set_up(1024);
  const auto try_many = [&](unsigned order, bool nolock) {
    std::string pattern;
    for (int i = 0; i < 9; ++i) {
      PageRefusal why = PageRefusal::none;
      void* const p = nolock ? allocator->alloc_nolock(gfp::none, order, kAnyNode, &why)
                             : allocator->alloc(gfp::kernel, order);
      pattern += p ? '+' : '-';
      if (p)
        EXPECT_TRUE(allocator->free(p, order));
      else
        EXPECT_EQ(why, nolock ? PageRefusal::injected : PageRefusal::none);
    }
    return pattern;
  };
  allocator->fail_every(3);
  EXPECT_EQ(try_many(0, false), "++-++-++-");
  EXPECT_EQ(try_many(0, true), "++-++-++-");
  EXPECT_EQ(try_many(5, false), "++-++-++-");
  EXPECT_EQ(allocator->stats().failures, 6u);
  EXPECT_EQ(allocator->stats().refusals[static_cast<unsigned>(PageRefusal::injected)], 3u);
  allocator->fail_every(1, 1u << 3);
  EXPECT_EQ(try_many(3, false), "---------");
  EXPECT_EQ(try_many(0, false), "+++++++++") << "another order";
  allocator->fail_every(0);
  EXPECT_EQ(try_many(3, false), "+++++++++");
  expect_all_free();
}

// ---- what it tells ------------------------------------------------------------------------------

// Kind 13: the statistics add up.
TEST_P(Control, CountsWhatItDoes) {
  set_up(1024);
  void* const p = allocator->alloc(gfp::kernel, 0);  // the zone, and a refill
  void* const q = allocator->alloc(gfp::kernel, 0);  // the cache
  void* const r = allocator->alloc(gfp::kernel, 7);  // the zone
  PageStats s = allocator->stats();
  EXPECT_EQ(s.present, 1024u);
  EXPECT_EQ(s.committed, 1024u);
  EXPECT_EQ(s.refills, 1u);
  EXPECT_EQ(s.zone_allocs, 1 + 4 + 1u) << "the block, a batch of four, the large one";
  EXPECT_EQ(s.pcp_allocs, 1u);
  EXPECT_EQ(s.cached, 3u);
  EXPECT_EQ(s.free, 1024 - 1 - 4 - 128u);
  EXPECT_TRUE(allocator->free(p, 0) && allocator->free(q, 0) && allocator->free(r, 7));
  s = allocator->stats();
  EXPECT_EQ(s.pcp_frees, 2u);
  EXPECT_EQ(s.zone_frees, 1u);
  EXPECT_EQ(allocator->stats(1).present, 0u) << "no such node";
  EXPECT_EQ(allocator->stats(kMaxNodes).present, 0u);
}

TEST_P(Control, PrintsItselfIntoAnyBuffer) {
  set_up(1024, 2);
  EXPECT_TRUE(allocator->free(allocator->alloc(gfp::kernel, 0), 0));
  char text[8192];
  std::size_t n = allocator->buddyinfo(text, sizeof text);
  EXPECT_EQ(n, std::strlen(text));
  EXPECT_EQ(std::count(text, text + n, '\n'), 2) << text;
  EXPECT_NE(std::string(text).find("Node 1"), std::string::npos) << text;
  n = allocator->zoneinfo(text, sizeof text);
  EXPECT_EQ(n, std::strlen(text));
  const std::string whole = text;
  for (const char* row : {"Node 0", "Node 1", "present", "free", "cached", "parked", "refills",
                          "zone lock held, pcp busy", "busy from nmi", "cpu "})
    EXPECT_NE(whole.find(row), std::string::npos) << row << " is missing in\n" << whole;
  for (std::size_t size : {std::size_t{1}, std::size_t{2}, std::size_t{40}, n, n + 1}) {
    std::memset(text, 'x', sizeof text);
    EXPECT_EQ(allocator->zoneinfo(text, size), std::min(n, size - 1));
    EXPECT_EQ(std::strlen(text), std::min(n, size - 1)) << "terminated";
    EXPECT_EQ(whole.compare(0, size - 1, text), 0);
    EXPECT_EQ(text[size], 'x');
  }
  text[0] = 'x';
  EXPECT_EQ(allocator->zoneinfo(text, 0), 0u);
  EXPECT_EQ(text[0], 'x');
}

// ---- misuse -------------------------------------------------------------------------------------

class Misuse : public Control {
 protected:
  // Refused, reported in debug, and nothing else happened.
  void expect_refused(bool result, Finding finding, const char* what) {
    EXPECT_FALSE(result) << what;
    if (config().debug)
      EXPECT_EQ(take_findings(), std::vector{finding}) << what;
    else
      EXPECT_EQ(findings->size(), 0u) << what;
    EXPECT_TRUE(allocator->consistent()) << what;
  }
};
INSTANTIATE_TEST_SUITE_P(All, Misuse, ::testing::ValuesIn(all_pages()),
                         name_of_case<::testing::TestParamInfo<PagesCase>>);

// Kind 7: bad frees of pages are refused and counted.
TEST_P(Misuse, BadFreesAreRefused) {
  set_up(1024);
  allocator->cpu_id();
  void* const one = allocator->alloc(gfp::kernel, 0);
  auto* const four = static_cast<char*>(allocator->alloc(gfp::kernel, 2));
  auto* const comp = static_cast<char*>(allocator->alloc(gfp::kernel | gfp::comp, 4));
  const PageStats before = allocator->stats();
  // foreign
  char mine;
  expect_refused(allocator->free(nullptr, 0), Finding::foreign_pointer, "null");
  expect_refused(allocator->free(&mine, 0), Finding::foreign_pointer, "a variable");
  expect_refused(allocator->free_nolock(&mine, 0), Finding::foreign_pointer, "a variable, nolock");
  expect_refused(allocator->free_at(&mine, 0), Finding::foreign_pointer, "a variable's address");
  expect_refused(allocator->free_descriptor(-1, 0), Finding::foreign_pointer, "before the first");
  expect_refused(allocator->free_descriptor(1024, 0), Finding::foreign_pointer, "behind the last");
  // misaligned
  expect_refused(allocator->free_at(four + 8, 2), Finding::foreign_pointer, "inside a page");
  expect_refused(allocator->free_at(four + kPageSize - 1, 2), Finding::foreign_pointer,
                 "its last byte");
  // inside a block
  expect_refused(allocator->free(comp + kPageSize, 4), Finding::foreign_pointer, "a tail page");
  expect_refused(allocator->free(comp + kPageSize, 0), Finding::foreign_pointer,
                 "a tail page, alone");
  expect_refused(allocator->free_at(four + kPageSize, 0), Finding::double_free,
                 "a page of the inside");
  // another order
  for (unsigned order : {0u, 1u, 3u, 10u, 11u, 64u, 256u, 0x1000000u, 0x1000002u, ~0u}) {
    expect_refused(allocator->free(four, order), Finding::wrong_order, "another order");
    expect_refused(allocator->free_nolock(four, order), Finding::wrong_order,
                   "another order, nolock");
  }
  // free already: in the cache, in the buddy, merged, never used
  EXPECT_TRUE(allocator->free(one, 0));
  expect_refused(allocator->free(one, 0), Finding::double_free, "twice, in the cache");
  expect_refused(allocator->free_nolock(one, 0), Finding::double_free, "twice, nolock");
  EXPECT_TRUE(allocator->free(four, 2));
  expect_refused(allocator->free(four, 2), Finding::double_free, "twice, a block in the cache");
  EXPECT_TRUE(allocator->free(comp, 4));
  expect_refused(allocator->free(comp, 4), Finding::double_free, "twice, in the buddy");
  allocator->drain_all();
  expect_refused(allocator->free(one, 0), Finding::double_free, "twice, merged");
  expect_refused(allocator->free_at(allocator->page(1023), 0), Finding::double_free,
                 "never allocated");
  EXPECT_EQ(allocator->stats().bad_frees - before.bad_frees, 3 + 2 * 10 + 6u);
  expect_all_free();
}

class Reported : public Misuse {};
INSTANTIATE_TEST_SUITE_P(All, Reported,
                         ::testing::ValuesIn(only(all_pages(), [](Config c) { return c.debug; })),
                         name_of_case<::testing::TestParamInfo<PagesCase>>);
TEST_P(Reported, AReportTellsThePagesHistory) {
  set_up(1024);
  const unsigned allocated = __LINE__ + 1;
  void* const p = allocator->alloc(gfp::kernel, 1);
  const unsigned freed = __LINE__ + 1;
  EXPECT_TRUE(allocator->free(p, 1));
  const unsigned again = __LINE__ + 1;
  EXPECT_FALSE(allocator->free(p, 1));
  ASSERT_EQ(findings->size(), 1u);
  const Report r = (*findings)[0];
  EXPECT_EQ(r.finding, Finding::double_free);
  EXPECT_STREQ(r.type, "PageAllocator");
  EXPECT_STREQ(r.call, "free_pages");
  EXPECT_EQ(r.lock, p);
  EXPECT_EQ(r.born_at.line, allocated);
  EXPECT_EQ(r.taken_at.line, freed);
  EXPECT_EQ(r.here.line, again);
  EXPECT_EQ(r.config, config());
  EXPECT_FALSE(r.fatal);
  EXPECT_NE(text_of(r).find("page_control_test.cc"), std::string::npos) << text_of(r);
  take_findings();
}

TEST_P(Misuse, AWriteToFreeMemoryIsReportedWhenItIsUsedAgain) {
  set_up(1024);
  for (unsigned order = 0; order < 7; ++order) {
    auto* const p = static_cast<char*>(allocator->alloc(gfp::kernel, order));
    EXPECT_TRUE(allocator->free(p, order));
    // In any page of a block that a cache holds; in the first of a larger one.
    char* const at = p + (order < 4 ? (kPageSize << order) - kPageSize : 0) + 100;
    *at = 1;
    EXPECT_EQ(allocator->alloc(gfp::kernel, order), p);
    if (config().debug) {
      ASSERT_EQ(findings->size(), 1u) << "order " << order;
      const Report r = (*findings)[0];
      EXPECT_EQ(r.finding, Finding::use_after_free);
      EXPECT_EQ(r.lock, at);
      EXPECT_NE(r.taken_at.line, 0u);
      take_findings();
    }
    EXPECT_TRUE(allocator->free(p, order));
  }
  expect_all_free();
}

// A page freed by itself, used as part of a larger block, and again by itself: nobody wrote to it
// while it was free.
TEST_P(Misuse, APageOfALargerBlockMayBeWrittenTo) {
  set_up(1024);
  allocator->pcp_disable(0);
  Owned owned;
  take_all(owned, gfp::memalloc, 0);
  give_back(owned);  // poisons each
  ASSERT_TRUE(owned.add(allocator->alloc(gfp::kernel, 9), 9));
  give_back(owned);
  take_all(owned, gfp::memalloc, 0);
  EXPECT_EQ(owned.pages(), 1024u);
  give_back(owned);
  allocator->pcp_enable(0);
  expect_all_free();
}

}  // namespace
}  // namespace nestlock::test_support
