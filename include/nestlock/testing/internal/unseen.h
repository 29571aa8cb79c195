// Code that a sweep must not see: no sanitizer instruments it, and no sweep interrupts it.
//
// It stands in a section of its own, by which the sweep knows it. Only plain inline functions can
// be put there: g++ ignores a section on templates and refuses to mix inline and static functions
// in one. Unseen code calls nothing but unseen code, compiler builtins and (with no breakpoint set)
// libc.
#pragma once

#include "nestlock/config/annotations.h"

#if !defined(__linux__)
#define NESTLOCK_UNSEEN
#elif defined(__clang__)
// clang: no_sanitize("thread") alone still emits __tsan_func_entry and _exit, which can deadlock in
// a trap; disable_sanitizer_instrumentation alone leaves UBSan's checks in.
#define NESTLOCK_UNSEEN                                                                            \
  __attribute__((disable_sanitizer_instrumentation, no_sanitize("address", "thread", "undefined"), \
                 no_instrument_function, noinline, visibility("hidden"),                           \
                 section("nestlock_unseen")))
#else
#define NESTLOCK_UNSEEN                                                                        \
  __attribute__((no_sanitize("address", "thread", "undefined"), noipa, no_instrument_function, \
                 visibility("hidden"), section("nestlock_unseen")))
#endif

// Whether a sanitizer's runtime must be somewhere in the program.
#if defined(__SANITIZE_ADDRESS__) || NESTLOCK_WITH_TSAN
#define NESTLOCK_INTERNAL_HAS_RUNTIME 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(memory_sanitizer)
#define NESTLOCK_INTERNAL_HAS_RUNTIME 1
#endif
#endif
#ifndef NESTLOCK_INTERNAL_HAS_RUNTIME
#define NESTLOCK_INTERNAL_HAS_RUNTIME 0
#endif

#if NESTLOCK_WITH_TSAN
extern "C" {
void* __tsan_get_current_fiber();
void* __tsan_create_fiber(unsigned flags);
void __tsan_destroy_fiber(void* fiber);
void __tsan_switch_to_fiber(void* fiber, unsigned flags);
}
#endif

// The bounds of a section, from the linker; null if nothing stands in it.
#if defined(__linux__)
extern "C" {
extern const char __start_nestlock_unseen[] __attribute__((weak, visibility("hidden")));
extern const char __stop_nestlock_unseen[] __attribute__((weak, visibility("hidden")));
extern const char __start_nestlock_swept[] __attribute__((weak, visibility("hidden")));
extern const char __stop_nestlock_swept[] __attribute__((weak, visibility("hidden")));
}
#else
inline constexpr const char *__start_nestlock_unseen = nullptr, *__stop_nestlock_unseen = nullptr;
inline constexpr const char *__start_nestlock_swept = nullptr, *__stop_nestlock_swept = nullptr;
#endif

// Puts a function into the section that CodeRanges::swept() names. For plain functions: compilers
// refuse or ignore it on inline functions and templates, and what is inlined into it is swept, too.
#if defined(__linux__)
#define NESTLOCK_SWEPT __attribute__((section("nestlock_swept"), noinline))
#else
#define NESTLOCK_SWEPT
#endif
