// The eight configurations as C++ values. What a build chose is read in config/choice.h.
//
// The configuration is a value, and a template argument of every lock (`BasicX<K>`), so code of
// two configurations never shares a symbol, and all eight can stand in one program.
#pragma once

#include "nestlock/config/choice.h"
#include "nestlock/config/cxx20.h"

namespace nestlock {

struct Config {
  bool smp = false;         // more than one CPU
  bool preempt_rt = false;  // SpinLock and its kin sleep, and inherit priority
  bool debug = false;       // every lock knows its owner and checks its use

  friend constexpr bool operator==(const Config&, const Config&) = default;
};

namespace configs {
// As the names say; without a suffix nothing sleeps and nothing is checked.
inline constexpr Config up{};
inline constexpr Config up_debug{.debug = true};
inline constexpr Config up_rt{.preempt_rt = true};
inline constexpr Config up_rt_debug{.preempt_rt = true, .debug = true};
inline constexpr Config smp{.smp = true};
inline constexpr Config smp_debug{.smp = true, .debug = true};
inline constexpr Config smp_rt{.smp = true, .preempt_rt = true};
inline constexpr Config smp_rt_debug{.smp = true, .preempt_rt = true, .debug = true};

// A configuration and its name.
struct Named {
  const char* name;  // "up", ...
  Config config;     // what it means
};
// All eight.
[[gnu::visibility("hidden")]] inline constexpr Named all[] = {
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

// The port, as a header to include.
#define NESTLOCK_INTERNAL_PORT_hosted "nestlock/port/hosted.h"
#define NESTLOCK_INTERNAL_PORT_bare "nestlock/port/bare.h"
#define NESTLOCK_INTERNAL_PORT_custom "nestlock_port.h"
#define NESTLOCK_INTERNAL_PORT2(name) NESTLOCK_INTERNAL_PORT_##name
#define NESTLOCK_INTERNAL_PORT(name) NESTLOCK_INTERNAL_PORT2(name)
// ... and as a number, 0 for a name that nobody knows.
#define NESTLOCK_INTERNAL_PORT_NUMBER_hosted 1
#define NESTLOCK_INTERNAL_PORT_NUMBER_bare 2
#define NESTLOCK_INTERNAL_PORT_NUMBER_custom 3
#define NESTLOCK_INTERNAL_PORT_NUMBER(name) \
  NESTLOCK_INTERNAL_PASTE(NESTLOCK_INTERNAL_PORT_NUMBER_, name)
#if defined(NESTLOCK_PORT) && NESTLOCK_INTERNAL_PORT_NUMBER(NESTLOCK_PORT) == 0
// clang-format off
NESTLOCK_INTERNAL_PRAGMA(GCC error NESTLOCK_INTERNAL_TEXT(Nestlock: NESTLOCK_PORT is no port: hosted bare custom))
// clang-format on
#undef NESTLOCK_PORT  // the default, so that this is the only error
#endif
#ifdef NESTLOCK_PORT
#define NESTLOCK_INTERNAL_CHOSEN NESTLOCK_PORT
#elif __STDC_HOSTED__ && defined(__linux__)
#define NESTLOCK_INTERNAL_CHOSEN hosted
#else
#define NESTLOCK_INTERNAL_CHOSEN bare
#endif
#define NESTLOCK_PORT_HEADER NESTLOCK_INTERNAL_PORT(NESTLOCK_INTERNAL_CHOSEN)
// For a file that has nothing in it for the hosted port, or for another: 1 or 0.
#define NESTLOCK_INTERNAL_HOSTED (NESTLOCK_INTERNAL_PORT_NUMBER(NESTLOCK_INTERNAL_CHOSEN) == 1)
#if NESTLOCK_INTERNAL_PORT_NUMBER(NESTLOCK_INTERNAL_CHOSEN) == 2 && NESTLOCK_INTERNAL_NUMBER & 2
#error \
    "Nestlock: a PREEMPT_RT configuration (_rt) needs a port whose locks can sleep: hosted, or custom with a SleepLock. The bare port has up, up_debug, smp and smp_debug."
#undef NESTLOCK_CONFIG
#define NESTLOCK_CONFIG up  // any: so that this is the only error
#endif

namespace nestlock {
// What this build has chosen, see the top of the file.
inline constexpr Config kBuiltConfig = configs::NESTLOCK_CONFIG;
inline constexpr bool kHosted = NESTLOCK_INTERNAL_HOSTED;
inline constexpr unsigned kHostedMaxCpus = NESTLOCK_MAX_CPUS;
static_assert(kHostedMaxCpus >= 1 && kHostedMaxCpus <= 4096, "NESTLOCK_MAX_CPUS is 1..4096");
inline constexpr unsigned kPageShift = NESTLOCK_PAGE_SHIFT;
static_assert(kPageShift >= 8 && kPageShift <= 16, "NESTLOCK_PAGE_SHIFT is 8..16");

// Whether pages and slab are the lean ones, for a small firmware (docs/size.md lists what they lack).
inline constexpr bool kLean = NESTLOCK_LEAN;
static_assert(!kLean || kPageShift <= 12, "NESTLOCK_LEAN=1 has pages of 256 bytes to 4 KiB");

// Whether ThreadSanitizer is told of the plain names' locks (lock/tsan_lock_order.h).
inline constexpr bool kTsanLockOrder = NESTLOCK_INTERNAL_TSAN_LOCK_ORDER;
}  // namespace nestlock
