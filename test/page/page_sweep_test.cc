// The instruction sweep over alloc_pages(), free_pages(), a drain, a trim and reserve(), with
// alloc_pages_nolock() and free_pages_nolock() after each instruction, in all eight kernels.
#include <cstdio>

#include "test/support/page_sweeper.h"
#include "test/support/verify_line.h"

namespace nestlock::test_support {
namespace {

void print(const std::string& what, const Swept& s) {
  std::printf("%-22s %5lu of %5lu boundaries, %4.1f %% served, %4lu at a held lock, %3lu parked",
              what.c_str(), static_cast<unsigned long>(s.result.boundaries),
              static_cast<unsigned long>(s.of),
              100.0 * static_cast<double>(s.calls.served) / static_cast<double>(s.calls.asked),
              static_cast<unsigned long>(s.calls.at_a_held_lock),
              static_cast<unsigned long>(s.calls.parked));
  for (unsigned i = 0; i < kPageRefusals; ++i)
    if (s.calls.refused[i])
      std::printf(", %s: %lu", nestlock::name_of(static_cast<PageRefusal>(i)),
                  static_cast<unsigned long>(s.calls.refused[i]));
  std::printf("%s\n", s.result.engine == testing::Engine::breakpoints ? "" : " (steps)");
}

class PageSweep : public PagesTest {
 protected:
  void SetUp() override {
    PagesTest::SetUp();
    ASSERT_TRUE(register_signals());
    if (const char* const why = testing::internal::why_unsupported()) GTEST_SKIP() << why;
    if (!worth_its_time(config())) GTEST_SKIP() << "NESTLOCK_LONG=1 sweeps it, too";
  }
  void sweep_all(By by, Visit visit);
};

void PageSweep::sweep_all(By by, Visit visit) {
  std::printf("%s, interrupted by a %s\n", nestlock::name_of(config()), name_of(by));
  NestedCalls all;
  std::uint64_t boundaries = 0;
  for (const SweptOp& op : swept_ops()) {
    if (kTsan && !op.brief) continue;
    const Swept s = OneSweep(*allocator, op, by).run(op.loops && !all_of_it() ? kSome : visit);
    print(op.name, s);
    swept("pages", nestlock::name_of(config()), op.name + ", by a " + name_of(by), s.result,
          s.result.boundaries >= s.of)
        .put("hits", s.calls.at_a_held_lock);
    EXPECT_TRUE(s.result.ok() && s.result.complete) << op.name << ": " << s.result.text();
    if (op.drains) {
      EXPECT_GT(s.drains, 0u) << op.name << ": the path that it is there for";
    }
    EXPECT_EQ(s.calls.unexplained, 0u)
        << op.name << ": with only the pcp lock held, or none, a nested allocation is served";
    // So the one reason there is: not "no pcp", for the two locks are never held together.
    const auto none = s.calls.refused[static_cast<unsigned>(PageRefusal::no_memory)];
    EXPECT_EQ(s.calls.served + s.calls.refused[static_cast<unsigned>(PageRefusal::zone_held)] +
                  (op.takes_out ? none : 0),
              s.calls.asked)
        << op.name;
    all += s.calls;
    boundaries += s.result.boundaries;
  }
  std::printf("  %lu boundaries, %lu calls, %.1f %% served\n",
              static_cast<unsigned long>(boundaries), static_cast<unsigned long>(all.asked),
              100.0 * static_cast<double>(all.served) / static_cast<double>(all.asked));
  EXPECT_GT(all.at_a_held_lock, 0u);
  if (!kTsan) {
    EXPECT_GT(all.parked, 0u);
  }
}

INSTANTIATE_TEST_SUITE_P(All, PageSweep, ::testing::ValuesIn(all_pages()),
                         name_of_case<::testing::TestParamInfo<PagesCase>>);

TEST_P(PageSweep, NolockCallsInAProbe) { sweep_all(By::probe, visit_all(config())); }
// With PREEMPT_RT an NMI may take none of the locks.
class PageSweepByNmi : public PageSweep {};
INSTANTIATE_TEST_SUITE_P(All, PageSweepByNmi,
                         ::testing::ValuesIn(only(all_pages(),
                                                  [](Config c) { return !c.preempt_rt; })),
                         name_of_case<::testing::TestParamInfo<PagesCase>>);
TEST_P(PageSweepByNmi, NolockCallsInAnNmi) {
  if (kTsan) GTEST_SKIP() << "to TSan a handler is the code it interrupts";
  sweep_all(By::nmi, kSome);
}

// set_up() itself: the first node has all its memory long before the last one has, and nobody gets any of it
// before all is done; the rest of the boundaries are those of the way back from there.
TEST_P(PageSweep, NothingIsServedUntilAllIsSetUp) {
  if (kTsan) GTEST_SKIP() << "stepping all of TSan's runtime takes minutes";
  const PageMemory two_nodes = memory(512, 2);
  std::uint64_t entries = 0, refused = 0, served_behind = 0;
  PageSetup done = PageSetup::already;
  const SweepResult r =
      testing::sweep_through([&] { done = allocator->set_up(two_nodes); },
                             [&] {
                               ++entries;
                               PageRefusal why = PageRefusal::none;
                               if (void* const p = allocator->alloc_nolock(gfp::none, 0, 0, &why)) {
                                 if (!served_behind) served_behind = entries;
                                 allocator->free_nolock(p, 0);
                               } else {
                                 refused += why == PageRefusal::no_memory;
                               }
                             },
                             {.ranges = program()});
  EXPECT_TRUE(r.ok() && r.complete) << r.text();
  EXPECT_EQ(done, PageSetup::ok);
  EXPECT_EQ(entries, r.boundaries);
  EXPECT_GT(served_behind, 500u);
  EXPECT_LT(entries - served_behind, 40u) << "of " << entries;
  EXPECT_EQ(refused, served_behind - 1) << "nor did one look at the zone's lock";
  std::printf("%s: nothing before boundary %lu of %lu\n", nestlock::name_of(config()),
              static_cast<unsigned long>(served_behind), static_cast<unsigned long>(entries));
  expect_all_free();
}

// One run of a mixed load, interrupted at every eleventh boundary: refills, drains and parked
// blocks as often as they come. What the interruptions have is of bounded number, each block full
// of its tag.
class Load {
 public:
  Load(AnyPages& a, unsigned turns) : a_(a), turns_(turns) {}

  void code() {
    for (unsigned i = 0; i < turns_; ++i) {
      if (i % 8 == 0 && !handed_over_.at) take(handed_over_, a_.alloc(gfp::nowait, kLarge));
      Own& mine = code_[random() % kHeld];
      if (mine.at)
        give(mine, /*nolock=*/false);
      else
        take(mine, a_.alloc(gfp::nowait, mine.order = kOrders[random() % 16]));
    }
  }
  void interruption() {
    Own& mine = nested_[entries++ % kNested];
    const bool zone = a_.zone_locked();
    held += zone;
    if (handed_over_.at && zone && entries % 16 == 0) give(handed_over_, /*nolock=*/true);
    if (mine.at) {
      give(mine, /*nolock=*/true);
      return;
    }
    PageRefusal why = PageRefusal::none;
    mine.order = entries / kNested % 8 == 7 ? 3 : entries / kNested % 8 == 3 ? 1 : 0;
    ++asked;
    take(mine, a_.alloc_nolock(gfp::none, mine.order, kAnyNode, &why));
    served += mine.at != nullptr;
    if (!mine.at && !zone) ++unexplained, unexplained_by = why;
  }
  void give_back() {
    if (handed_over_.at) give(handed_over_, false);
    for (Own& o : code_)
      if (o.at) give(o, false);
    for (Own& o : nested_)
      if (o.at) give(o, false);
  }

  std::uint64_t entries = 0, held = 0, asked = 0, served = 0, unexplained = 0, overwritten = 0;
  PageRefusal unexplained_by = PageRefusal::none;

 private:
  struct Own {
    void* at = nullptr;
    unsigned order = 0;
    std::uint64_t tag = 0;
  };
  static constexpr unsigned kHeld = 24, kNested = 33, kLarge = 5;
  static constexpr unsigned kOrders[16] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 2, 3, 6};

  void take(Own& o, void* at) {
    o.at = at;
    if (at) fill(at, o.order, o.tag = ++tags_ * 0x9e3779b97f4a7c15);
  }
  void give(Own& o, bool nolock) {
    overwritten += !has_tag(o.at, o.order, o.tag);
    void* const at = o.at;
    o.at = nullptr;
    nolock ? a_.free_nolock(at, o.order) : a_.free(at, o.order);
  }
  unsigned random() {
    return static_cast<unsigned>((seed_ = seed_ * 6364136223846793005 + 1) >> 40);
  }

  AnyPages& a_;
  const unsigned turns_;
  Own code_[kHeld], nested_[kNested];
  Own handed_over_{.at = nullptr, .order = kLarge};  // for an interruption to free
  std::uint64_t tags_ = 0, seed_ = kSeed;
};

TEST_P(PageSweep, NolockCallsAllThroughALoad) {
  if (kTsan) GTEST_SKIP() << "stepping all of TSan's runtime takes minutes";
  set_up(2048);
  Load load(*allocator, config().debug ? 24 : 40);
  const SweepResult r = testing::sweep_through([&] { load.code(); }, [&] { load.interruption(); },
                                               {.ranges = program(), .boundaries = {.every = 11}});
  EXPECT_TRUE(r.ok() && r.complete) << r.text();
  swept("pages", nestlock::name_of(config()), "a load", r, /*every=*/false).put("hits", load.held);
  load.give_back();
  const PageStats s = allocator->stats();
  std::printf(
      "%s: %lu boundaries, %lu nested allocations, %.1f %% served, %lu at a held zone lock, "
      "%lu blocks parked, %lu refills, %lu drains\n",
      nestlock::name_of(config()), static_cast<unsigned long>(r.boundaries),
      static_cast<unsigned long>(load.asked),
      100.0 * static_cast<double>(load.served) / static_cast<double>(load.asked),
      static_cast<unsigned long>(load.held), static_cast<unsigned long>(s.parked_total),
      static_cast<unsigned long>(s.refills), static_cast<unsigned long>(s.drains));
  EXPECT_EQ(load.overwritten, 0u);
  EXPECT_EQ(load.unexplained, 0u) << "with only the pcp lock held, or none: "
                                  << nestlock::name_of(load.unexplained_by);
  EXPECT_GT(load.served * 10, load.asked * 9);
  EXPECT_GT(load.held, 0u);
  EXPECT_GT(s.parked_total, 0u);
  EXPECT_GT(s.refills, 0u);
  EXPECT_GT(s.drains, 0u);
  expect_all_free();
}

}  // namespace
}  // namespace nestlock::test_support
