// Threads of real-time policies, where they are permitted.
#pragma once

#include <pthread.h>
#include <sched.h>

namespace nestlock::test_support {

// SCHED_FIFO, on the first processor. False: not permitted.
inline bool become_realtime(int priority) {
  cpu_set_t one;
  CPU_ZERO(&one);
  CPU_SET(0, &one);
  sched_param p{};
  p.sched_priority = priority;
  return pthread_setaffinity_np(pthread_self(), sizeof one, &one) == 0 &&
         pthread_setschedparam(pthread_self(), SCHED_FIFO, &p) == 0;
}

}  // namespace nestlock::test_support
