// Real interruptions: signals registered as irq and nmi, a softirq raised by the irq's handler, and
// a probe, which nobody registered, after every machine instruction.
#pragma once

#include <cstdint>

#include "nestlock/port/report.h"
#include "tools/shared/call.h"

namespace nestlock::tools {

// Registers the signals and the report sink. Null, or what went wrong.
const char* set_up_interrupts();

// Interrupts the caller once, at the call, by an interruption of class `c` (softirq, hardirq or
// nmi) that runs `handler`.
void interrupt_with(Context c, Call handler);

// ---- probes: instructions of this program's own code, not of the C library's --------------------

struct Probed {
  bool supported = false;
  bool complete = false;          // the code ended before the instructions that were asked for
  const char* trouble = nullptr;  // why not supported, or what went wrong
  std::uint64_t instructions = 0;
};

// Runs code() once, with probe() after each of its instructions. The probe gives back what it took.
Probed probe_through(Call code, Call probe);

// prepare(); code() with probe() after its first instruction; check(). The same with the second,
// and so on to the last.
Probed probe_each(Call prepare, Call code, Call probe, Call check);

// The same with an interruption of class `c`: hardirq, nmi, or task for a probe. `handler` may run
// later, where irqs are masked. From the k-th instruction on; or there only.
enum class Instructions { rest, one };
Probed interrupt_each(Context c, Instructions which, std::uint64_t k, Call prepare, Call code,
                      Call handler, Call check);

// Of code() alone.
std::uint64_t instructions_of(Call code);

// Why it cannot be done here, or null.
const char* why_no_probes();

// ---- findings: what debug configurations report, counted and not printed ------------------------

struct Findings {
  std::uint64_t not_promised = 0, wrong_context = 0, others = 0;
  Finding other{};  // the last of `others`
};

// From here on what is tried is `what`, which must stay valid: a lock that reports a fatal finding,
// or hangs, ends the program, and the message names it.
void now_trying(const char* what);
// Since now_trying().
Findings findings();

}  // namespace nestlock::tools
