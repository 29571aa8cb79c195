// What others offer for the same purposes.
#include <signal.h>

#include "peers.h"
#include "rows.h"

namespace bench {
namespace {

std::string name(const char* row) { return std::string(kPeer) + "/" + row; }

template <class Lock>
void add_peer(const std::string& lock, const char* lock_call, const char* try_call) {
  add_pair(name((lock + lock_call).c_str()), [] {
    the<Lock>.lock.lock();
    section();
    the<Lock>.lock.unlock();
  });
  add_pair(name((lock + try_call).c_str()), [] {
    if (!the<Lock>.lock.try_lock()) refused();
    section();
    the<Lock>.lock.unlock();
  });
}

sigset_t all_signals;

}  // namespace

void add_peers() {
  sigfillset(&all_signals);
  add_peer<std::mutex>("std::mutex", " lock", " try_lock");
  add_peer<PlainMutex>("pthread_mutex", " lock", " trylock");
  add_peer<PiMutex>("pthread_mutex PRIO_INHERIT", " lock", " trylock");
  add_peer<PthreadSpin>("pthread_spin", " lock", " trylock");
  add_peer<AbslMutex>("absl::Mutex", " Lock", " TryLock");
#if NESTLOCK_BENCH_USERS_PEER
  add_peer<UsersPeer<ComparedLock>>(users_peer_name(), " lock", " try_lock");
#endif
  add_pair(name("pthread_sigmask pair"), [] {
    sigset_t old;
    pthread_sigmask(SIG_BLOCK, &all_signals, &old);
    section();
    pthread_sigmask(SIG_SETMASK, &old, nullptr);
  });
  add_pair(name("pthread_sigmask + pthread_spin"), [] {
    sigset_t old;
    pthread_sigmask(SIG_BLOCK, &all_signals, &old);
    the<PthreadSpin>.lock.lock();
    section();
    the<PthreadSpin>.lock.unlock();
    pthread_sigmask(SIG_SETMASK, &old, nullptr);
  });
}

}  // namespace bench
