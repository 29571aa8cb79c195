// What the tests of a replayed irq share: it comes in both ways, and its handler has the same context.
#pragma once

#include <ucontext.h>

#include "test/port/port_testing.h"

namespace nestlock::port_testing {

// The same irq as the kernel delivers it, and held back by a section until its end.
template <class F>
void both_ways(F f) {
  {
    SCOPED_TRACE("delivered by the kernel");
    f([] { arrive(irq(0), 1); });
  }
  {
    SCOPED_TRACE("replayed");
    f([] {
      IrqSection section;
      arrive(irq(0), 1);
    });
  }
}

inline ucontext_t& context_of(void* c) { return *static_cast<ucontext_t*>(c); }

}  // namespace nestlock::port_testing
