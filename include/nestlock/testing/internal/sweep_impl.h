// How the instruction sweep's four functions go from boundary to boundary. Included by
// instruction_sweep.h, which says what they do.
#pragma once

#include <algorithm>
#include <optional>
#include <string>
#include <unordered_set>
#include <utility>

#include "nestlock/testing/instruction_sweep.h"

namespace nestlock::testing {

inline std::string to_text(const Boundary& b) {
  std::string s = "boundary " + std::to_string(b.k);
  if (b.address) s += " (" + describe(b.address) + ")";
  if (b.inner) s += ", inner " + std::to_string(b.inner) + " (" + describe(b.inner_address) + ")";
  return s;
}

inline std::string SweepResult::text() const {
  if (!supported) return trouble;
  std::string s = std::to_string(boundaries) + " boundaries at " + std::to_string(addresses) +
                  " addresses, " + std::to_string(runs) + " runs, " + std::to_string(traps) +
                  " traps" + (engine == Engine::breakpoints ? " by breakpoints, " : ", ") +
                  std::to_string(failed) + " failed";
  if (failed) s += ", the first at " + to_text(first_failed);
  if (unseen)
    s += "; not seen: what comes after " + std::string(unseen_after) + " at " +
         to_text(first_unseen) + (unseen == 1 ? "" : ", and at more places");
  if (trouble) s += "; " + std::string(trouble);
  return s;
}

namespace internal {

inline constexpr const char* kNoBoundary =
    "no boundary was seen: is the code in SweepOptions::ranges?";
inline constexpr const char* kLost =
    "the code ended the stepping (popf of older flags, or siglongjmp out of a handler)";

inline constexpr const char* kVaries =
    "breakpoints were asked for, but the code does not repeat itself";
inline constexpr const char* kNoBreakpoints =
    "breakpoints were asked for, but another sweep of this process uses them";

// What the sweeps share: the handler, the result, the verdicts.
class Sweep {
 public:
  explicit Sweep(const SweepOptions& options) : options_(options) {
    result_.trouble = why_unsupported();
    result_.supported = !result_.trouble;
    if (result_.supported) result_.trouble = options.ranges.trouble();
    if (usable() && options.ranges.empty()) result_.trouble = kNoBoundary;
  }
  bool usable() const { return !result_.trouble; }

  Runner runner() const { return Runner(options_.ranges, options_.blocked); }

  // Learns what `run` does, unless it is to be stepped. Whether there is a plan.
  template <class Run>
  bool plan(Runner& runner, Run run) {
    if (options_.engine == Engine::trap_flag) return false;
    if (!breakpoints_) breakpoints_.emplace();
    const bool forced = options_.engine == Engine::breakpoints;
    if (!breakpoints_->mine() && forced) result_.trouble = kNoBreakpoints;
    if (!breakpoints_->mine() || (!forced && !Breakpoints::safe())) return false;
    const auto counted = [&] {
      run();
      ++result_.runs;
    };
    if (runner.make_plan(*breakpoints_, counted)) return true;
    if (forced) varies();
    return false;
  }
  void varies() { result_.trouble = kVaries; }

  void ran(const Runner& r) {
    ++result_.runs;
    if (r.level().lost) result_.trouble = kLost;
    if (r.missed() && options_.engine == Engine::breakpoints) varies();
  }
  void interrupted(const Boundary& at) {
    ++result_.boundaries;
    if (!addresses_.insert(at.address).second) return;
    const char* const what = unstepped(at.address);
    if (what && ++result_.unseen == 1) result_.first_unseen = at, result_.unseen_after = what;
  }
  template <class Check>
  void check(Check& check, const Boundary& at) {
    if constexpr (std::convertible_to<decltype(call_at(check, at)), bool>) {
      if (!call_at(check, at) && ++result_.failed == 1) result_.first_failed = at;
    } else {
      call_at(check, at);
    }
  }
  SweepResult finish(bool complete, std::initializer_list<const Runner*> runners) {
    result_.complete = complete && !result_.trouble;
    result_.addresses = addresses_.size();
    for (const Runner* r : runners) result_.traps += r->level().traps;
    if (!result_.boundaries && !result_.trouble) result_.trouble = kNoBoundary;
    return result_;
  }
  SweepResult finish() { return finish(false, {}); }
  void used(Engine engine) { result_.engine = engine; }

 private:
  const SweepOptions& options_;
  TrapHandler handler_;
  std::optional<Breakpoints> breakpoints_;
  SweepResult result_;
  std::unordered_set<const void*> addresses_;
};

// The code ended in another way than it began: nothing that went by the plan is sure.
template <class Again>
SweepResult again_by_steps(SweepOptions options, Again again) {
  const bool forced = options.engine == Engine::breakpoints;
  options.engine = Engine::trap_flag;
  SweepResult r = again(options);
  if (forced) r.trouble = kVaries;
  return r;
}

inline const void* address_of(const Runner& r) {
  return reinterpret_cast<const void*>(r.level().interrupted);
}

}  // namespace internal

template <std::invocable Prepare, std::invocable Code, internal::AtBoundary Interruption,
          internal::AtBoundary Check>
SweepResult sweep_each(Prepare&& prepare, Code&& code, Interruption&& interruption, Check&& check,
                       const SweepOptions& options) {
  internal::Sweep sweep(options);
  if (!sweep.usable()) return sweep.finish();
  internal::Runner runner = sweep.runner();
  const Sample& s = options.boundaries;
  const auto record = [&] {
    prepare();
    runner.record(internal::call_of(code));
  };
  sweep.plan(runner, record);
  bool complete = false;
  for (std::uint64_t k = s.first; k <= s.last && sweep.usable(); k += s.every) {
    if ((complete = runner.planned() && k > runner.length())) break;
    Boundary at{.k = k};
    auto interrupt = [&] {
      at.address = internal::address_of(runner);
      internal::call_at(interruption, at);
    };
    prepare();
    const bool reached =
        runner.interrupt_at(k, internal::call_of(code), internal::call_of(interrupt));
    sweep.ran(runner);
    if (runner.missed()) {
      k -= s.every;  // again, by steps
      continue;
    }
    if ((complete = !reached)) break;
    sweep.interrupted(at);
    sweep.check(check, at);
  }
  if (runner.planned() && sweep.usable()) {
    record();
    sweep.ran(runner);
    if (!runner.as_planned())
      return internal::again_by_steps(options, [&](const SweepOptions& o) {
        return sweep_each(prepare, code, interruption, check, o);
      });
    sweep.used(Engine::breakpoints);
  }
  return sweep.finish(complete, {&runner});
}

template <std::invocable Prepare, std::invocable Code, internal::AtBoundary First,
          internal::AtBoundary Second, internal::AtBoundary Check>
SweepResult sweep_pairs(Prepare&& prepare, Code&& code, First&& first, Second&& second,
                        Check&& check, const SweepOptions& options) {
  internal::Sweep sweep(options);
  if (!sweep.usable()) return sweep.finish();
  internal::Runner outer = sweep.runner(), inner = sweep.runner();
  const Sample &s = options.boundaries, &t = options.inner;
  // One run: code() with `interrupt` at k. Whether it was reached; not counted if missed.
  const auto run = [&](std::uint64_t k, auto& interrupt) {
    bool reached;
    do {
      prepare();
      reached = outer.interrupt_at(k, internal::call_of(code), internal::call_of(interrupt));
      sweep.ran(outer);
    } while (outer.missed() && sweep.usable());
    return reached;
  };
  const auto record = [&] {
    prepare();
    outer.record(internal::call_of(code));
  };
  sweep.plan(outer, record);
  bool complete = false;
  for (std::uint64_t k = s.first; k <= s.last && sweep.usable() && !complete; k += s.every) {
    if ((complete = outer.planned() && k > outer.length())) break;
    Boundary at{.k = k};
    auto run_second = [&] {
      at.inner_address = internal::address_of(inner);
      internal::call_at(second, at);
    };
    auto run_first = [&] { internal::call_at(first, at); };
    auto record_first = [&] {
      at.address = internal::address_of(outer);
      inner.record(internal::call_of(run_first));
    };
    if (!outer.planned())
      inner.drop_plan();
    else
      sweep.plan(inner, [&] { run(k, record_first); });
    for (std::uint64_t j = t.first; sweep.usable(); j += t.every) {
      // Past the end, known or given: once without the second.
      const bool alone = j > t.last || (inner.planned() && j > inner.length());
      at.inner = alone ? 0 : j;
      bool paired = false;
      auto interrupt = [&] {
        at.address = internal::address_of(outer);
        if (alone) return run_first();
        paired = inner.interrupt_at(j, internal::call_of(run_first), internal::call_of(run_second));
      };
      if ((complete = !run(k, interrupt))) break;
      if (!alone && inner.missed()) {
        j -= t.every;  // again, by steps
        continue;
      }
      if (!alone && inner.level().lost) sweep.ran(inner);
      if (paired)
        sweep.interrupted(at);
      else
        at.inner = 0;
      sweep.check(check, at);
      if (!paired) break;
    }
  }
  if (outer.planned() && sweep.usable()) {
    record();
    sweep.ran(outer);
    if (!outer.as_planned())
      return internal::again_by_steps(options, [&](const SweepOptions& o) {
        return sweep_pairs(prepare, code, first, second, check, o);
      });
    sweep.used(Engine::breakpoints);
  }
  return sweep.finish(complete, {&outer, &inner});
}

template <std::invocable Code, internal::AtBoundary Interruption>
SweepResult sweep_through(Code&& code, Interruption&& interruption, const SweepOptions& options) {
  internal::Sweep sweep(options);
  if (!sweep.usable()) return sweep.finish();
  internal::Runner runner = sweep.runner();
  runner.keep_record();
  const Sample& s = options.boundaries;
  auto interrupt = [&] {
    const std::uint64_t k = runner.level().boundaries;
    if ((k - s.first) % s.every == 0)
      internal::call_at(interruption, Boundary{.k = k, .address = internal::address_of(runner)});
  };
  runner.interrupt(s.first, s.last, internal::call_of(code), internal::call_of(interrupt));
  sweep.ran(runner);
  const std::uint64_t seen = std::min(runner.level().boundaries, s.last);
  const auto steps = runner.recorded();
  for (std::uint64_t k = s.first; k <= seen; k += s.every)
    sweep.interrupted({.k = k,
                       .address = k <= steps.size()
                                      ? reinterpret_cast<const void*>(steps[k - 1].address)
                                      : nullptr});
  return sweep.finish(runner.level().boundaries < s.last, {&runner});
}

template <std::invocable Code, internal::AtBoundary Interruption>
SweepResult run_interrupted_at(std::uint64_t k, Code&& code, Interruption&& interruption,
                               SweepOptions options) {
  options.boundaries = {.first = k, .last = k};
  return sweep_through(code, interruption, options);
}

}  // namespace nestlock::testing
