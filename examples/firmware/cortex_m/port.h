// What Nestlock asks of a Cortex-M core without an RTOS: eight functions, as nestlock/port/bare.h
// describes them. Nothing here is of one board; cortex_m0 uses this file, too.
#pragma once

#include "nestlock/port/port.h"

namespace nestlock_bare {

inline constexpr unsigned kMaxCpus = 1;
using IrqState = unsigned;  // the PRIMASK register: 1 masks irqs, faults and NMIs still come

inline IrqState irq_save() noexcept {
  IrqState before;
  asm volatile("mrs %0, primask\n cpsid i" : "=r"(before) : : "memory");
  return before;
}
// The isb lets an irq that is pending come here, and not one instruction later.
inline void irq_restore(IrqState before) noexcept {
  asm volatile("msr primask, %0\n isb" : : "r"(before) : "memory");
}

// No RTOS, no other task: only the compiler must not move anything across.
inline void preempt_disable() noexcept { asm volatile("" : : : "memory"); }
inline void preempt_enable() noexcept { asm volatile("" : : : "memory"); }

// The core knows what it is serving. A fault may interrupt whatever an NMI may.
inline nestlock::Context context() noexcept {
  unsigned exception;  // 0: none; 2: NMI; 3 to 6: faults; 11 and above: calls, timers, irqs
  asm volatile("mrs %0, ipsr" : "=r"(exception));
  if (exception == 0) return nestlock::Context::task;
  return exception < 11 ? nestlock::Context::nmi : nestlock::Context::hardirq;
}
inline unsigned cpu_id() noexcept { return 0; }
inline void pause() noexcept {}

// Prints it on the debugger's console (start.cc) and returns.
void report(const nestlock::Report& r) noexcept;

}  // namespace nestlock_bare
