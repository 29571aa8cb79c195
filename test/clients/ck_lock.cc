// The lock that ck_validate.c tests: CLIENT_LOCK (RawSpinLock, SpinLock, TrySpinLock) of the built
// configuration. At the end it says how often it was taken, and ends with 1 if it never was.
#include <atomic>
#include <cstdio>
#include <cstdlib>

#include "nestlock/nestlock.h"

namespace {

nestlock::CLIENT_LOCK lock;
unsigned long taken;  // guarded by lock
std::atomic<unsigned long> refused;

struct AtTheEnd {
  ~AtTheEnd() {
    std::fprintf(stderr, "clients: taken %lu, %lu tries refused\n", taken, refused.load());
    if (taken == 0) std::_Exit(1);
  }
} at_the_end;

}  // namespace

extern "C" void client_lock() {
  lock.lock();
  ++taken;
}
extern "C" bool client_trylock() {
  if (lock.try_lock()) return ++taken, true;
  return refused.fetch_add(1, std::memory_order_relaxed), false;
}
extern "C" void client_unlock() { lock.unlock(); }
extern "C" bool client_locked() { return lock.is_locked(); }
