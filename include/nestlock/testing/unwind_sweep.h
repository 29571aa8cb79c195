// The unwind sweep: unwinds the stack at each machine instruction, as a profiler's handler does.
//
//   const UnwindResult r = testing::sweep_unwinding([&] {
//     lock.lock();
//     lock.unlock();
//   });
//   EXPECT_TRUE(r.ok() && r.called_from("main")) << r.text();
//
// A profiler's signal comes anywhere, and unwinds from there by the tables that the compiler, the
// linker and whoever wrote assembler left behind. Where these are wrong for one instruction it sees
// callers that there are not, or crashes. So at each boundary of code() the stack is unwound, by
// _Unwind_Backtrace() in the trap's handler, and compared with the stack as it is: stepping, the
// sweep has seen each call put its return address somewhere. Each frame must have that return
// address and stand there, and the last one must be the end of the stack, not a place of unknown
// origin. An unwinder that got lost and came to main() all the same is wrong, too.
//
// One run of code(), so the cost is linear: about 10 us an instruction.
//
// Limits: those of the instruction sweep; and code() must not be called back by libc (a comparison
// for qsort(), say), whose calls are not seen. Unwinding by frame pointers is not tried: between
// two instructions of a prologue there is no frame yet, so it cannot be right everywhere.
#pragma once

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "nestlock/testing/instruction_sweep.h"
#include "nestlock/testing/internal/unwound.h"

namespace nestlock::testing {

// What was seen.
struct UnwindResult {
  SweepResult sweep;                 // failed: boundaries where another stack was unwound
  std::uint64_t unwound = 0;         // boundaries in `where`
  std::uint64_t frames = 0;          // of all of them
  std::uint64_t depth = 0;           // of the deepest call, from the code's own function on
  std::vector<const void*> callers;  // of the code: return addresses, the outermost one last
  std::string wrong;                 // about the first that failed

  // No other stack was unwound, and some were.
  bool ok() const { return sweep.ok() && unwound != 0 && !callers.empty(); }
  // Whether `function` (with or without its arguments) is among the callers.
  bool called_from(std::string_view function) const;
  // One line.
  std::string text() const;
};

// One run of code(), its stack unwound at each boundary in `where`.
template <std::invocable Code>
UnwindResult sweep_unwinding(Code&& code, const CodeRanges& where = CodeRanges::whole_program());

// ------------------------------------------------------------------------------------------------

inline bool UnwindResult::called_from(std::string_view function) const {
  for (const void* const at : callers) {
    // A return address may be the first of another function.
    const std::string text = describe(static_cast<const char*>(at) - 1);
    const std::string_view name = std::string_view(text).substr(0, text.rfind('+'));
    if (name == function || internal::without_arguments(name) == function) return true;
  }
  return false;
}

inline std::string UnwindResult::text() const {
  std::string s = sweep.text();
  if (!sweep.supported) return s;
  s += "; unwound " + std::to_string(unwound) + " times, " + std::to_string(frames) +
       " frames, calls " + std::to_string(depth) + " deep";
  if (!wrong.empty()) s += "; " + wrong;
  return s;
}

template <std::invocable Code>
UnwindResult sweep_unwinding(Code&& code, const CodeRanges& where) {
  UnwindResult r;
  internal::UnwindCheck check;
  SweepOptions options;
  options.blocked = kAllSignals;  // nothing of the program's interrupts the comparison
  const std::vector<CodeRange>& wanted = where.ranges();
  std::uint64_t unwound = 0, failed = 0;
  Boundary first_failed{};
  r.sweep = sweep_through(
      code,
      [&](const Boundary& at) {
        const auto pc = reinterpret_cast<std::uintptr_t>(at.address);
        const auto after = std::upper_bound(wanted.begin(), wanted.end(), pc,
                                            [](std::uintptr_t a, CodeRange b) { return a < b.lo; });
        const bool here = after != wanted.begin() && pc < (after - 1)->hi;
        const bool right = check.at(pc, here);
        unwound += here;
        if (!right && ++failed == 1) first_failed = at;
      },
      options);
  r.sweep.failed = failed, r.sweep.first_failed = first_failed;
  r.unwound = unwound, r.frames = check.frames(), r.depth = check.depth();
  r.callers = check.callers(), r.wrong = check.wrong();
  return r;
}

}  // namespace nestlock::testing
