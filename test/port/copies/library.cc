// A library that embeds the headers, of the program's configuration or (OTHER) of another one.
#include <csignal>

#include "shared.h"

#define IN_THE_LIBRARY extern "C" __attribute__((visibility("default")))

#ifndef OTHER
IN_THE_LIBRARY long library_count(SharedData& all, long times) { return count_in(all, times); }
#endif

IN_THE_LIBRARY unsigned long library_self() { return nestlock::BuiltPort::self(); }
IN_THE_LIBRARY unsigned library_cpu() {
  return nestlock::HostedPort<nestlock::configs::smp>::cpu_id();
}

// Whether an irq that comes inside a section of ours waits for its end.
IN_THE_LIBRARY bool library_masks(long (*irqs)()) {
  const auto state = nestlock::BuiltPort::irq_save();
  const long before = irqs();
  raise(SIGUSR1);
  const bool waited = irqs() == before;
  nestlock::BuiltPort::irq_restore(state);
  return waited && irqs() > before;
}

#ifdef SIGNALS
#include "nestlock/signals.h"

// Registered with the program's copy of lib/port, and left to the end of this library.
namespace {
void on_irq(int, siginfo_t*, void* context) { static_cast<void>(context); }
}  // namespace
IN_THE_LIBRARY bool library_registers(int signo) {
  return nestlock::signals::register_irq(signo, on_irq) == nestlock::signals::Error::none;
}
#endif
