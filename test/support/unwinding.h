// Rows of the unwind sweep, and what each of them must be.
#pragma once

#include <cstdlib>
#include <string>
#include <string_view>

#include "gtest/gtest.h"
#include "nestlock/config/config.h"
#include "nestlock/testing/unwind_sweep.h"
#include "verify_line.h"

namespace nestlock::test_support {

inline void expect_unwound(std::string_view subject, std::string_view config, std::string_view what,
                           const testing::UnwindResult& r) {
  EXPECT_TRUE(r.ok() && r.sweep.complete) << config << ", " << what << ": " << r.text();
  EXPECT_EQ(r.unwound, r.sweep.boundaries) << config << ", " << what;
  VerifyLine("unwind", subject, config)
      .put("case", what)
      .ok(r.ok())
      .put("boundaries", r.unwound)
      .put("complete", r.sweep.complete ? "yes" : "no")
      .put("count.frames", r.frames);
}

// Debug kernels are ten times as long, and differ in what they check: two of the four, unless
// NESTLOCK_LONG asks for all. Under ThreadSanitizer its runtime is stepped, too: one kernel; the
// others' sweeps are not even compiled there.
constexpr bool worth_compiling(Config c) {
  return !nestlock::internal::kWithTsan || c == configs::up;
}
inline bool worth_its_time(Config c) {
  if (nestlock::internal::kWithTsan) return worth_compiling(c);
  return !c.debug || c == configs::up_debug || c == configs::smp_rt_debug ||
         std::getenv("NESTLOCK_LONG");
}

// Found once: each search reads the symbols of the whole program.
inline const testing::CodeRanges& unwound_program() {
  static const testing::CodeRanges all = testing::CodeRanges::whole_program();
  return all;
}

}  // namespace nestlock::test_support
