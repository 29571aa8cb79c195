// Pinning to the CPUs that this process may use.
#pragma once

#include <sched.h>

namespace bench {

// The set as it was when the program started.
inline const cpu_set_t allowed_cpus = [] {
  cpu_set_t set;
  CPU_ZERO(&set);
  sched_getaffinity(0, sizeof set, &set);
  return set;
}();

inline void pin_to_nth_cpu(unsigned n) {
  const unsigned count = static_cast<unsigned>(CPU_COUNT(&allowed_cpus));
  if (!count) return;
  n %= count;
  for (unsigned cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (!CPU_ISSET(cpu, &allowed_cpus) || n-- != 0) continue;
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(cpu, &one);
    sched_setaffinity(0, sizeof one, &one);
    return;
  }
}

}  // namespace bench
