// A port of your own: what the library asks of a machine, in one file.
//
// -DNESTLOCK_PORT=custom makes nestlock/nestlock.h include this header, by this name, from the
// include path. It must satisfy the concept `Port` of nestlock/port/port.h; the compiler names what
// is missing. The machine is a pretended one with one CPU; each function says what yours must do in
// its place.
#pragma once

#include <atomic>
#include <cstdio>

#include "nestlock/config/config.h"
#include "nestlock/port/port.h"

// The machine: what on hardware are registers and a vector table.
namespace machine {

inline bool irqs_masked = false, irq_pending = false, in_irq = false, in_nmi = false;
inline void (*irq_vector)() = nullptr;
inline void (*nmi_vector)() = nullptr;

// What the hardware does when a device wants attention: now, or when irqs are on again.
inline void take_pending_irq() {
  while (irq_pending && !irqs_masked && !in_irq && !in_nmi) {
    irq_pending = false;
    in_irq = true;
    irq_vector();
    in_irq = false;
  }
}
inline void irq_line_rises() {
  irq_pending = true;
  take_pending_irq();
}
inline void nmi_line_rises() {
  in_nmi = true;
  nmi_vector();
  in_nmi = false;
  take_pending_irq();
}

}  // namespace machine

namespace nestlock {

template <Config kC>
struct MachinePort {
  static constexpr Config kConfig = kC;
  static constexpr unsigned kMaxCpus = 1;
  static_assert(!kC.smp, "this machine has one CPU");

  // std::atomic on every real machine. A configuration of one CPU uses its loads and stores alone.
  template <class T>
  using Atomic = std::atomic<T>;

  // Masks irqs on this CPU and returns what they were; nests. It is also a barrier for the
  // compiler: the section that follows must not begin before it. (ARM: read PRIMASK, then cpsid i.)
  using IrqState = bool;
  static IrqState irq_save() noexcept {
    const bool was = machine::irqs_masked;
    machine::irqs_masked = true;
    std::atomic_signal_fence(std::memory_order_seq_cst);
    return was;
  }
  // Back to what they were, not simply "on": this may be the inner one of two sections. Hardware
  // takes a pending irq by itself, before the next instruction.
  static void irq_restore(IrqState was) noexcept {
    std::atomic_signal_fence(std::memory_order_seq_cst);
    machine::irqs_masked = was;
    machine::take_pending_irq();
  }

  // Between the two no other task runs on this CPU. With an RTOS: lock its scheduler, and count.
  // Without one there is no other task, and a barrier for the compiler is all.
  static void preempt_disable() noexcept { std::atomic_signal_fence(std::memory_order_seq_cst); }
  static void preempt_enable() noexcept { std::atomic_signal_fence(std::memory_order_seq_cst); }

  // The innermost level that runs. (ARM Cortex-M: IPSR is 0 in a task, 2 in an NMI.) Debug
  // configurations check calls by it; no lock's answer rests on it.
  static Context context() noexcept {
    if (machine::in_nmi) return Context::nmi;
    return machine::in_irq ? Context::hardirq : Context::task;
  }

  // 0 .. kMaxCpus - 1. (RISC-V: mhartid.)
  static unsigned cpu_id() noexcept { return 0; }

  // One turn of a loop that waits for another CPU; may be empty. (ARM: yield; x86: pause.)
  static void pause() noexcept {}

  // A finding, from any context, NMI included: keep it, print it, stop the machine, or return.
  static void report(const Report& r) noexcept {
    std::printf("  report: %s, in %s()\n", name_of(r.finding), r.call);
  }
};

// The name under which nestlock.h looks for it.
template <Config kC>
using DefaultPort = MachinePort<kC>;

}  // namespace nestlock
