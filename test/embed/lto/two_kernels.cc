// One program, two configurations as explicit kernels, beside the configuration it is built in: a
// signal handler tries the lock of each while it is held, and while it is free.
#include <csignal>
#include <cstdio>

#include "nestlock/nestlock.h"
#include "nestlock/signals.h"
#include "nestlock/system_slab.h"

namespace {

template <nestlock::Config kConfig>
struct Tried {
  using Kernel = nestlock::KernelOf<kConfig, nestlock::DefaultPort<kConfig>>;
  static inline nestlock::BasicTrySpinLock<Kernel> lock;
  static inline int taken, refused;

  static void try_it() {
    if (!lock.try_lock()) {
      ++refused;
      return;
    }
    ++taken;
    lock.unlock();
  }
  static void interrupt() {
    std::raise(SIGUSR1);
    lock.lock();
    std::raise(SIGUSR1);
    lock.unlock();
  }
};
using Small = Tried<nestlock::configs::up>;
using Large = Tried<nestlock::configs::smp_debug>;

void on_signal(int, siginfo_t*, void*) {
  Small::try_it();
  Large::try_it();
}

template <class T>
void print(const char* end) {
  std::printf("%s: %d taken, %d refused%s", nestlock::name_of(T::Kernel::kConfig), T::taken,
              T::refused, end);
}

}  // namespace

int main() {
  if (nestlock::signals::register_irq(SIGUSR1, on_signal) != nestlock::signals::Error::none)
    return 1;
  Small::interrupt();
  Large::interrupt();
  void* const memory = nestlock::system_slab().kmalloc(100, nestlock::gfp::kernel);
  print<Small>("; ");
  print<Large>("; ");
  std::printf("%zu bytes\n", nestlock::system_slab().ksize(memory));
  nestlock::system_slab().kfree(memory);
}
