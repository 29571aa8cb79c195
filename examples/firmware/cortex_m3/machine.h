// The board as the programs of ../common see it: a console, a timer, irqs that software can pend, an NMI.
// A new board fills in the same functions.
#pragma once

#include <cstddef>
#include <cstdint>

namespace machine {

inline constexpr std::size_t kMemory = 256 * 1024;  // that the allocators get
inline constexpr std::uint32_t kLargest = 300;      // the largest object that is asked for, bytes
inline constexpr std::size_t kHeld = 24;            // what each level has at a time

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
// The core's.
inline constexpr std::uintptr_t kTimerControl = 0xE000E010, kTimerReload = 0xE000E014,
                                kTimerNow = 0xE000E018, kIrqEnable = 0xE000E100,
                                kIrqPend = 0xE000E200, kIrqPriority = 0xE000E400,
                                kPend = 0xE000ED04, kTimerPriority = 0xE000ED20;
// The board's watchdog. Its only way out is the NMI.
inline constexpr std::uintptr_t kWatchdogLoad = 0x40008000, kWatchdogControl = 0x40008008,
                                kWatchdogClear = 0x4000800C;

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

// One interrupt after each `ticks` (of 40 ns); 0: none any more.
inline void timer(std::uint32_t ticks) {
  reg(kTimerControl) = 0;
  reg(kTimerReload) = ticks;
  reg(kTimerNow) = 0;
  if (ticks) reg(kTimerControl) = 7;  // the core's clock, with its interrupt, on
}

// One NMI after `ticks` (of 40 ns), between whichever two instructions that is. To be called in the
// NMI's handler, too, which ends it by that; 0: none any more. QEMU's counter always runs and starts
// again by itself, so it is parked far away first.
inline void nmi_after(std::uint32_t ticks) {
  reg(kWatchdogLoad) = ~0u;
  reg(kWatchdogControl) = ticks ? 1 : 0;
  reg(kWatchdogClear) = 1;
  if (ticks) reg(kWatchdogLoad) = ticks;
  settle();
}

// For a sweep: the interrupt that the least can hold back, and the ticks after which the first
// instruction behind the call may be hit.
inline constexpr Source kInjected = Source::nmi;
inline constexpr std::uint32_t kFirstTick = 60;
inline void inject_after(std::uint32_t ticks) { nmi_after(ticks); }

}  // namespace machine
