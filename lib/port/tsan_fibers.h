// ThreadSanitizer's fibres, for the files that change from one to another.
#pragma once

#include <cstdint>

#include "nestlock/port/hosted.h"

#if NESTLOCK_WITH_TSAN

extern "C" {
void* __tsan_get_current_fiber();
void* __tsan_create_fiber(unsigned flags);
void __tsan_destroy_fiber(void* fiber);
void __tsan_switch_to_fiber(void* fiber, unsigned flags);
}

namespace nestlock::hosted {
inline constexpr unsigned kTsanNoSync = 1;  // the flag of __tsan_switch_to_fiber

// In tsan_levels.cc: the signals that are not faults, held back while the tool changes fibres or makes them. In
// the middle of that the thread has no state that a handler's accesses could be checked with (the tool crashes),
// and between a fibre and its stack a handler's frames would lie on dead ones of another fibre's.
std::uint64_t tsan_hold_signals() noexcept;  // the mask as it was
void tsan_let_signals_in(std::uint64_t mask) noexcept;
}  // namespace nestlock::hosted

// Instrumented, its entry would be noted on one fibre and its exit on another; to clang
// no_sanitize("thread") alone leaves these in. In the section that sweeps leave out: on its way
// from one stack and fibre to another a thread is between the two, and an interrupt would be, too.
#if defined(__clang__)
#define NESTLOCK_INTERNAL_NOT_IN_TSAN \
  __attribute__((disable_sanitizer_instrumentation, noinline, section("nestlock_unseen")))
#else
#define NESTLOCK_INTERNAL_NOT_IN_TSAN \
  __attribute__((no_sanitize("thread"), noipa, section("nestlock_unseen")))
#endif

#endif
