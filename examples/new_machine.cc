// The library on a machine that it does not know.
//
// Shows: a port of your own, in machine/nestlock_port.h, and what the library does on it: irqs
//        held back by a section, an NMI inside of one, reports, both allocators on a static array.
// For:   who ports. The machine is pretended, so that the example runs anywhere. For a plain
//        interrupt controller without an operating system see also nestlock's port "bare".
// Build: g++ -std=c++20 -Iinclude -Iexamples/machine -DNESTLOCK_PORT=custom
//            -DNESTLOCK_CONFIG=up_debug examples/new_machine.cc
//            lib/page/page.cc lib/slab/slab.cc -o new_machine
// Prints:
//   the irq line rises in a section: handled after it
//   the NMI line rises in a section: refused
//   the NMI line rises outside: granted
//   kmalloc_nolock() in the NMI: an object of 64 bytes
//   lock() in the NMI:
//     report: not allowed in this context, in lock()
//   unlock() of a free lock:
//     report: lock is not held, in unlock()
#include <cstdio>

#include "nestlock/nestlock.h"
#include "nestlock/page.h"
#include "nestlock/slab.h"

nestlock::RawSpinLock device_lock;
nestlock::TrySpinLock any_lock;
int irqs_handled = 0;

nestlock::PageAllocator pages;
nestlock::SlabAllocator slab;
std::size_t bytes_in_nmi = 0;

void on_irq() {
  nestlock::Guard guard(device_lock);  // whoever else takes it masks irqs: it is free here
  ++irqs_handled;
}

void on_nmi() {
  const nestlock::TryGuard guard(any_lock);
  std::printf("%s\n", guard ? "granted" : "refused");
  void* const object = slab.kmalloc_nolock(64, nestlock::gfp::none);
  bytes_in_nmi = slab.ksize(object);
  slab.kfree_nolock(object);
}

void on_nmi_that_errs() {
  any_lock.lock();  // an NMI may have interrupted the holder: lock() could wait for ever
  any_lock.unlock();
}

// (clang's -Wthread-safety finds this one as it compiles, so it is told to look away.)
void unlock_what_nobody_holds() NESTLOCK_NO_TSA { any_lock.unlock(); }

int main() {
  machine::irq_vector = on_irq;
  machine::nmi_vector = on_nmi;
  alignas(nestlock::kPageSize) static char ram[256 * nestlock::kPageSize];
  if (pages.set_up({.start = ram, .size = sizeof ram}) != nestlock::PageSetup::ok) return 1;
  if (!slab.set_up(pages)) return 1;

  {
    nestlock::Guard guard(device_lock, nestlock::irq_save);
    machine::irq_line_rises();
    std::printf("the irq line rises in a section: handled %s it\n", irqs_handled ? "in" : "after");
  }
  if (irqs_handled != 1) return 1;

  std::printf("the NMI line rises in a section: ");
  {
    nestlock::Guard guard(any_lock);
    machine::nmi_line_rises();
  }
  std::printf("the NMI line rises outside: ");
  machine::nmi_line_rises();
  std::printf("kmalloc_nolock() in the NMI: an object of %zu bytes\n", bytes_in_nmi);

  std::printf("lock() in the NMI:\n");
  machine::nmi_vector = on_nmi_that_errs;
  machine::nmi_line_rises();
  std::printf("unlock() of a free lock:\n");
  unlock_what_nobody_holds();
}
