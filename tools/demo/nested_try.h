// What the section "nested_try" measures, and what contexts.h promises: the parts that its table
// shows.
#pragma once

#include <cstdint>
#include <string>

#include "section.h"
#include "subject.h"
#include "tools/shared/asked.h"

namespace nestlock::demo {

// A probe comes in the task itself.
inline constexpr Context kColumns[] = {Context::softirq, Context::hardirq, Context::nmi,
                                       Context::task};
inline constexpr std::size_t kProbe = 3;

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
