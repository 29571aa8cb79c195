// Counts samples in a list that a signal handler adds to as well. Prints the configuration it was
// built in, how many samples the handler could add, how often it was refused, and what the handler
// and the program got from the slab allocator.
#include <csignal>
#include <cstdio>
#include <new>

#include "nestlock/nestlock.h"
#include "nestlock/signals.h"
#include "nestlock/system_slab.h"

namespace {

struct Sample {
  Sample* next;
};

nestlock::TrySpinLock lock;
Sample* samples NESTLOCK_GUARDED_BY(lock);
int added, refused;

// An interrupt: it may come while main() holds the lock, and then must do without.
void on_signal(int, siginfo_t*, void*) {
  auto& slab = nestlock::system_slab();
  void* const memory = slab.kmalloc_nolock(sizeof(Sample), nestlock::gfp::none);
  {
    const nestlock::TryGuard held(lock);
    if (held && memory) {
      lock.assert_held();
      samples = new (memory) Sample{samples};
      ++added;
      return;
    }
  }
  ++refused;
  slab.kfree_nolock(memory);
}

}  // namespace

int main() {
  using nestlock::signals::Error;
  if (nestlock::signals::register_irq(SIGUSR1, on_signal) != Error::none) return 1;
  auto& slab = nestlock::system_slab();
  // The first ordinary call gets memory from the system, which no *_nolock call does.
  void* const memory = slab.kmalloc(100, nestlock::gfp::kernel);
  std::raise(SIGUSR1);  // finds the lock free
  {
    const nestlock::Guard held(lock);
    std::raise(SIGUSR1);  // finds it held
  }
  {
    const nestlock::Guard held(lock, nestlock::irq_save);
    std::raise(SIGUSR1);  // is held back until the lock is free again
  }
  std::printf("%s: %d added, %d refused, %zu bytes\n", nestlock::name_of(nestlock::kBuiltConfig),
              added, refused, slab.ksize(memory));
  slab.kfree(memory);
}
