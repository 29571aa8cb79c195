// A structure that a task uses and an interruption, too: explored on the simulator and swept on
// this machine, from one description.
//
//   template <Kernel K> struct Slots { ... int take() ... };   // built on a kernel, with its lock
//   const auto r = testing::explore_and_sweep<Slots>(
//       [](auto& s) { return s.take(); },                      // a task, interrupted anywhere
//       [](auto& s) { return s.take(); },                      // by this, an NMI
//       [](auto& s, int a, int b) { return !a || a != b; });   // afterwards: is all as it must be?
//   EXPECT_TRUE(r.ok()) << r.text();
//
// Each run has a structure of its own, made without arguments, in the configuration that was built.
// Task and interruption return what they got (anything that can be copied and made without
// arguments). The interruption must keep what it gets: a balanced pair hides every error.
//
// More tasks, CPUs and levels: explore() of explorer.h and sweep_each() of instruction_sweep.h,
// which this is made of, and which say what they see and what they do not.
#pragma once

#include <optional>
#include <string>
#include <utility>

#include "nestlock/nestlock.h"
#include "nestlock/testing/explorer.h"
#include "nestlock/testing/instruction_sweep.h"
#include "nestlock/testing/sim_port.h"

namespace nestlock::testing {

// What both have seen.
struct ExploreAndSweepResult {
  ExploreResult explored;  // by the simulator
  SweepResult swept;       // of a replay: nothing
  bool replayed = false;   // one schedule was shown again

  // Where instructions cannot be swept the simulator's word is all there is; text() says so.
  bool ok() const { return explored.ok() && (replayed || swept.ok() || !swept.supported); }
  std::string text() const {
    return "explored: " + explored.text() + (replayed ? "" : "\nswept: " + swept.text());
  }
};

namespace internal {
// K, but only once T is known: clang 14 crashes where a template names its own constrained template
// parameter with an argument that is known at once.
template <Kernel K, class T>
struct Later {
  using Type = K;
};
}  // namespace internal

// `options.replay` shows that schedule again, and sweeps nothing.
template <template <Kernel> class S, class Task, class Interruption, class Check>
ExploreAndSweepResult explore_and_sweep(Task task, Interruption interruption, Check check,
                                        const ExploreOptions& options = {}) {
  using Built = S<typename internal::Later<BuiltKernel, Task>::Type>;
  using Simulated = S<typename internal::Later<SimKernel<kBuiltConfig>, Task>::Type>;
  using Got = std::pair<decltype(task(std::declval<Built&>())),
                        decltype(interruption(std::declval<Built&>()))>;
  ExploreAndSweepResult r;
  r.replayed = !options.replay.empty();
  r.explored = explore(
      [&](Sim& sim) {
        auto& s = sim.make<Simulated>();
        auto& got = sim.make<Got>();
        sim.task(0, [&] { got.first = task(s); });
        sim.nmi(0, [&] { got.second = interruption(s); });
        sim.at_end([&] { sim.check(check(s, got.first, got.second), "of the structure"); });
      },
      options);
  if (r.replayed) return r;
  std::optional<Built> s;
  Got got;
  r.swept = sweep_each([&] { s.emplace(), got = {}; }, [&] { got.first = task(*s); },
                       [&] { got.second = interruption(*s); },
                       [&] { return check(*s, got.first, got.second); });
  return r;
}

}  // namespace nestlock::testing
