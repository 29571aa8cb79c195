// The port of a RISC-V core in machine mode without an RTOS: eight functions, as nestlock/port/bare.h
// describes them. A core without the A extension (-march=rv32imc) runs the same code: there the library's
// read-modify-writes mask irqs, and nothing here is an NMI that could come in between.
#pragma once

#include "nestlock/port/port.h"

namespace machine {

// How many handlers are running. The core does not tell: start.cc counts.
inline constinit volatile unsigned depth = 0;

}  // namespace machine

namespace nestlock_bare {

inline constexpr unsigned kMaxCpus = 1;
using IrqState = unsigned long;  // mstatus.MIE
inline constexpr IrqState kMie = 8;

inline IrqState irq_save() noexcept {
  IrqState before;
  asm volatile("csrrci %0, mstatus, 8" : "=r"(before) : : "memory");
  return before & kMie;
}
inline void irq_restore(IrqState before) noexcept {
  asm volatile("csrs mstatus, %0" : : "r"(before) : "memory");
}

// No RTOS, no other task: only the compiler must not move anything across.
inline void preempt_disable() noexcept { asm volatile("" : : : "memory"); }
inline void preempt_enable() noexcept { asm volatile("" : : : "memory"); }

inline nestlock::Context context() noexcept {
  return machine::depth ? nestlock::Context::hardirq : nestlock::Context::task;
}
inline unsigned cpu_id() noexcept { return 0; }
inline void pause() noexcept {}

// Prints it on the console (start.cc) and returns.
void report(const nestlock::Report& r) noexcept;

}  // namespace nestlock_bare
