// What the kernel does around a handler, for handlers that irq_restore() calls: they get the
// floating-point modes of a program's start and the thread's alternate stack, and what they change in
// their context takes effect; lib/port/README.md, R11.
#pragma once

#include "signals_internal.h"

#pragma GCC visibility push(hidden)
namespace nestlock::signals::internal {

// Around a replay: what the kernel's frame would hold, and its handlers may change.
class Delivery {
 public:
  // Runs body() on the stack of a handler, and then gives the interrupted code its modes back.
  using Body = KernelMask (*)(Delivery&) noexcept;
  static KernelMask run(Body body) noexcept;

  // One handler: with the mask that the interrupted code has now, and afterwards with that which the handler
  // left in its context. What it blocked or unblocked by system calls ends with it. `uc` is where the signal arrived.
  void call_irq(int signo, siginfo_t* info, ucontext_t* uc) noexcept;

 private:
  struct Modes;
  explicit Delivery(Modes* modes) noexcept : modes_(modes) {}

  Modes* const modes_;
  std::uintptr_t floor_ = 0;  // of the alternate stack: its lowest address; 0: there is none
};

}  // namespace nestlock::signals::internal
#pragma GCC visibility pop
