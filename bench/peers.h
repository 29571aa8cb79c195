// The peers, each with lock(), try_lock() and unlock(), so that one loop times them all.
#pragma once

#include <pthread.h>

#include <mutex>

#include "absl/base/internal/spinlock.h"
#include "absl/synchronization/mutex.h"

// Concurrency Kit: Debian's libck-dev, which ./nest setup --peers installs.
#if __has_include(<ck_spinlock.h>)
#define NESTLOCK_BENCH_CK 1
#include <ck_spinlock.h>
#else
#define NESTLOCK_BENCH_CK 0
#endif

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

#if NESTLOCK_BENCH_CK
class CkFas {
 public:
  void lock() { ck_spinlock_fas_lock(&lock_); }
  void unlock() { ck_spinlock_fas_unlock(&lock_); }

 private:
  ck_spinlock_fas_t lock_ = CK_SPINLOCK_FAS_INITIALIZER;
};
class CkTicket {
 public:
  void lock() { ck_spinlock_ticket_lock(&lock_); }
  void unlock() { ck_spinlock_ticket_unlock(&lock_); }

 private:
  ck_spinlock_ticket_t lock_ = CK_SPINLOCK_TICKET_INITIALIZER;
};
// A node for each thread: one such lock at a time.
class CkMcs {
 public:
  void lock() { ck_spinlock_mcs_lock(&lock_, &node()); }
  void unlock() { ck_spinlock_mcs_unlock(&lock_, &node()); }

 private:
  static ck_spinlock_mcs_context_t& node() {
    alignas(64) static thread_local ck_spinlock_mcs_context_t mine;
    return mine;
  }
  ck_spinlock_mcs_t lock_ = CK_SPINLOCK_MCS_INITIALIZER;
};
// A node goes from thread to thread; those of threads that are gone are never given back.
class CkClh {
 public:
  CkClh() { ck_spinlock_clh_init(&lock_, new ck_spinlock_clh_t()); }
  void lock() { ck_spinlock_clh_lock(&lock_, node()); }
  void unlock() { ck_spinlock_clh_unlock(&node()); }

 private:
  static ck_spinlock_clh_t*& node() {
    static thread_local ck_spinlock_clh_t* mine = new ck_spinlock_clh_t();
    return mine;
  }
  ck_spinlock_clh_t* lock_;
};
#endif

// One of each type, on a cache line (and its prefetched neighbour) of its own.
template <class Lock>
struct alignas(128) Alone {
  Lock lock;
};
template <class Lock>
inline Alone<Lock> the;

}  // namespace bench
