// What the section "nested_try" measures, and what contexts.h promises: the parts that its table
// shows.
#pragma once

#include <cstdint>
#include <string>

#include "interrupts.h"
#include "section.h"
#include "subject.h"

namespace nestlock::demo {

// A probe comes in the task itself.
inline constexpr Context kColumns[] = {Context::softirq, Context::hardirq, Context::nmi,
                                       Context::task};
inline constexpr std::size_t kProbe = 3;

struct Answers {
  std::uint64_t asked = 0, granted = 0;

  void add(bool answer) { ++asked, granted += answer; }
  void add(const Answers& more) { asked += more.asked, granted += more.granted; }
  bool are(contexts::Answer a) const {
    return asked != 0 && granted == (a == contexts::Answer::granted ? asked : 0);
  }
};

struct Asked {
  Answers held, free;
  std::uint64_t either = 0;         // asked inside lock() or unlock()
  std::uint64_t interruptions = 0;  // that were made
  std::uint64_t handlers = 0;       // that ran
  std::uint64_t elsewhere = 0;      // of these, in another context than they should
  std::uint64_t altered = 0;        // refusals that changed a byte of the lock
  std::uint64_t code_refused = 0;   // the interrupted code itself did not get a free lock
  Findings findings;
  const char* trouble = nullptr;
};

struct Promise {
  bool allowed;  // if not, the call is refused all the same, and debug reports it
  contexts::Answer held, free;
  bool reports_held;  // debug reports a try of the held lock: without debug it would be granted

  bool blind() const { return held == contexts::Answer::granted; }
};

// One subject in one column.
struct Entry {
  Asked asked;
  Promise promise;
  bool ok = true;
};

Entry try_nested(const Subject& s, std::size_t column);
Cell cell_of(const Subject& s, std::size_t column, const Entry& e);

}  // namespace nestlock::demo
