// The eight configurations, and the one place where a build's choice is read.
//
//   -DNESTLOCK_CONFIG=<name>                                    one of the names below, or
//   -DNESTLOCK_SMP=0|1 -DNESTLOCK_PREEMPT_RT=0|1 [-DNESTLOCK_DEBUG=0|1]
//
// There is no default: a missing or wrong choice is an error, never silently a uniprocessor build.
// The configuration is a value, and a template argument of every lock (`BasicX<K>`), so code of
// two configurations never shares a symbol, and all eight can stand in one program.
//
// Optional:
//   -DNESTLOCK_PORT=hosted|bare|custom   default: hosted where the compiler says so, else bare
//   -DNESTLOCK_MAX_CPUS=<n>              size of a PerCpu<T> on the hosted port, default 64
//   -DNESTLOCK_PAGE_SHIFT=<n>            log2 of the page size, default 12 (4 KiB)
#pragma once

namespace nestlock {

struct Config {
  bool smp = false;         // more than one CPU
  bool preempt_rt = false;  // SpinLock and its kin sleep, and inherit priority
  bool debug = false;       // every lock knows its owner and checks its use

  friend constexpr bool operator==(const Config&, const Config&) = default;
};

namespace configs {
inline constexpr Config up{};
inline constexpr Config up_debug{.debug = true};
inline constexpr Config up_rt{.preempt_rt = true};
inline constexpr Config up_rt_debug{.preempt_rt = true, .debug = true};
inline constexpr Config smp{.smp = true};
inline constexpr Config smp_debug{.smp = true, .debug = true};
inline constexpr Config smp_rt{.smp = true, .preempt_rt = true};
inline constexpr Config smp_rt_debug{.smp = true, .preempt_rt = true, .debug = true};

struct Named {
  const char* name;
  Config config;
};
inline constexpr Named all[] = {
    {"up", up},   {"up_debug", up_debug},   {"up_rt", up_rt},   {"up_rt_debug", up_rt_debug},
    {"smp", smp}, {"smp_debug", smp_debug}, {"smp_rt", smp_rt}, {"smp_rt_debug", smp_rt_debug},
};
}  // namespace configs

// The name of a configuration, for reports and tables.
constexpr const char* name_of(Config config) noexcept {
  for (const configs::Named& n : configs::all)
    if (n.config == config) return n.name;
  return "?";
}

}  // namespace nestlock

// ---- the choice -------------------------------------------------------------------------------

#if defined(NESTLOCK_CONFIG) && (defined(NESTLOCK_SMP) || defined(NESTLOCK_PREEMPT_RT))
#error \
    "Nestlock: choose the configuration by -DNESTLOCK_CONFIG=<name> or by the flags, not by both."
#elif !defined(NESTLOCK_CONFIG) && !(defined(NESTLOCK_SMP) && defined(NESTLOCK_PREEMPT_RT))
#error \
    "Nestlock: choose a configuration: depend on //:nestlock.<name>, or pass -DNESTLOCK_CONFIG=<name> (up, up_debug, up_rt, up_rt_debug, smp, smp_debug, smp_rt, smp_rt_debug), or -DNESTLOCK_SMP=0|1 -DNESTLOCK_PREEMPT_RT=0|1 [-DNESTLOCK_DEBUG=0|1]."
#elif !defined(NESTLOCK_CONFIG)
#ifndef NESTLOCK_DEBUG
#define NESTLOCK_DEBUG 0
#endif
#if (NESTLOCK_SMP != 0 && NESTLOCK_SMP != 1) ||               \
    (NESTLOCK_PREEMPT_RT != 0 && NESTLOCK_PREEMPT_RT != 1) || \
    (NESTLOCK_DEBUG != 0 && NESTLOCK_DEBUG != 1)
#error "Nestlock: NESTLOCK_SMP, NESTLOCK_PREEMPT_RT and NESTLOCK_DEBUG are 0 or 1."
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
#ifndef NESTLOCK_PAGE_SHIFT
#define NESTLOCK_PAGE_SHIFT 12
#endif

// The port, as a header to include.
#define NESTLOCK_INTERNAL_PORT_hosted "nestlock/port/hosted.h"
#define NESTLOCK_INTERNAL_PORT_bare "nestlock/port/bare.h"
#define NESTLOCK_INTERNAL_PORT_custom "nestlock_port.h"
#define NESTLOCK_INTERNAL_PORT2(name) NESTLOCK_INTERNAL_PORT_##name
#define NESTLOCK_INTERNAL_PORT(name) NESTLOCK_INTERNAL_PORT2(name)
#ifdef NESTLOCK_PORT
#define NESTLOCK_PORT_HEADER NESTLOCK_INTERNAL_PORT(NESTLOCK_PORT)
#elif __STDC_HOSTED__ && defined(__linux__)
#define NESTLOCK_PORT_HEADER NESTLOCK_INTERNAL_PORT(hosted)
#else
#define NESTLOCK_PORT_HEADER NESTLOCK_INTERNAL_PORT(bare)
#endif

namespace nestlock {
inline constexpr Config kBuiltConfig = configs::NESTLOCK_CONFIG;
inline constexpr unsigned kHostedMaxCpus = NESTLOCK_MAX_CPUS;
static_assert(kHostedMaxCpus >= 1 && kHostedMaxCpus <= 4096, "NESTLOCK_MAX_CPUS is 1..4096");
inline constexpr unsigned kPageShift = NESTLOCK_PAGE_SHIFT;
static_assert(kPageShift >= 8 && kPageShift <= 16, "NESTLOCK_PAGE_SHIFT is 8..16");
}  // namespace nestlock

// The link stamp: a header that needs lib/ refers to `nestlock_built_as_<name>`, and the library
// defines only its own. So an object built for another configuration does not link, and the error
// names it. (The locks alone need no library; their mangled types carry the configuration.)
#define NESTLOCK_INTERNAL_PASTE2(a, b) a##b
#define NESTLOCK_INTERNAL_PASTE(a, b) NESTLOCK_INTERNAL_PASTE2(a, b)
#define NESTLOCK_LINK_STAMP NESTLOCK_INTERNAL_PASTE(nestlock_built_as_, NESTLOCK_CONFIG)
