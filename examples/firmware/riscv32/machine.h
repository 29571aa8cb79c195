// QEMU's virt board as the programs of ../common see it: a console, a timer, an irq that software can pend.
// It has no NMI, and what is masked cannot be interrupted.
#pragma once

#include <cstddef>
#include <cstdint>

namespace machine {

inline constexpr bool kHasNmi = false;
inline constexpr std::size_t kMemory = 256 * 1024;  // that the allocators get
inline constexpr std::uint32_t kLargest = 300;      // the largest object that is asked for, bytes
inline constexpr std::size_t kHeld = 24;            // what each level has at a time

// ---- start.cc ----
void put(const char* text);
[[noreturn]] void end(unsigned status);

// The program's: called for each exception, with the address that was interrupted. The software irq is
// irq0, and the timer interrupts it.
enum class Source : std::uint8_t { irq0, irq1, timer, nmi, fault };
void interrupt(Source source, std::uintptr_t pc);

// ---- registers ----
inline volatile std::uint32_t& reg(std::uintptr_t at) {
  return *reinterpret_cast<volatile std::uint32_t*>(at);
}
inline constexpr std::uintptr_t kSoftwareIrq = 0x0200'0000, kTimerAt = 0x0200'4000,
                                kTimerNow = 0x0200'BFF8;

inline void pend_irq(unsigned) { reg(kSoftwareIrq) = 1; }
inline void pend_nmi() {}
inline void nmi_after(std::uint32_t) {}

// One interrupt after `ticks` (of 100 ns); 0: none any more.
inline void timer(std::uint32_t ticks) {
  reg(kTimerAt + 4) = ~0u;  // far away, whatever the lower half is
  if (!ticks) return;
  std::uint32_t high, low;
  do high = reg(kTimerNow + 4), low = reg(kTimerNow);
  while (high != reg(kTimerNow + 4));  // the lower half began anew in between
  reg(kTimerAt) = low + ticks;
  reg(kTimerAt + 4) = high + (low + ticks < low);
}

// For a sweep. An instruction takes 512 ns there; a step and where in a tick a run begins are 500.
inline constexpr Source kInjected = Source::timer;
inline constexpr std::uint32_t kFirstTick = 100;
inline constexpr std::uint32_t kTickStep = 4;
inline void inject_after(std::uint32_t ticks) { timer(ticks); }

}  // namespace machine
