// A program of this board alone: an irq of a device, here the last that the board has, with software in the
// device's place. Its handler is told the number, and tries a lock as every handler may.
#include "machine.h"
#include "nestlock/nestlock.h"
#include "print.h"

namespace {

constexpr unsigned kMine = machine::kIrqs - 1;
constinit nestlock::TrySpinLock lock;
constinit volatile unsigned came = 0, refused = 0, others = 0;

}  // namespace

void machine::interrupt(Source source, std::uintptr_t) {
  if (source != Source::irq || irq_number() != kMine) {
    others = others + 1;
    return;
  }
  came = came + 1;
  if (nestlock::TryGuard held(lock); !held) refused = refused + 1;
}

int main() {
  machine::enable_irq(kMine, 0x80);
  machine::pend_irq(kMine);
  {
    nestlock::Guard held(lock);
    machine::pend_irq(kMine);
  }
  firmware::print("irq", kMine);
  firmware::print("  came", came);
  firmware::print("  found the lock held", refused);
  firmware::print("corruption", others);
  return came == 2 && refused == 1 && others == 0 ? 0 : 3;
}
