// The bare-metal port: the embedder's functions, nothing else.
//
// Put a header `nestlock_bare.h` on the include path that declares, in namespace nestlock_bare,
// these inline functions (state before and after in brackets); test/embed/bare has the smallest.
//
//   using IrqState = ...;                what irq_save() returns, e.g. the PRIMASK register
//   IrqState irq_save();                 [any] -> [irqs masked]; NMIs are not maskable
//   void irq_restore(IrqState);          [masked] -> [as before the matching irq_save()]
//   void preempt_disable();              [any] -> [no other task runs here]; empty without an RTOS
//   void preempt_enable();               the reverse; nests
//   nestlock::Context context();         e.g. from IPSR: 0 task, 2 nmi, else hardirq
//   unsigned cpu_id();                   0 on one CPU
//   void pause();                        one turn of a spin loop; may be empty. On one Cortex-M a
//                                        `wfe` lets Event::wait() sleep, and nothing else spins there
//   void report(const nestlock::Report&) a finding; may stop the machine, may return
//   inline constexpr unsigned kMaxCpus
//
// A compiler barrier in irq_save(), irq_restore() and both preempt functions is the embedder's
// duty: asm volatile("" ::: "memory") at least.
//
// The lock-free words are std::atomic. On one CPU the locks use loads and stores of them alone. The
// allocators' lists and counters exchange and add, too; where the compiler has no instructions for that
// (Cortex-M0, RISC-V without A) these mask irqs, and if an NMI's handler uses the allocators, a ninth
// function makes them whole to it:
//
//   bool compare_exchange(std::uint32_t* word, std::uint32_t expected, std::uint32_t desired);
//                                        restartable; see masked_atomic.h
#pragma once

#include <atomic>
#include <cstdint>
#include <type_traits>

#include "nestlock/port/masked_atomic.h"
#include "nestlock/port/port.h"
#include "nestlock_bare.h"

namespace nestlock {

namespace internal {

// The embedder's compare_exchange() if there is one, for a function is the better match than a
// template; else the template's.
namespace bare_plain {
template <class Word>
bool compare_exchange(Word* word, Word expected, Word desired) noexcept {
  return plain_compare_exchange(word, expected, desired);
}
}  // namespace bare_plain
namespace bare_chosen {
using namespace bare_plain;
using namespace nestlock_bare;
// What MaskedAtomic asks of the machine.
struct Machine {
  static IrqState irq_save() noexcept { return nestlock_bare::irq_save(); }
  static void irq_restore(IrqState s) noexcept { nestlock_bare::irq_restore(s); }
  static bool swap(std::uint32_t* word, std::uint32_t expected, std::uint32_t desired) noexcept {
    return bare_chosen::compare_exchange(word, expected, desired);  // by this name both are found
  }
};
}  // namespace bare_chosen

}  // namespace internal

// The port over the embedder's functions.
template <Config kC>
struct BarePort {
  // What each is: concept Port (port.h), and the top of this file.
  static constexpr Config kConfig = kC;
  static constexpr unsigned kMaxCpus = nestlock_bare::kMaxCpus;
  static_assert(kC.smp || kMaxCpus == 1, "a uniprocessor configuration has one CPU");
  // The compiler's, where it has read-modify-writes without calls.
  static constexpr bool kHasReadModifyWrite = ATOMIC_INT_LOCK_FREE == 2;
  static_assert(kHasReadModifyWrite || !kC.smp, "several CPUs need atomic read-modify-writes");
  template <class T>
  using Atomic = std::conditional_t<kHasReadModifyWrite, std::atomic<T>,
                                    MaskedAtomic<T, internal::bare_chosen::Machine>>;
  // The embedder's.
  using IrqState = nestlock_bare::IrqState;

  // As the embedder has written them.
  static IrqState irq_save() noexcept { return nestlock_bare::irq_save(); }
  static void irq_restore(IrqState s) noexcept { nestlock_bare::irq_restore(s); }
  static void preempt_disable() noexcept { nestlock_bare::preempt_disable(); }
  static void preempt_enable() noexcept { nestlock_bare::preempt_enable(); }
  static Context context() noexcept { return nestlock_bare::context(); }
  static unsigned cpu_id() noexcept { return nestlock_bare::cpu_id(); }
  static void pause() noexcept { nestlock_bare::pause(); }
  static void report(const Report& r) noexcept { nestlock_bare::report(r); }
};

// What -DNESTLOCK_PORT=bare selects.
template <Config kC>
using DefaultPort = BarePort<kC>;

}  // namespace nestlock
