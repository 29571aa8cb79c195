// The page allocator's switches (isolation, the allowed flags, failing on purpose), what it tells
// about itself, and what it does when it is misused. All eight kernels.
#include <thread>

#include "test/support/page_memory.h"

namespace nestlock::test_support {
namespace {

class Control : public PagesTest {
 protected:
  void take_all(Owned& owned, gfp flags, unsigned order) {
    while (void* const p = a->alloc(flags, order)) ASSERT_TRUE(owned.add(p, order));
  }
  void give_back(Owned& owned) {
    while (!owned.empty()) {
      const Owned::Block b = owned.take_first();
      EXPECT_TRUE(a->free(b.at, b.order));
    }
    EXPECT_EQ(owned.trouble(), "");
  }
};
INSTANTIATE_TEST_SUITE_P(All, Control, ::testing::ValuesIn(all_pages()),
                         name_of_case<::testing::TestParamInfo<PagesCase>>);

// ---- isolation ----------------------------------------------------------------------------------

TEST_P(Control, AnIsolatedBlockIsNotAllocatedFrom) {
  set_up(4 * 1024);
  const auto inside = [&](const void* p) { return p >= a->page(1024) && p < a->page(2 * 1024); };
  Owned owned;
  take_all(owned, gfp::nowait | gfp::memalloc, 0);
  std::vector<void*> held;  // inside, freed while it is isolated
  while (!owned.empty()) {
    const Owned::Block b = owned.take_first();
    if (inside(b.at) && held.size() < 24)
      held.push_back(b.at);
    else
      EXPECT_TRUE(a->free(b.at, 0));
  }
  a->isolate(static_cast<char*>(a->page(1024)) + 77 * kPageSize, true);
  a->isolate(a->page(1024), true);  // of the same block: it is
  PageStats s = a->stats();
  EXPECT_EQ(s.cached, 0u) << "caches went home";
  EXPECT_EQ(s.isolated, 1024 - held.size());
  EXPECT_EQ(s.free, 3 * 1024u);
  EXPECT_TRUE(a->consistent());
  for (std::size_t i = 0; i < held.size(); ++i)
    EXPECT_TRUE(i % 2 ? a->free(held[i], 0) : a->free_nolock(held[i], 0));
  EXPECT_EQ(a->stats().isolated, 1024u) << "past the caches";
  EXPECT_EQ(a->stats().cached, 0u);
  for (unsigned order : {0u, 3u, 0u, 6u}) {
    take_all(owned, gfp::kernel | gfp::memalloc, order);
    while (void* const p = a->alloc_nolock(gfp::none, 0)) ASSERT_TRUE(owned.add(p, 0));
    while (!owned.empty()) {
      const Owned::Block b = owned.take_first();
      EXPECT_FALSE(inside(b.at));
      EXPECT_TRUE(a->free(b.at, b.order));
    }
  }
  a->isolate(a->page(2 * 1024 - 1), false);
  expect_all_free();
  EXPECT_EQ(a->stats().isolated, 0u);
  EXPECT_EQ(blocks(), (std::vector<unsigned>{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4}));
}

// The block is the aligned one, also where a node begins in the middle of it.
TEST_P(Control, IsolationStopsAtTheBlocksAndTheNodesEnds) {
  set_up(2 * 1500, 2);
  a->isolate(a->page(1400), true);  // [1024, 1500) of node 0
  EXPECT_EQ(a->stats(0).isolated, 1500u - 1024);
  EXPECT_EQ(a->stats(1).isolated, 0u);
  a->isolate(a->page(1500), true);  // [1500, 2048) of node 1
  EXPECT_EQ(a->stats(1).isolated, 2048u - 1500);
  EXPECT_TRUE(a->consistent());
  void* const p = a->alloc(gfp::kernel | gfp::thisnode, 0, 1);
  EXPECT_GE(p, a->page(2048));
  EXPECT_TRUE(a->free(p, 0));
  a->isolate(a->page(1024), false);
  a->isolate(a->page(2047), false);
  a->isolate(a->page(2047), false);  // it is not
  expect_all_free(0);
  expect_all_free(1);
  EXPECT_EQ(a->stats(0).isolated + a->stats(1).isolated, 0u);
}

TEST_P(Control, IsolatedBeforeItsMemoryComes) {
  PageMemory m = memory(4 * 1024, 2);
  m.commit = [](void*, std::size_t) noexcept { return true; };
  ASSERT_EQ(a->set_up(m), PageSetup::ok);
  a->isolate(a->page(2048), true);  // the first block of node 1
  void* const p = a->alloc(gfp::kernel | gfp::memalloc | gfp::thisnode, 10, 1);
  EXPECT_EQ(p, a->page(3072));
  EXPECT_EQ(a->stats(1).isolated, 1024u);
  a->isolate(a->page(2048), false);
  EXPECT_EQ(a->stats(1).isolated, 0u);
  EXPECT_TRUE(a->free(p, 10));
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
  ASSERT_EQ(a->set_up(m), PageSetup::ok);
  a->set_allowed(gfp::high);
  EXPECT_EQ(a->alloc(gfp::kernel, 0), nullptr);
  EXPECT_FALSE(asked) << "wake is not allowed";
  a->set_allowed(kGfpAll);
  void* const first = a->alloc(gfp::kernel, 0);
  EXPECT_TRUE(asked);
  EXPECT_TRUE(a->free(first, 0));

  a->set_allowed(gfp::none);
  Owned owned;
  a->pcp_disable(0);
  take_all(owned, gfp::kernel | gfp::memalloc, 0);
  EXPECT_EQ(a->stats().free, a->stats().min) << "memalloc is not allowed";
  a->pcp_enable(0);
  give_back(owned);
  // What the block is like is not restricted.
  auto* const p = static_cast<unsigned char*>(a->alloc(gfp::kernel, 1));
  std::memset(p, 0xff, 2 * kPageSize);
  EXPECT_TRUE(a->free(p, 1));
  auto* const q = static_cast<unsigned char*>(a->alloc(gfp::kernel | gfp::zero | gfp::comp, 1));
  EXPECT_EQ(q[0] + q[kPageSize + 200] + q[2 * kPageSize - 1], 0);
  EXPECT_EQ(a->head_of(q + kPageSize), q);
  EXPECT_EQ(a->alloc(gfp::kernel | gfp::thisnode, 0, 1), nullptr);
  EXPECT_TRUE(a->free(q, 1));
  a->set_allowed(kGfpAll);
  expect_all_free();
}

// ---- failing on purpose -------------------------------------------------------------------------

TEST_P(Control, EveryKthAllocationFails) {
  set_up(1024);
  const auto try_many = [&](unsigned order, bool nolock) {
    std::string pattern;
    for (int i = 0; i < 9; ++i) {
      PageRefusal why = PageRefusal::none;
      void* const p =
          nolock ? a->alloc_nolock(gfp::none, order, kAnyNode, &why) : a->alloc(gfp::kernel, order);
      pattern += p ? '+' : '-';
      if (p)
        EXPECT_TRUE(a->free(p, order));
      else
        EXPECT_EQ(why, nolock ? PageRefusal::injected : PageRefusal::none);
    }
    return pattern;
  };
  a->fail_every(3);
  EXPECT_EQ(try_many(0, false), "++-++-++-");
  EXPECT_EQ(try_many(0, true), "++-++-++-");
  EXPECT_EQ(try_many(5, false), "++-++-++-");
  EXPECT_EQ(a->stats().failures, 6u);
  EXPECT_EQ(a->stats().refusals[static_cast<unsigned>(PageRefusal::injected)], 3u);
  a->fail_every(1, 1u << 3);
  EXPECT_EQ(try_many(3, false), "---------");
  EXPECT_EQ(try_many(0, false), "+++++++++") << "another order";
  a->fail_every(0);
  EXPECT_EQ(try_many(3, false), "+++++++++");
  expect_all_free();
}

// ---- what it tells ------------------------------------------------------------------------------

TEST_P(Control, CountsWhatItDoes) {
  set_up(1024);
  void* const p = a->alloc(gfp::kernel, 0);  // the zone, and a refill
  void* const q = a->alloc(gfp::kernel, 0);  // the cache
  void* const r = a->alloc(gfp::kernel, 7);  // the zone
  PageStats s = a->stats();
  EXPECT_EQ(s.present, 1024u);
  EXPECT_EQ(s.committed, 1024u);
  EXPECT_EQ(s.refills, 1u);
  EXPECT_EQ(s.zone_allocs, 1 + 4 + 1u) << "the block, a batch of four, the large one";
  EXPECT_EQ(s.pcp_allocs, 1u);
  EXPECT_EQ(s.cached, 3u);
  EXPECT_EQ(s.free, 1024 - 1 - 4 - 128u);
  EXPECT_TRUE(a->free(p, 0) && a->free(q, 0) && a->free(r, 7));
  s = a->stats();
  EXPECT_EQ(s.pcp_frees, 2u);
  EXPECT_EQ(s.zone_frees, 1u);
  EXPECT_EQ(a->stats(1).present, 0u) << "no such node";
  EXPECT_EQ(a->stats(kMaxNodes).present, 0u);
}

TEST_P(Control, PrintsItselfIntoAnyBuffer) {
  set_up(1024, 2);
  EXPECT_TRUE(a->free(a->alloc(gfp::kernel, 0), 0));
  char text[8192];
  std::size_t n = a->buddyinfo(text, sizeof text);
  EXPECT_EQ(n, std::strlen(text));
  EXPECT_EQ(std::count(text, text + n, '\n'), 2) << text;
  EXPECT_NE(std::string(text).find("Node 1"), std::string::npos) << text;
  n = a->zoneinfo(text, sizeof text);
  EXPECT_EQ(n, std::strlen(text));
  const std::string whole = text;
  for (const char* row : {"Node 0", "Node 1", "present", "free", "cached", "parked", "refills",
                          "zone lock held, pcp busy", "busy from nmi", "cpu "})
    EXPECT_NE(whole.find(row), std::string::npos) << row << " is missing in\n" << whole;
  for (std::size_t size : {std::size_t{1}, std::size_t{2}, std::size_t{40}, n, n + 1}) {
    std::memset(text, 'x', sizeof text);
    EXPECT_EQ(a->zoneinfo(text, size), std::min(n, size - 1));
    EXPECT_EQ(std::strlen(text), std::min(n, size - 1)) << "terminated";
    EXPECT_EQ(whole.compare(0, size - 1, text), 0);
    EXPECT_EQ(text[size], 'x');
  }
  text[0] = 'x';
  EXPECT_EQ(a->zoneinfo(text, 0), 0u);
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
    EXPECT_TRUE(a->consistent()) << what;
  }
};
INSTANTIATE_TEST_SUITE_P(All, Misuse, ::testing::ValuesIn(all_pages()),
                         name_of_case<::testing::TestParamInfo<PagesCase>>);

TEST_P(Misuse, BadFreesAreRefused) {
  set_up(1024);
  a->cpu_id();
  void* const one = a->alloc(gfp::kernel, 0);
  auto* const four = static_cast<char*>(a->alloc(gfp::kernel, 2));
  auto* const comp = static_cast<char*>(a->alloc(gfp::kernel | gfp::comp, 4));
  const PageStats before = a->stats();
  // foreign
  char mine;
  expect_refused(a->free(nullptr, 0), Finding::foreign_pointer, "null");
  expect_refused(a->free(&mine, 0), Finding::foreign_pointer, "a variable");
  expect_refused(a->free_nolock(&mine, 0), Finding::foreign_pointer, "a variable, nolock");
  expect_refused(a->free_at(&mine, 0), Finding::foreign_pointer, "a variable's address");
  expect_refused(a->free_descriptor(-1, 0), Finding::foreign_pointer, "before the first");
  expect_refused(a->free_descriptor(1024, 0), Finding::foreign_pointer, "behind the last");
  // misaligned
  expect_refused(a->free_at(four + 8, 2), Finding::foreign_pointer, "inside a page");
  expect_refused(a->free_at(four + kPageSize - 1, 2), Finding::foreign_pointer, "its last byte");
  // inside a block
  expect_refused(a->free(comp + kPageSize, 4), Finding::foreign_pointer, "a tail page");
  expect_refused(a->free(comp + kPageSize, 0), Finding::foreign_pointer, "a tail page, alone");
  expect_refused(a->free_at(four + kPageSize, 0), Finding::double_free, "a page of the inside");
  // another order
  for (unsigned order : {0u, 1u, 3u, 10u, 11u, 64u, 256u, 0x1000000u, 0x1000002u, ~0u}) {
    expect_refused(a->free(four, order), Finding::wrong_order, "another order");
    expect_refused(a->free_nolock(four, order), Finding::wrong_order, "another order, nolock");
  }
  // free already: in the cache, in the buddy, merged, never used
  EXPECT_TRUE(a->free(one, 0));
  expect_refused(a->free(one, 0), Finding::double_free, "twice, in the cache");
  expect_refused(a->free_nolock(one, 0), Finding::double_free, "twice, nolock");
  EXPECT_TRUE(a->free(four, 2));
  expect_refused(a->free(four, 2), Finding::double_free, "twice, a block in the cache");
  EXPECT_TRUE(a->free(comp, 4));
  expect_refused(a->free(comp, 4), Finding::double_free, "twice, in the buddy");
  a->drain_all();
  expect_refused(a->free(one, 0), Finding::double_free, "twice, merged");
  expect_refused(a->free_at(a->page(1023), 0), Finding::double_free, "never allocated");
  EXPECT_EQ(a->stats().bad_frees - before.bad_frees, 3 + 2 * 10 + 6u);
  expect_all_free();
}

class Reported : public Misuse {};
INSTANTIATE_TEST_SUITE_P(All, Reported,
                         ::testing::ValuesIn(only(all_pages(), [](Config c) { return c.debug; })),
                         name_of_case<::testing::TestParamInfo<PagesCase>>);
TEST_P(Reported, AReportTellsThePagesHistory) {
  set_up(1024);
  const unsigned allocated = __LINE__ + 1;
  void* const p = a->alloc(gfp::kernel, 1);
  const unsigned freed = __LINE__ + 1;
  EXPECT_TRUE(a->free(p, 1));
  const unsigned again = __LINE__ + 1;
  EXPECT_FALSE(a->free(p, 1));
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
    auto* const p = static_cast<char*>(a->alloc(gfp::kernel, order));
    EXPECT_TRUE(a->free(p, order));
    // In any page of a block that a cache holds; in the first of a larger one.
    char* const at = p + (order < 4 ? (kPageSize << order) - kPageSize : 0) + 100;
    *at = 1;
    EXPECT_EQ(a->alloc(gfp::kernel, order), p);
    if (config().debug) {
      ASSERT_EQ(findings->size(), 1u) << "order " << order;
      const Report r = (*findings)[0];
      EXPECT_EQ(r.finding, Finding::use_after_free);
      EXPECT_EQ(r.lock, at);
      EXPECT_NE(r.taken_at.line, 0u);
      take_findings();
    }
    EXPECT_TRUE(a->free(p, order));
  }
  expect_all_free();
}

// A page freed by itself, used as part of a larger block, and again by itself: nobody wrote to it
// while it was free.
TEST_P(Misuse, APageOfALargerBlockMayBeWrittenTo) {
  set_up(1024);
  a->pcp_disable(0);
  Owned owned;
  take_all(owned, gfp::memalloc, 0);
  give_back(owned);  // poisons each
  ASSERT_TRUE(owned.add(a->alloc(gfp::kernel, 9), 9));
  give_back(owned);
  take_all(owned, gfp::memalloc, 0);
  EXPECT_EQ(owned.pages(), 1024u);
  give_back(owned);
  a->pcp_enable(0);
  expect_all_free();
}

}  // namespace
}  // namespace nestlock::test_support
