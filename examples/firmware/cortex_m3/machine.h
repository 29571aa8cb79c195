// The board as the programs of ../common see it: how much memory there is for them, and the watchdog. What
// is of the core comes from core.h.
#pragma once

#include <cstddef>
#include <cstdint>

#include "cortex_m/core.h"

namespace machine {

inline constexpr bool kHasNmi = true;
inline constexpr std::size_t kMemory = 256 * 1024;  // that the allocators get
inline constexpr std::uint32_t kLargest = 300;      // the largest object that is asked for, bytes
inline constexpr std::size_t kHeld = 24;            // what each level has at a time

// The board's watchdog. Its only way out is the NMI.
inline constexpr std::uintptr_t kWatchdogLoad = 0x40008000, kWatchdogControl = 0x40008008,
                                kWatchdogClear = 0x4000800C;

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
inline constexpr std::uint32_t kTickStep = 1;
inline void inject_after(std::uint32_t ticks) { nmi_after(ticks); }

}  // namespace machine
