// The bare-metal port: the embedder's functions, nothing else.
//
// Put a header `nestlock_bare.h` on the include path that declares, in namespace nestlock_bare, what
// follows; test/embed/bare has the smallest, examples/firmware those of Cortex-M and RISC-V. Costs are
// those of these two. In brackets: the state before, and after.
//
//   inline constexpr unsigned kMaxCpus
//       How many CPUs run this image; 1 in a uniprocessor configuration.
//   using IrqState = ...;
//       What irq_save() returns; an integer, if the C face is used. PRIMASK; mstatus & 8.
//   IrqState irq_save();            [any] -> [irqs masked on this CPU]
//       Calls nest. NMIs are not maskable, and it must work inside one. A compiler barrier.
//       Arm: mrs, cpsid i. RISC-V: csrrci, andi. No access to memory.
//   void irq_restore(IrqState);     [masked] -> [as before the matching irq_save()]
//       What became pending runs before it returns, if irqs are on now. A compiler barrier.
//       Arm: msr primask, isb. RISC-V: csrs.
//   void preempt_disable();         [any] -> [no other task runs on this CPU]
//       Calls nest; interrupts still come. A compiler barrier. Without an RTOS no instruction; with one
//       its count of suspensions.
//   void preempt_enable();          the reverse; a switch of tasks that was due happens in the last one
//   nestlock::Context context();    [any] -> the same
//       The innermost context. Arm: mrs ipsr and two comparisons: 0 task, 2 nmi, 3 to 6 faults (nmi,
//       for they come where an NMI may), else hardirq. RISC-V: one load of a count kept by the trap entry.
//   unsigned cpu_id();              [pinned] -> the same
//       Below kMaxCpus. On one CPU 0 and no instruction; mhartid elsewhere.
//   void pause();                   one turn of a spin loop; may be empty. RISC-V: pause. On one Cortex-M
//                                   a `wfe` lets Event::wait() sleep, and nothing else spins there
//   void report(const nestlock::Report&)
//       A finding, in any context, NMI included. May return; may stop the machine. What cannot go on
//       ends in a trap instruction afterwards. to_text() makes lines of it.
//
// asm volatile("" ::: "memory") is the least that a compiler barrier is. On one CPU it is the whole of a
// lock without state.
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
