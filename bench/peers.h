// The peers, each with lock(), try_lock() and unlock(), so that one loop times them all.
#pragma once

#include <pthread.h>

#include <mutex>

#include "absl/base/internal/spinlock.h"
#include "absl/synchronization/mutex.h"
#include "ck_locks.h"
#include "users_peer.h"

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

// Spins for a while before it sleeps.
class AdaptiveMutex {
 public:
  void lock() { pthread_mutex_lock(&mutex_); }
  bool try_lock() { return pthread_mutex_trylock(&mutex_) == 0; }
  void unlock() { pthread_mutex_unlock(&mutex_); }

 private:
  pthread_mutex_t mutex_ = PTHREAD_ADAPTIVE_MUTEX_INITIALIZER_NP;
};

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

class AbslSpin {
 public:
  void lock() ABSL_NO_THREAD_SAFETY_ANALYSIS { spin_.Lock(); }
  void unlock() ABSL_NO_THREAD_SAFETY_ANALYSIS { spin_.Unlock(); }

 private:
  absl::base_internal::SpinLock spin_;
};

struct CkFas {
  void lock() { bench_ck_fas_lock(); }
  void unlock() { bench_ck_fas_unlock(); }
};
struct CkTicket {
  void lock() { bench_ck_ticket_lock(); }
  void unlock() { bench_ck_ticket_unlock(); }
};
struct CkMcs {
  void lock() { bench_ck_mcs_lock(); }
  void unlock() { bench_ck_mcs_unlock(); }
};
struct CkClh {
  void lock() { bench_ck_clh_lock(); }
  void unlock() { bench_ck_clh_unlock(); }
};

// One of each type, on a cache line (and its prefetched neighbour) of its own.
template <class Lock>
struct alignas(128) Alone {
  Lock lock;
};
template <class Lock>
inline Alone<Lock> the;

}  // namespace bench
