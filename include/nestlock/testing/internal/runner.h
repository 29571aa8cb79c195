// The runner of one level: runs code once, with an interruption at a chosen boundary.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <span>
#include <type_traits>
#include <utility>
#include <vector>

#include "nestlock/testing/code_ranges.h"
#include "nestlock/testing/internal/breakpoints.h"
#include "nestlock/testing/internal/trap.h"

namespace nestlock::testing::internal {

// A callable by reference; two words, no allocation.
struct Call {
  void (*function)(void*) = nullptr;
  void* object = nullptr;
};

template <class F>
Call call_of(F& f) {
  using Plain = std::remove_const_t<F>;
  return {[](void* p) { (*static_cast<Plain*>(p))(); }, const_cast<Plain*>(&f)};
}

#if NESTLOCK_INTERNAL_CAN_STEP

inline constexpr std::size_t kTrapStack = std::size_t{256} << 10;
inline constexpr std::size_t kRecorded = std::size_t{1} << 20;  // boundaries kept of one run

class Runner {
 public:
  Runner(const CodeRanges& ranges, std::uint64_t blocked)
      : ranges_(ranges), stack_(kTrapStack), record_(kRecorded * sizeof(Step)) {
    ranges_.remove(reinterpret_cast<std::uintptr_t>(__start_nestlock_unseen),
                   reinterpret_cast<std::uintptr_t>(__stop_nestlock_unseen));
    level_.ranges = ranges_.ranges().data(), level_.range_count = ranges_.ranges().size();
    level_.blocked = blocked & ~kSynchronous;
    level_.stack = stack_.base(), level_.stack_size = stack_.size();
#if NESTLOCK_WITH_TSAN
    level_.fiber = __tsan_create_fiber(0);
#endif
  }
  ~Runner() {
#if NESTLOCK_WITH_TSAN
    __tsan_destroy_fiber(level_.fiber);
#endif
  }
  Runner(const Runner&) = delete;
  Runner& operator=(const Runner&) = delete;

  // One run of `code`, with `interruption` at each of its boundaries first..last; whether the first
  // was reached. May itself be called from an interruption, of another runner.
  bool interrupt(std::uint64_t first, std::uint64_t last, Call code, Call interruption) {
    level_.first = first, level_.last = last;
    level_.interruption = interruption.function, level_.argument = interruption.object;
    run(&level_, code.function, code.object);
    return level_.interrupted != 0;
  }

  // Keeps the boundaries of the runs from now on; recorded() holds those of the last run.
  void keep_record() {
    level_.record = static_cast<Step*>(record_.base()), level_.capacity = kRecorded;
  }
  std::span<const Step> recorded() const {
    return {level_.record, std::min<std::size_t>(level_.boundaries, kRecorded)};
  }

  // ---- with a plan: the boundaries of one run, as those of all ----

  // Makes a plan of what `run` runs: it calls record(), in the circumstances of all later runs. No
  // plan if that does not repeat itself. What was planned before counts as seen once.
  template <class Run>
  bool make_plan(Breakpoints& breakpoints, Run run) {
    for (int turn = 0; turn < kWarmUp; ++turn) {
      run();
      if (level_.lost || level_.boundaries > kRecorded) break;
      if (planned() && as_planned()) return true;
      plan_.assign(recorded().begin(), recorded().end());
      ways_ = ways_to(plan_);
      if (!breakpoints.may_plant(plan_)) break;
    }
    drop_plan();
    return false;
  }
  bool planned() const { return !plan_.empty(); }
  std::uint64_t length() const { return plan_.size(); }
  void drop_plan() { plan_.clear(); }
  // Whether the last run that was recorded went by the plan.
  bool as_planned() const { return same_steps(plan_, recorded()); }

  // One run, recorded, without interruption.
  void record(Call code) {
    keep_record();
    interrupt(1, 0, code, {});
    level_.capacity = 0;
  }

  // As interrupt(k, k, ...); by a breakpoint if there is a plan. A boundary that the plan promised
  // and the run did not reach ends the plan: missed() is true, the run did not count.
  bool interrupt_at(std::uint64_t k, Call code, Call interruption) {
    missed_ = false;
    if (!planned()) return interrupt(k, k, code, interruption);
    stages_of(plan_, ways_, static_cast<std::uint32_t>(k - 1), stages_);
    level_.stage = stages_.data(), level_.stages = stages_.size();
    if (interrupt(k, k, code, interruption)) return true;
    missed_ = true;
    drop_plan();
    return false;
  }
  bool missed() const { return missed_; }

  const Level& level() const { return level_; }

 private:
  static constexpr int kWarmUp = 4;  // the first runs may differ: lazy binding, static variables

  CodeRanges ranges_;
  Pages stack_, record_;
  Level level_;
  std::vector<Step> plan_;
  std::vector<Way> ways_;
  std::vector<Stage> stages_;  // of the boundary that is run to
  bool missed_ = false;
};

// Why nothing can be stepped here, or null.
inline const char* why_unsupported() {
  static const char* const why = [] {
    if (std::FILE* const f = std::fopen("/proc/self/status", "re")) {
      char line[256];
      unsigned tracer = 0;
      while (std::fgets(line, sizeof line, f))
        if (std::sscanf(line, "TracerPid: %u", &tracer) == 1) break;
      std::fclose(f);
      if (tracer) return "not supported: a debugger is attached and takes the traps";
    }
    const TrapHandler handler;
    Runner probe({}, 0);
    auto nothing = [] {};
    probe.interrupt(1, 0, call_of(nothing), call_of(nothing));
    return probe.level().traps ? nullptr
                               : "not supported: the trap flag raises no trap here (valgrind?)";
  }();
  return why;
}

#else  // the same members, so that all of it compiles

struct Step {
  std::uintptr_t address;
};
struct Level {
  std::uint64_t boundaries = 0, traps = 0;
  std::uintptr_t interrupted = 0;
  bool lost = false;
};
class TrapHandler {
 public:
  TrapHandler() {}
};
class Breakpoints {
 public:
  static bool safe() { return false; }
  bool mine() const { return false; }
};
class Runner {
 public:
  Runner(const CodeRanges&, std::uint64_t) {}
  bool interrupt(std::uint64_t, std::uint64_t, Call, Call) { return false; }
  void keep_record() {}
  std::span<const Step> recorded() const { return {}; }
  template <class Run>
  bool make_plan(Breakpoints&, Run) {
    return false;
  }
  bool planned() const { return false; }
  std::uint64_t length() const { return 0; }
  void drop_plan() {}
  bool as_planned() const { return false; }
  void record(Call) {}
  bool interrupt_at(std::uint64_t, Call, Call) { return false; }
  bool missed() const { return false; }
  const Level& level() const { return level_; }

 private:
  Level level_;
};
inline const char* why_unsupported() { return "not supported: needs Linux on x86-64"; }

#endif  // NESTLOCK_INTERNAL_CAN_STEP

}  // namespace nestlock::testing::internal
