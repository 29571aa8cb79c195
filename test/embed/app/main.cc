// Prints the configuration it was built in, having used a lock of it and a function of lib/.
#include <csignal>
#include <cstdio>
#include <mutex>

#include "nestlock/nestlock.h"
#include "nestlock/signals.h"

int main() {
  static nestlock::TrySpinLock lock;
  static bool got = true;
  const auto on_irq = [](int, siginfo_t*, void*) {
    got = lock.try_lock();
    if (got) lock.unlock();
  };
  if (nestlock::signals::register_irq(SIGUSR1, on_irq) != nestlock::signals::Error::none) return 1;
  {
    const std::scoped_lock held(lock);
    std::raise(SIGUSR1);  // an interrupt that finds the lock held must be told so
    if (got) return 1;
  }
  std::puts(nestlock::name_of(nestlock::kBuiltConfig));
}
