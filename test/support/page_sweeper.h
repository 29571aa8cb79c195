// Runs one operation of page_sweep.h under the sweep, interrupted by a probe, an irq or an NMI.
#pragma once

#include <algorithm>
#include <csignal>
#include <cstdint>
#include <cstdlib>

#include "page_sweep.h"

namespace nestlock::test_support {

using testing::Boundary;
using testing::CodeRanges;
using testing::SweepOptions;
using testing::SweepResult;

inline constexpr std::uint64_t kSeed = 20260715;

// How many boundaries: all of them if there are no more, else about so many, evenly.
using Visit = std::uint64_t;
inline constexpr bool kTsan = nestlock::internal::kWithTsan;
// All, but where most of them are turns of a loop, each costing all the turns before it: in debug
// over poison, where a run is long to learn, so only two of the four are swept; over new memory; and
// where TSan's runtime comes with each. NESTLOCK_LONG: all there, too.
inline bool all_of_it() { return std::getenv("NESTLOCK_LONG") != nullptr; }
inline bool worth_its_time(Config c) {
  return !c.debug || c == configs::up_rt_debug || c == configs::smp_debug || all_of_it();
}
inline Visit visit_all(Config c) {
  if (kTsan) return 10;
  if (all_of_it()) return 1'000'000;
  return c.debug ? 8 : 10000;
}
inline constexpr Visit kSome = kTsan ? 5 : 12;

inline const CodeRanges& program() {
  static const CodeRanges all = CodeRanges::whole_program();
  return all;
}

// ---- the interruption, by a signal of the port's ------------------------------------------------

// probe: the trap itself, which nobody registered; irq: held back by the mask where there is one.
enum class By : std::uint8_t { probe, irq, nmi };
constexpr const char* name_of(By by) noexcept {
  constexpr const char* names[] = {"probe", "irq", "nmi"};
  return names[static_cast<unsigned>(by)];
}
struct PendingCalls {
  SweptPages* pages = nullptr;
  NestedCalls* calls = nullptr;
  unsigned order = 0;
  SweptPages::Calls which{};
  unsigned ran = 0;
};
inline PendingCalls pending;
inline void interruption() {
  if (!pending.pages || pending.ran++) return;
  pending.pages->nested_calls(pending.order, pending.which, *pending.calls);
}
inline int signal_of(By by) { return by == By::irq ? SIGRTMIN + 1 : SIGRTMIN + 2; }

inline bool register_signals() {
  static const bool done =
      signals::register_irq(signal_of(By::irq), [](int, siginfo_t*, void*) { interruption(); }) ==
          signals::Error::none &&
      signals::register_nmi(signal_of(By::nmi), [](int, siginfo_t*, void*) { interruption(); }) ==
          signals::Error::none;
  return done;
}

// ---- one operation ------------------------------------------------------------------------------

struct Swept {
  SweepResult result;
  NestedCalls calls;
  std::uint64_t of = 0;      // boundaries that there are
  std::uint64_t drains = 0;  // of the operation by itself, not interrupted
};

class OneSweep {
 public:
  OneSweep(AnyPages& a, const SweptOp& op, By by, SweptPages::Calls which = SweptPages::Calls::both)
      : pages_(a), op_(op), by_(by), which_(which) {}

  Swept run(Visit visit) {
    s_.of = length();
    const std::uint64_t every = (s_.of + visit - 1) / visit;
    sweep({.first = 1 + kSeed % every, .every = every});
    return s_;
  }
  // From boundary `first` on; `at` is told of each before it is tried.
  SweepResult run_from(std::uint64_t first, std::uint64_t every, std::uint64_t& at,
                       NestedCalls& calls) {
    tell_ = &at, calls_ = &calls;
    sweep({.first = first, .every = every});
    return s_.result;
  }
  std::uint64_t length() {
    prepare();
    const std::uintptr_t drains = pages_.drains();
    const SweepResult r =
        testing::sweep_through([&] { op_.run(pages_, op_.order); }, [] {}, {.ranges = program()});
    s_.drains = pages_.drains() - drains;
    return r.boundaries;
  }

 private:
  void prepare() {
    pending = {};
    op_.prepare(pages_);
    if (op_.parked) pages_.park_a_victim();
  }

  void sweep(testing::Sample boundaries) {
    SweepOptions options{.ranges = program(), .boundaries = boundaries};
    if (by_ != By::probe) options.blocked = testing::kAllSignals;
    s_.result = testing::sweep_each(
        [&] { prepare(); }, [&] { op_.run(pages_, op_.order); },
        [&](const Boundary& at) {
          if (tell_) *tell_ = at.k;
          pending = {&pages_, calls_, std::min(op_.order, 3u), which_, 0};
          if (by_ == By::probe)
            interruption();
          else
            std::raise(signal_of(by_));  // blocked here: arrives at the boundary itself
        },
        [&] {
          const bool ran = pending.ran == 1;
          pending = {};
          return pages_.check(*calls_) && ran;
        },
        options);
  }

  SweptPages pages_;
  const SweptOp& op_;
  const By by_;
  const SweptPages::Calls which_;
  Swept s_;
  NestedCalls* calls_ = &s_.calls;
  std::uint64_t* tell_ = nullptr;
};

}  // namespace nestlock::test_support
