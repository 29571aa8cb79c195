// Threads of real-time policies, where they are permitted.
#pragma once

#include <pthread.h>
#include <sched.h>

#include "nestlock/config/annotations.h"

namespace nestlock::test_support {

// SCHED_FIFO, on the first processor. False: not permitted. Nor is it under ThreadSanitizer, whose runtime spins for
// locks of its own: a thread of a higher priority would wait so for one that it has preempted, and for ever.
inline bool become_realtime(int priority) {
  if (nestlock::internal::kWithTsan) return false;
  cpu_set_t one;
  CPU_ZERO(&one);
  CPU_SET(0, &one);
  sched_param p{};
  p.sched_priority = priority;
  return pthread_setaffinity_np(pthread_self(), sizeof one, &one) == 0 &&
         pthread_setschedparam(pthread_self(), SCHED_FIFO, &p) == 0;
}

}  // namespace nestlock::test_support
