// c++ -std=c++20 -Iinclude -ffreestanding -DNESTLOCK_PORT=bare -DNESTLOCK_CONFIG=up -c bare.cc
#include "nestlock/nestlock.h"

static constinit nestlock::TrySpinLock lock;

extern "C" bool uart_interrupt() {
  const nestlock::TryGuard guard(lock);
  return static_cast<bool>(guard);
}
