// What every core of the Cortex-M line has: exceptions, a timer, irqs that software can pend, an NMI. A
// board's machine.h includes it.
#pragma once

#include <cstdint>

namespace machine {

// ---- start.cc ----
void put(const char* text);
[[noreturn]] void end(unsigned status);

// The program's: called for each exception, with the address that was interrupted.
enum class Source : std::uint8_t { irq0, irq1, timer, nmi, fault };
void interrupt(Source source, std::uintptr_t pc);

// ---- registers ----
inline volatile std::uint32_t& reg(std::uintptr_t at) {
  return *reinterpret_cast<volatile std::uint32_t*>(at);
}
inline constexpr std::uintptr_t kTimerControl = 0xE000E010, kTimerReload = 0xE000E014,
                                kTimerNow = 0xE000E018, kIrqEnable = 0xE000E100,
                                kIrqPend = 0xE000E200, kIrqPriority = 0xE000E400,
                                kPend = 0xE000ED04, kTimerPriority = 0xE000ED20;

// What was stored before has had its effect, a pended interrupt among it.
inline void settle() { asm volatile("dsb\n isb" : : : "memory"); }

// irq0 < irq1 < timer < NMI: each interrupts those before it.
inline void set_up() {
  reg(kIrqPriority) = 0x0000'40C0;    // irq0: 0xc0, irq1: 0x40; a smaller number is more urgent
  reg(kTimerPriority) = 0x0000'0000;  // the most urgent irq
  reg(kIrqEnable) = 3;
}

// Makes irq 0 or 1 pending: its handler runs as soon as it may.
inline void pend_irq(unsigned n) {
  reg(kIrqPend) = 1u << n;
  settle();
}
// Runs the NMI's handler now, masked or not.
inline void pend_nmi() {
  reg(kPend) = 1u << 31;
  settle();
}

// One interrupt after each `ticks` of the core's clock; 0: none any more.
inline void timer(std::uint32_t ticks) {
  reg(kTimerControl) = 0;
  reg(kPend) = 1u << 25;  // one that came meanwhile is none any more
  reg(kTimerReload) = ticks;
  reg(kTimerNow) = 0;
  if (ticks) reg(kTimerControl) = 7;  // the core's clock, with its interrupt, on
}

}  // namespace machine
