// A row of the table of `./nest verify`, printed by whoever has shown something.
//
//   explored("TrySpinLock", name_of(kC), "task, softirq, irq, nmi", result, options);
//   swept("kmalloc", name_of(kC), "refill", result, /*every=*/true).put("hits", held);
//   caught("explore", "stateless_lock", name_of(kC), !result.ok());
//
// One line of standard output, in no need of quoting:
//
//   verify: tool=explore subject=TrySpinLock config=up case=task,_softirq result=ok schedules=120
//
// tool, subject, config and result (ok or FAILED) are in each; a space is printed as an underscore.
// The other keys that the table knows are below; it lists those that it does not know.
//
//   case         what was done to the subject
//   schedules    explored; redundant ones are not counted
//   complete     yes: all within `bound` (none: all there are); or no: `bound` says what ended it
//   boundaries   swept; `of`: how many there are, where that is not all
//   runs         of the code that was swept
//   hits         how often the moment was met that it is all about: a lock found held, ...
//   seconds      tortured
//   mutant       the name of what is broken on purpose; result=ok: it was caught
#pragma once

#include <concepts>
#include <cstdint>
#include <cstdio>
#include <string>
#include <string_view>
#include <utility>

namespace nestlock::test_support {

class VerifyLine {
 public:
  VerifyLine(std::string_view tool, std::string_view subject, std::string_view config) {
    put("tool", tool).put("subject", subject).put("config", config);
  }
  // Printed at the end of the full expression.
  ~VerifyLine() {
    if (!text_.empty()) std::printf("%s\n", text_.c_str());
  }
  VerifyLine(VerifyLine&& from) noexcept : text_(std::exchange(from.text_, {})) {}

  VerifyLine& put(std::string_view key, std::string_view value) {
    text_ += ' ';
    add(key);
    text_ += '=';
    add(value);
    return *this;
  }
  VerifyLine& put(std::string_view key, std::unsigned_integral auto value) {
    return put(key, std::to_string(value));
  }
  VerifyLine& ok(bool is) { return put("result", is ? "ok" : "FAILED"); }

 private:
  void add(std::string_view part) {
    for (const char c : part) text_ += c == ' ' || c == '\n' ? '_' : c;
  }

  std::string text_ = "verify:";
};

// A testing::ExploreResult, and the options it was asked for.
template <class Result, class Options>
VerifyLine explored(std::string_view subject, std::string_view config, std::string_view what,
                    const Result& r, const Options& asked) {
  VerifyLine line("explore", subject, config);
  line.put("case", what).ok(r.ok()).put("schedules", r.schedules);
  line.put("complete", r.complete ? "yes" : "no");
  std::string bound;
  if (asked.interruptions != Options::kNoLimit)
    bound += "interruptions<=" + std::to_string(asked.interruptions) + " ";
  if (asked.migrations) bound += "migrations<=" + std::to_string(asked.migrations) + " ";
  if (asked.random)
    bound += "random, seed " + std::to_string(asked.seed) + " ";
  else if (!r.complete)
    bound += "schedules<=" + std::to_string(asked.max_schedules) + " ";
  if (!bound.empty()) bound.pop_back(), line.put("bound", bound);
  for (const auto& [name, n] : r.counts) line.put("count." + name, n);
  return line;
}

// A testing::SweepResult; `every`: whether every boundary was asked for, or a sample.
template <class Result>
VerifyLine swept(std::string_view subject, std::string_view config, std::string_view what,
                 const Result& r, bool every) {
  VerifyLine line("sweep", subject, config);
  line.put("case", what).ok(r.ok());
  line.put("boundaries", r.boundaries).put("complete", every && r.complete ? "yes" : "no");
  line.put("runs", r.runs);
  return line;
}

// What is broken on purpose in the test itself: an expected failure that is kept.
inline VerifyLine caught(std::string_view tool, std::string_view mutant, std::string_view config,
                         bool was) {
  VerifyLine line(tool, "(broken)", config);
  line.put("mutant", mutant).ok(was);
  return line;
}

}  // namespace nestlock::test_support
