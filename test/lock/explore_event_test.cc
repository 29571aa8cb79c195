// Who waits for an Event, of those that signal it: at each step, on the simulator, and after each machine
// instruction of a wait. No signal is lost.
#include <cstdint>
#include <string>

#include "gtest/gtest.h"
#include "nestlock/lock/event.h"
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

// Each of `tasks` waits once, on CPUs from 0; so many nmis signal, on CPU 0 or on one of their own. No
// sleep ends by a limit: a lost signal is a deadlock. As signals may be one, a waiter hands on.
template <class K>
void waiters_and_nmis(Sim& sim, unsigned tasks, unsigned nmis, unsigned nmi_cpu) {
  struct State {
    BasicEvent<K> event;
    unsigned signalled = 0, through = 0;
  };
  auto& s = sim.make<State>();
  for (unsigned t = 0; t < tasks; ++t)
    sim.task(K::kConfig.smp ? t : 0, [&s, &sim, tasks] {
      s.event.wait();
      sim.check(s.signalled != 0, "nobody has signalled");
      if (++s.through < tasks) s.event.signal();
    });
  if (nmi_cpu >= tasks && K::kConfig.smp)
    sim.task(nmi_cpu, [&s, &sim] {
      ++s.signalled, s.event.signal();
      sim.count("a task signalled");
    });
  for (unsigned i = 0; i < nmis; ++i)
    sim.nmi(nmi_cpu, [&s, &sim] {
      sim.count(s.through ? "behind a waiter" : "before a waiter");
      ++s.signalled, s.event.signal();
    });
  sim.at_end([&s, &sim, tasks] { sim.check(s.through == tasks, "each is through"); });
}

template <class K>
ExploreResult events(const char* port, unsigned tasks, unsigned nmis, unsigned nmi_cpu,
                     const ExploreOptions& options) {
  const auto r = show(
      "Event", K::kConfig,
      std::string(port) + ", " + std::to_string(tasks) + " waiters, " + std::to_string(nmis) +
          " nmis on CPU " + std::to_string(nmi_cpu),
      [=](Sim& sim) { waiters_and_nmis<K>(sim, tasks, nmis, nmi_cpu); }, options);
  EXPECT_TRUE(r.ok()) << r.text();
  return r;
}

TEST(Event, NoSignalIsLost) {
  EXPECT_TRUE((events<SimKernel<configs::up>>("no parking", 1, 2, 0, {}).complete));
  EXPECT_TRUE((events<SimKernel<configs::up_rt>>("no parking", 2, 1, 0, {}).complete));
  EXPECT_TRUE((events<SimParkingKernel<configs::up>>("parking", 1, 2, 0, {}).complete));
  EXPECT_TRUE((events<SimParkingKernel<configs::smp>>("parking", 1, 2, 0, {}).complete));
  EXPECT_TRUE((events<SimParkingKernel<configs::smp>>("parking", 1, 1, 1, {}).complete));
  const auto r = events<SimParkingKernel<configs::smp>>("parking", 2, 1, 2, {.interruptions = 3});
  EXPECT_TRUE(r.complete);
  expect_met(r, {"a task signalled", "behind a waiter", "before a waiter"});
}

// Interrupted after each instruction of a wait that finds a signal, and of a try: the handler's
// signal is there afterwards, or was taken.
template <Config kC>
void signal_after_each_instruction() {
  BasicEvent<KernelOf<kC, HostedPort<kC>>> event;
  bool came = false, taken = false;
  std::uint64_t merged = 0, stood = 0;
  static const CodeRanges program = CodeRanges::whole_program();
  const SweepResult r = sweep_each(
      [&] {
        while (event.try_wait()) {
        }
        came = taken = false;
        event.signal();
      },
      [&] {
        event.wait();
        taken = event.try_wait();
      },
      [&] { came = true, event.signal(); },
      [&] {
        const bool stands = event.try_wait();
        ++(taken || stands ? stood : merged);
        return !(taken && stands) && (came || !stands) && !event.try_wait();
      },
      {.ranges = program});
  if (!r.supported) GTEST_SKIP() << r.text();
  EXPECT_TRUE(r.ok()) << r.text();
  swept("Event", name_of(kC), "signal in wait", r, true).put("hits", stood);
  EXPECT_GT(merged, 0u);
  EXPECT_GT(stood, 0u);
}

TEST(Event, ASignalAfterEachInstructionOfAWait) {
  signal_after_each_instruction<configs::up>();
  signal_after_each_instruction<configs::smp>();
}

}  // namespace
}  // namespace nestlock::testing
