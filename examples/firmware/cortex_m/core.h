// What every core of the Cortex-M line has: exceptions, a timer, irqs that software can pend, an NMI. A
// board's machine.h includes it.
#pragma once

#include <cstdint>

namespace machine {

// What a board's machine.h may say otherwise: whoever writes machine::kIrqs finds the board's first.
namespace defaults {
inline constexpr unsigned kIrqs =
    32;  // how many the vector table has room for; the board's handbook tells
}
using namespace defaults;

// ---- start.cc ----
// A debugger must listen to these two, as QEMU does. Each is weak: a board without one defines its own.
void put(const char* text);
[[noreturn]] void end(unsigned status);

// The program's: called for each exception, with the address that was interrupted. `irq` is any irq above
// 1; irq_number() tells a handler which.
enum class Source : std::uint8_t { irq0, irq1, timer, nmi, fault, irq };
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

// What the core serves: 0 nothing, 2 an NMI, 15 the timer, from 16 on irqs.
inline unsigned exception_number() {
  std::uint32_t number;
  asm volatile("mrs %0, ipsr" : "=r"(number));
  return number & 0x1ff;
}
inline unsigned irq_number() { return exception_number() - 16; }  // in an irq's handler
// Lets irq n come. A smaller priority is more urgent; cores have its upper bits alone, at least two.
inline void enable_irq(unsigned n, std::uint32_t priority) {
  volatile std::uint32_t& of_four =
      reg(kIrqPriority + n / 4 * 4);  // a Cortex-M0 has words alone there
  const unsigned shift = n % 4 * 8;
  of_four = (of_four & ~(0xffu << shift)) | priority << shift;
  reg(kIrqEnable + n / 32 * 4) = 1u << n % 32;
}

// irq0 < irq1 < timer < NMI: each interrupts those before it.
inline void set_up() {
  enable_irq(0, 0xc0);
  enable_irq(1, 0x40);
  reg(kTimerPriority) = 0x0000'0000;  // the most urgent irq
}

// Makes an irq pending: its handler runs as soon as it may.
inline void pend_irq(unsigned n) {
  reg(kIrqPend + n / 32 * 4) = 1u << n % 32;
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
