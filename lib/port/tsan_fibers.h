// ThreadSanitizer's fibres, for the files that change from one to another.
#pragma once

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
}

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
