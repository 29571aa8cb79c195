// The board as the programs of ../../common see it: how little memory there is for them. What is of the
// core comes from core.h. Nothing on it raises an NMI but software.
#pragma once

#include <cstddef>
#include <cstdint>

#include "cortex_m/core.h"

namespace machine {

inline constexpr bool kHasNmi = true;
inline constexpr std::size_t kMemory = 16 * 1024;  // that the allocators get
inline constexpr std::uint32_t kLargest = 100;     // the largest object that is asked for, bytes
inline constexpr std::size_t kHeld = 8;            // what each level has at a time

// No NMI after a time here.
inline void nmi_after(std::uint32_t) {}

// For a sweep: the timer, which irq_save() holds back until the section's end.
inline constexpr Source kInjected = Source::timer;
inline constexpr std::uint32_t kFirstTick = 120;
inline constexpr std::uint32_t kTickStep = 2;
inline void inject_after(std::uint32_t ticks) { timer(ticks); }

}  // namespace machine
