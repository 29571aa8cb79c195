// The one place where a build's choice is read, by C and C++ alike.
//
//   -DNESTLOCK_CONFIG=<name>                                    one of the names below, or
//   -DNESTLOCK_SMP=0|1 -DNESTLOCK_PREEMPT_RT=0|1 [-DNESTLOCK_DEBUG=0|1]
//
// There is no default: a missing or wrong choice is an error, never silently a uniprocessor build.
//
// Optional:
//   -DNESTLOCK_PORT=hosted|bare|custom   default: hosted where the compiler says so, else bare
//   -DNESTLOCK_MAX_CPUS=<n>              how many CPUs a several-CPU build has at most, default 64
//   -DNESTLOCK_PAGE_SHIFT=<n>            log2 of the page size, default 12 (4 KiB)
//   -DNESTLOCK_LEAN=0|1                  1: the form of pages and slab that fits a small firmware, without what
//                                        docs/size.md lists; default 0
//   -DNESTLOCK_OWN_STATE                 a shared library that shares no state of the hosted port with the
//                                        program and other libraries: it handles no signals, and what
//                                        masks irqs elsewhere masks none for it (the preloaded malloc()).
//                                        It exports no name of ours
//   -DNESTLOCK_TSAN_LOCK_ORDER           ThreadSanitizer is told of every lock of the plain names, and reports
//                                        locks taken in different orders (lock/tsan_lock_order.h)
//   -DNESTLOCK_FROM_THE_START            such a library that is there when the program starts, preloaded or
//                                        linked, and is never unloaded: its words have a place in each thread
//
// Nothing but preprocessor lines stands here and in version.h, so that c.h can include it.
#pragma once

#include "nestlock/version.h"

// What pkg-config's and Meson's dependencies say beside the name, for two names on one line are but a warning.
#if (defined(NESTLOCK_PACKAGE_up) + defined(NESTLOCK_PACKAGE_up_debug) +       \
     defined(NESTLOCK_PACKAGE_up_rt) + defined(NESTLOCK_PACKAGE_up_rt_debug) + \
     defined(NESTLOCK_PACKAGE_smp) + defined(NESTLOCK_PACKAGE_smp_debug) +     \
     defined(NESTLOCK_PACKAGE_smp_rt) + defined(NESTLOCK_PACKAGE_smp_rt_debug)) > 1
#error \
    "Nestlock: two configurations on one compiler line: let all dependencies take the same nestlock-<name>."
#endif

#if defined(NESTLOCK_CONFIG) && (defined(NESTLOCK_SMP) || defined(NESTLOCK_PREEMPT_RT))
#error \
    "Nestlock: choose the configuration by -DNESTLOCK_CONFIG=<name> or by the flags, not by both."
#elif !defined(NESTLOCK_CONFIG) && !(defined(NESTLOCK_SMP) && defined(NESTLOCK_PREEMPT_RT))
#error \
    "Nestlock: choose a configuration: depend on @nestlock//:nestlock.<name> (Bazel), nestlock::<name> (CMake) or nestlock-<name> (pkg-config, Meson), or pass -DNESTLOCK_CONFIG=<name> (up, up_debug, up_rt, up_rt_debug, smp, smp_debug, smp_rt, smp_rt_debug), or -DNESTLOCK_SMP=0|1 -DNESTLOCK_PREEMPT_RT=0|1 [-DNESTLOCK_DEBUG=0|1]."
#define NESTLOCK_CONFIG up  // any: so that this is the only error
#elif !defined(NESTLOCK_CONFIG)
#ifndef NESTLOCK_DEBUG
#define NESTLOCK_DEBUG 0
#endif
#if (NESTLOCK_SMP != 0 && NESTLOCK_SMP != 1) ||               \
    (NESTLOCK_PREEMPT_RT != 0 && NESTLOCK_PREEMPT_RT != 1) || \
    (NESTLOCK_DEBUG != 0 && NESTLOCK_DEBUG != 1)
#error "Nestlock: NESTLOCK_SMP, NESTLOCK_PREEMPT_RT and NESTLOCK_DEBUG are 0 or 1."
#endif
// What this repository's Bazel targets hand on beside the flags.
#if (defined(NESTLOCK_TARGET_SMP_0) && defined(NESTLOCK_TARGET_SMP_1)) || \
    (defined(NESTLOCK_TARGET_RT_0) && defined(NESTLOCK_TARGET_RT_1)) ||   \
    (defined(NESTLOCK_TARGET_DEBUG_0) && defined(NESTLOCK_TARGET_DEBUG_1))
#error \
    "Nestlock: this target depends on two configurations: let all that it depends on take the same one of @nestlock//:nestlock.<name>."
#endif
// The flags' name, so that a linker error can show it (see NESTLOCK_LINK_STAMP).
#define NESTLOCK_INTERNAL_NAME_000 up
#define NESTLOCK_INTERNAL_NAME_001 up_debug
#define NESTLOCK_INTERNAL_NAME_010 up_rt
#define NESTLOCK_INTERNAL_NAME_011 up_rt_debug
#define NESTLOCK_INTERNAL_NAME_100 smp
#define NESTLOCK_INTERNAL_NAME_101 smp_debug
#define NESTLOCK_INTERNAL_NAME_110 smp_rt
#define NESTLOCK_INTERNAL_NAME_111 smp_rt_debug
#define NESTLOCK_INTERNAL_NAME2(s, r, d) NESTLOCK_INTERNAL_NAME_##s##r##d
#define NESTLOCK_INTERNAL_NAME(s, r, d) NESTLOCK_INTERNAL_NAME2(s, r, d)
#define NESTLOCK_CONFIG NESTLOCK_INTERNAL_NAME(NESTLOCK_SMP, NESTLOCK_PREEMPT_RT, NESTLOCK_DEBUG)
#elif defined(NESTLOCK_DEBUG)
#error \
    "Nestlock: NESTLOCK_DEBUG belongs to the flags; with -DNESTLOCK_CONFIG=<name> use <name>_debug."
#endif

#ifndef NESTLOCK_MAX_CPUS
#define NESTLOCK_MAX_CPUS 64
#endif
#ifdef NESTLOCK_TSAN_LOCK_ORDER
#define NESTLOCK_INTERNAL_TSAN_LOCK_ORDER 1
#else
#define NESTLOCK_INTERNAL_TSAN_LOCK_ORDER 0
#endif
#ifndef NESTLOCK_PAGE_SHIFT
#define NESTLOCK_PAGE_SHIFT 12
#endif
#ifndef NESTLOCK_LEAN
#define NESTLOCK_LEAN 0
#elif NESTLOCK_LEAN != 0 && NESTLOCK_LEAN != 1
#error "Nestlock: NESTLOCK_LEAN is 0 or 1."
#endif

#define NESTLOCK_INTERNAL_TEXT2(x) #x
#define NESTLOCK_INTERNAL_TEXT(x) NESTLOCK_INTERNAL_TEXT2(x)
#define NESTLOCK_INTERNAL_PASTE2(a, b) a##b
#define NESTLOCK_INTERNAL_PASTE(a, b) NESTLOCK_INTERNAL_PASTE2(a, b)

// What tells the lean form's names from the others', and what the page size is called among them.
#if NESTLOCK_LEAN
#define NESTLOCK_INTERNAL_LEAN_NAME "lean_"
#define NESTLOCK_INTERNAL_PAGES NESTLOCK_INTERNAL_PASTE(NESTLOCK_PAGE_SHIFT, _lean)
#else
#define NESTLOCK_INTERNAL_LEAN_NAME ""
#define NESTLOCK_INTERNAL_PAGES NESTLOCK_PAGE_SHIFT
#endif

// Behind a function's declaration: what it is called in the object file, so that two configurations'
// functions of one name stay apart in one process.
#define NESTLOCK_INTERNAL_SYMBOL(name)                                                      \
  __asm__(NESTLOCK_INTERNAL_TEXT(__USER_LABEL_PREFIX__) "nestlock_" NESTLOCK_INTERNAL_TEXT( \
      NESTLOCK_CONFIG) "_" NESTLOCK_INTERNAL_LEAN_NAME name)

// The choice as a number: 8, plus 4 on several CPUs, 2 with PREEMPT_RT, 1 with debug; 0 for a name
// that nobody knows.
#define NESTLOCK_INTERNAL_NUMBER_up 8
#define NESTLOCK_INTERNAL_NUMBER_up_debug 9
#define NESTLOCK_INTERNAL_NUMBER_up_rt 10
#define NESTLOCK_INTERNAL_NUMBER_up_rt_debug 11
#define NESTLOCK_INTERNAL_NUMBER_smp 12
#define NESTLOCK_INTERNAL_NUMBER_smp_debug 13
#define NESTLOCK_INTERNAL_NUMBER_smp_rt 14
#define NESTLOCK_INTERNAL_NUMBER_smp_rt_debug 15
#define NESTLOCK_INTERNAL_NUMBER NESTLOCK_INTERNAL_PASTE(NESTLOCK_INTERNAL_NUMBER_, NESTLOCK_CONFIG)
// An error that shows what a name stands for, which #error does not.
#define NESTLOCK_INTERNAL_PRAGMA2(text) _Pragma(#text)
#define NESTLOCK_INTERNAL_PRAGMA(text) NESTLOCK_INTERNAL_PRAGMA2(text)
#if defined(NESTLOCK_CONFIG) && NESTLOCK_INTERNAL_NUMBER == 0
// clang-format off
NESTLOCK_INTERNAL_PRAGMA(GCC error NESTLOCK_INTERNAL_TEXT(Nestlock: NESTLOCK_CONFIG is no configuration: up up_debug up_rt up_rt_debug smp smp_debug smp_rt smp_rt_debug))
// clang-format on
#undef NESTLOCK_CONFIG
#define NESTLOCK_CONFIG up  // as above
#endif

// What std::conditional_t is to C++: `NESTLOCK_IF_SMP(a, b)` is `a` if the choice has several CPUs,
// else `b`; either may be empty.
#if NESTLOCK_INTERNAL_NUMBER & 4
#define NESTLOCK_IF_SMP(then, otherwise) then
#else
#define NESTLOCK_IF_SMP(then, otherwise) otherwise
#endif
#if NESTLOCK_INTERNAL_NUMBER & 2
#define NESTLOCK_IF_PREEMPT_RT(then, otherwise) then
#else
#define NESTLOCK_IF_PREEMPT_RT(then, otherwise) otherwise
#endif
#if NESTLOCK_INTERNAL_NUMBER & 1
#define NESTLOCK_IF_DEBUG(then, otherwise) then
#else
#define NESTLOCK_IF_DEBUG(then, otherwise) otherwise
#endif

// The link stamp: a header that needs lib/ refers to this symbol, and the library defines only its
// own. So an object that was built for another configuration, with the headers of another version
// or with another value of what changes the layout does not link, and the error names both:
// `nestlock_built_as_up_v0_2_0_max_cpus_64_page_shift_12`. The two values are therefore plain
// numbers. The lean form's has `_lean` at its end. (The locks alone need no library; for their plain names config/one_choice.h does the same.)
#define NESTLOCK_INTERNAL_STAMP2(what, name, major, minor, patch, cpus, shift) \
  nestlock_##what##_##name##_v##major##_##minor##_##patch##_max_cpus_##cpus##_page_shift_##shift
#define NESTLOCK_INTERNAL_STAMP(what, name, major, minor, patch, cpus, shift) \
  NESTLOCK_INTERNAL_STAMP2(what, name, major, minor, patch, cpus, shift)
#define NESTLOCK_LINK_STAMP                                                                  \
  NESTLOCK_INTERNAL_STAMP(built_as, NESTLOCK_CONFIG, NESTLOCK_VERSION_MAJOR,                 \
                          NESTLOCK_VERSION_MINOR, NESTLOCK_VERSION_PATCH, NESTLOCK_MAX_CPUS, \
                          NESTLOCK_INTERNAL_PAGES)
