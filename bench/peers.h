// The peers, each with lock(), try_lock() and unlock(), so that one loop times them all.
#pragma once

#include <pthread.h>

#include <mutex>

#include "absl/synchronization/mutex.h"

namespace bench {

template <int kProtocol>
class PthreadMutex {
 public:
  PthreadMutex() {
    pthread_mutexattr_t attr;
    pthread_mutexattr_init(&attr);
    pthread_mutexattr_setprotocol(&attr, kProtocol);
    pthread_mutex_init(&mutex_, &attr);
    pthread_mutexattr_destroy(&attr);
  }
  void lock() { pthread_mutex_lock(&mutex_); }
  bool try_lock() { return pthread_mutex_trylock(&mutex_) == 0; }
  void unlock() { pthread_mutex_unlock(&mutex_); }

 private:
  pthread_mutex_t mutex_;
};
using PlainMutex = PthreadMutex<PTHREAD_PRIO_NONE>;
using PiMutex = PthreadMutex<PTHREAD_PRIO_INHERIT>;

class PthreadSpin {
 public:
  PthreadSpin() { pthread_spin_init(&spin_, PTHREAD_PROCESS_PRIVATE); }
  void lock() { pthread_spin_lock(&spin_); }
  bool try_lock() { return pthread_spin_trylock(&spin_) == 0; }
  void unlock() { pthread_spin_unlock(&spin_); }

 private:
  pthread_spinlock_t spin_;
};

class AbslMutex {
 public:
  void lock() ABSL_NO_THREAD_SAFETY_ANALYSIS { mutex_.Lock(); }
  bool try_lock() ABSL_NO_THREAD_SAFETY_ANALYSIS { return mutex_.TryLock(); }
  void unlock() ABSL_NO_THREAD_SAFETY_ANALYSIS { mutex_.Unlock(); }

 private:
  absl::Mutex mutex_;
};

// One of each type, on a cache line (and its prefetched neighbour) of its own.
template <class Lock>
struct alignas(128) Alone {
  Lock lock;
};
template <class Lock>
inline Alone<Lock> the;

}  // namespace bench
