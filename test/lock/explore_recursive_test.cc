// A RecursiveLock's owner and who interrupted it: at each step, on the simulator, and after each machine
// instruction.
#include <cstdint>
#include <string>

#include "gtest/gtest.h"
#include "nestlock/lock/guard.h"
#include "nestlock/lock/recursive_lock.h"
#include "nestlock/lock/try_spinlock.h"
#include "nestlock/port/hosted.h"
#include "nestlock/testing/explorer.h"
#include "nestlock/testing/instruction_sweep.h"
#include "nestlock/testing/sim_port.h"
#include "test/support/exploring.h"
#include "test/support/verify_line.h"

namespace nestlock::testing {
namespace {

using test_support::expect_met;
using test_support::show;
using test_support::swept;

// A task that goes in twice, on each of `cpus`, and an nmi on the first that tries.
template <Config kC>
void owner_goes_in_again(unsigned cpus, const ExploreOptions& options) {
  using L = BasicRecursiveLock<BasicTrySpinLock<SimKernel<kC>>>;
  const auto r = show(
      "RecursiveLock", kC, std::to_string(cpus) + " CPUs, an nmi",
      [cpus](Sim& sim) {
        struct State {
          L lock;
          Exclusive section;
        };
        auto& s = sim.make<State>();
        for (unsigned cpu = 0; cpu < cpus; ++cpu)
          sim.task(cpu, [&s] {
            Guard outer(s.lock);
            s.section.enter();
            {
              Guard inner(s.lock);
              step();
            }
            s.section.leave();
          });
        sim.nmi(0, [&]() NESTLOCK_NO_TSA {
          const bool got = s.lock.try_lock();
          sim.count(got ? "granted" : "refused");
          if (!got) return;
          s.section.visit();
          s.lock.unlock();
        });
        sim.at_end([&] { sim.check(!s.lock.is_locked() && !s.lock.depth(), "it is free"); });
      },
      options);
  EXPECT_TRUE(r.ok() && r.complete) << r.text();
  if (!kC.preempt_rt) expect_met(r, {"granted"});
  expect_met(r, {"refused"});
}

TEST(RecursiveLock, WhoInterruptedTheOwnerDoesNotGetIn) {
  owner_goes_in_again<configs::up>(1, {});
  owner_goes_in_again<configs::up_debug>(1, {});
  owner_goes_in_again<configs::smp_rt>(1, {});
  owner_goes_in_again<configs::smp>(2, {.interruptions = 2});
}

// After each instruction, in what says that it is an nmi.
template <Config kC>
void nmi_tries_after_each_instruction() NESTLOCK_NO_TSA {
  BasicRecursiveLock<BasicTrySpinLock<KernelOf<kC, HostedPort<kC>>>> lock;
  std::uint64_t granted = 0, refused = 0;
  bool inside = false, wrong = false;
  static const CodeRanges program = CodeRanges::whole_program();
  const SweepResult r = sweep_each(
      [&] { inside = wrong = false; },
      [&]() NESTLOCK_NO_TSA {
        lock.lock();
        inside = true;
        asm volatile("" ::: "memory");
        if (lock.try_lock()) lock.unlock();
        asm volatile("" ::: "memory");
        inside = false;
        lock.unlock();
      },
      [&]() NESTLOCK_NO_TSA {
        const auto before = hosted::self().context.load(std::memory_order_relaxed);
        hosted::self().context.store(before | hosted::kInNmi, std::memory_order_relaxed);
        const bool got = lock.try_lock();
        wrong |= got && (inside || lock.depth() != 1);
        ++(got ? granted : refused);
        if (got) lock.unlock();
        hosted::self().context.store(before, std::memory_order_relaxed);
      },
      [&] { return !wrong && !lock.is_locked() && lock.depth() == 0; }, {.ranges = program});
  if (!r.supported) GTEST_SKIP() << r.text();
  EXPECT_TRUE(r.ok()) << r.text();
  swept("RecursiveLock", name_of(kC), "try_lock on the owner", r, true).put("hits", refused);
  EXPECT_GT(granted, 0u);
  EXPECT_GT(refused, 0u);
}

TEST(RecursiveLock, NorAfterAnyInstructionOfIt) {
  nmi_tries_after_each_instruction<configs::up>();
  nmi_tries_after_each_instruction<configs::smp>();
}

}  // namespace
}  // namespace nestlock::testing
