// The lock policies on one CPU under the same sweep: which of them survive a nested call from an
// irq, an NMI and a probe. Those without a promise must be seen to corrupt: permanent expected
// failures, which show that the sweep sees what the promise is for.
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>

#include "test/support/page_sweeper.h"
#include "test/support/verify_line.h"

namespace nestlock::test_support {
namespace {

// Ends a child that no longer gets from one boundary to the next: the walk of a corrupt list. Looked at by
// the child's own processor time, for a slow machine is not a hang: kLook of it without a new boundary.
struct Watch {
  static constexpr itimerval kLook{{0, 400'000}, {0, 400'000}};
  static constexpr rlim_t kLast = 60;  // seconds; then the system ends it
  static inline const volatile std::uint64_t* at = nullptr;
  static inline std::uint64_t seen = 0;

  static void begin(const std::uint64_t& boundary) {
    at = &boundary, seen = boundary;
    std::signal(SIGPROF, [](int) {
      if (*at == seen) _exit(1);
      seen = *at;
    });
    setitimer(ITIMER_PROF, &kLook, nullptr);
    const rlimit time{kLast, kLast};
    setrlimit(RLIMIT_CPU, &time);
  }
};

// What a sweep in a child came to, in memory shared with it: a corrupt allocator may end it.
struct Outcomes {
  NestedCalls calls;
  std::uint64_t crashed, at;
  std::uintptr_t pcp_allocs;
};

class Policy : public ::testing::TestWithParam<PagesCase> {
 protected:
  static constexpr std::uint64_t kOfEach = 40, kOfOne = 150;  // boundaries of an operation

  void SetUp() override {
    ASSERT_TRUE(register_signals());
    if (const char* const why = testing::internal::why_unsupported()) GTEST_SKIP() << why;
    void* const m =
        mmap(nullptr, sizeof(Outcomes), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    ASSERT_NE(m, MAP_FAILED);
    outcomes_ = new (m) Outcomes{};
  }
  void TearDown() override {
    if (outcomes_) munmap(outcomes_, sizeof(Outcomes));
  }

  // Sweeps one operation; after a crash or a hang it goes on behind it, a few times.
  void sweep(const SweptOp& op, By by, SweptPages::Calls which, std::uint64_t boundaries) {
    const std::uint64_t length = [&] {
      const std::unique_ptr<AnyPages> a = GetParam().make();
      return OneSweep(*a, op, by, which).length();
    }();
    const std::uint64_t every = length / boundaries + 1;
    outcomes_->at = 0;
    for (int crashes = 0; crashes < 4; ++crashes) {
      const std::uint64_t first = outcomes_->at ? outcomes_->at + every : 1 + kSeed % every;
      if (first > length) return;
      const pid_t child = fork();
      if (child == 0) {
        const rlimit no_core{0, 0};
        setrlimit(RLIMIT_CORE, &no_core);
        Watch::begin(outcomes_->at);
        for (int s : {SIGSEGV, SIGBUS, SIGABRT}) std::signal(s, SIG_DFL);
        hosted::set_report_sink([](const Report&) noexcept {});
        const std::unique_ptr<AnyPages> a = GetParam().make();
        const SweepResult r =
            OneSweep(*a, op, by, which).run_from(first, every, outcomes_->at, outcomes_->calls);
        outcomes_->pcp_allocs += a->stats().pcp_allocs;
        _exit(r.trouble != nullptr);
      }
      int status = 0;
      waitpid(child, &status, 0);
      if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return;
      ++outcomes_->crashed;
    }
  }
  // All operations, or those of a name.
  void sweep_ops(By by, SweptPages::Calls which, const std::string& name = "") {
    for (const SweptOp& op : swept_ops())
      if (!op.parked && op.name != "alloc 9, growing" && op.name.starts_with(name))
        sweep(op, by, which, name.empty() ? kOfEach : kOfOne);
  }
  std::uint64_t corrupted() const { return outcomes_->calls.failed + outcomes_->crashed; }
  void print(const char* what, By by) const {
    const NestedCalls& n = outcomes_->calls;
    std::printf(
        "%-15s %-24s by %-5s: %5lu boundaries, %5lu of %5lu nested allocations served, "
        "corrupt after %lu (given twice %lu, overwritten %lu, lost %lu, inconsistent %lu, "
        "crashed %lu)\n",
        GetParam().policy, what, name_of(by), static_cast<unsigned long>(n.entries),
        static_cast<unsigned long>(n.served), static_cast<unsigned long>(n.asked),
        static_cast<unsigned long>(corrupted()), static_cast<unsigned long>(n.twice),
        static_cast<unsigned long>(n.overwritten), static_cast<unsigned long>(n.lost),
        static_cast<unsigned long>(n.inconsistent), static_cast<unsigned long>(outcomes_->crashed));
    const std::string policy = GetParam().policy;
    if (promises())
      VerifyLine("sweep", "pages on " + policy, "up")
          .put("case", std::string(what) + ", by " + name_of(by))
          .ok(corrupted() == 0)
          .put("boundaries", n.entries)
          .put("complete", "no")
          .put("hits", n.at_a_held_lock);
    else if (corrupted())
      caught("sweep", policy + " locks: " + what + " by " + name_of(by), "up", true);
  }
  bool is(const char* policy) const { return std::string(GetParam().policy) == policy; }
  bool promises() const {
    return is("per-lock byte") || is("per-lock atomic") || is("class atomic");
  }

  Outcomes* outcomes_ = nullptr;
};
std::string name_of_policy(const ::testing::TestParamInfo<PagesCase>& info) {
  std::string name = info.param.policy;
  for (char& c : name)
    if (!std::isalnum(static_cast<unsigned char>(c))) c = '_';
  return name;
}
INSTANTIATE_TEST_SUITE_P(OneCpu, Policy, ::testing::ValuesIn(policies_on_one_cpu()),
                         name_of_policy);

// An irq: masked around the zone's lock under every policy, around the pcp's under one. Without
// state in the pcp's lock it corrupts.
TEST_P(Policy, UnderIrqs) {
  sweep_ops(By::irq, SweptPages::Calls::both);
  print("all operations", By::irq);
  EXPECT_GT(outcomes_->calls.checks, 0u);
  if (is("stateless"))
    EXPECT_GT(corrupted(), 0u) << "the historic bug was not seen";
  else
    EXPECT_EQ(corrupted(), 0u);
}

// An NMI: no mask keeps it out. Refusing it helps, at the price of serving nothing.
TEST_P(Policy, UnderNmis) {
  sweep_ops(By::nmi, SweptPages::Calls::both);
  print("all operations", By::nmi);
  EXPECT_GT(outcomes_->calls.checks, 0u);
  const NestedCalls& n = outcomes_->calls;
  if (is("stateless") || is("irqs off")) {
    EXPECT_GT(corrupted(), 0u) << "the historic bug was not seen";
  } else {
    EXPECT_EQ(corrupted(), 0u);
  }
  if (is("refused in NMI")) {
    EXPECT_EQ(n.served, 0u);
    EXPECT_EQ(n.refused[static_cast<unsigned>(PageRefusal::gate)], n.asked);
    EXPECT_EQ(n.parked, n.freed);
  }
  if (promises()) {
    EXPECT_GT(n.served, n.asked / 2);
  }
}

// A probe: no gate can know that it is nested.
TEST_P(Policy, UnderProbes) {
  sweep_ops(By::probe, SweptPages::Calls::both);
  print("all operations", By::probe);
  EXPECT_GT(outcomes_->calls.checks, 0u);
  if (promises())
    EXPECT_EQ(corrupted(), 0u);
  else
    EXPECT_GT(corrupted(), 0u) << "the historic bug was not seen";
  if (is("refused in NMI")) {
    EXPECT_EQ(outcomes_->pcp_allocs, 0u);
  }
}

// ---- the scenarios by their ids, on the lock that is no lock ------------------------------------

class Stateless : public Policy {};
INSTANTIATE_TEST_SUITE_P(OneCpu, Stateless, ::testing::Values(policies_on_one_cpu()[3]),
                         name_of_policy);

// A drain holds the pcp lock, irqs on; an irq frees.
TEST_P(Stateless, P1Corrupts) {
  ASSERT_TRUE(is("stateless"));
  sweep_ops(By::irq, SweptPages::Calls::frees, "drain_cpu");
  print("P1, a drain and frees", By::irq);
  EXPECT_GT(corrupted(), 0u);
}

// An NMI allocates.
TEST_P(Stateless, P13Corrupts) {
  sweep_ops(By::nmi, SweptPages::Calls::allocs, "alloc 0");
  print("P13, nested allocs", By::nmi);
  EXPECT_GT(corrupted(), 0u);
  EXPECT_GT(outcomes_->calls.twice, 0u) << "the same page twice";
  EXPECT_EQ(outcomes_->calls.served, outcomes_->calls.asked) << "it never says no";
}

// An NMI frees.
TEST_P(Stateless, P14Corrupts) {
  sweep_ops(By::nmi, SweptPages::Calls::frees, "free");
  print("P14, nested frees", By::nmi);
  EXPECT_GT(corrupted(), 0u);
}

}  // namespace
}  // namespace nestlock::test_support
