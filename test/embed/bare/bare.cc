// c++ -std=c++20 -Iinclude -ffreestanding -DNESTLOCK_PORT=bare -DNESTLOCK_CONFIG=up -c bare.cc
#include "nestlock/nestlock.h"

static constinit nestlock::TrySpinLock lock;

extern "C" bool uart_interrupt() {
  const nestlock::TryGuard guard(lock);
  return static_cast<bool>(guard);
}

// The kernel's spellings, as far as the port has what they need.
#include "nestlock/kernel_names.h"

namespace kernel_code {
using namespace nestlock::kernel_names;
DEFINE_SPINLOCK(lock);

int section() {
  unsigned long flags;
  spin_lock_irqsave(&lock, flags);
  spin_unlock_irqrestore(&lock, flags);
  return spin_trylock(&lock) ? (spin_unlock(&lock), 1) : 0;
}
}  // namespace kernel_code
