// Tags: what a guard does to the context before it takes the lock, and undoes after it gave it
// back (always in this order: on one CPU a lock taken before irqs are masked deadlocks).
//
// | tag         | enter                          | leave          | with a lock that sleeps (RT) |
// |-------------|--------------------------------|----------------|------------------------------|
// | no_irq      | nothing                        | nothing        | nothing                      |
// | irq_save    | mask irqs, keep the old state  | restore it     | nothing: irqs stay on        |
// | irq_disable | mask irqs                      | unmask         | nothing: irqs stay on        |
// | bh_disable  | disable bottom halves          | enable         | the same                     |
#pragma once

#include "nestlock/port/port.h"

namespace nestlock {

// The tags' types; the tags are below.
struct NoIrq {
  // With a lock that sleeps (PREEMPT_RT); what is kept meanwhile; before the lock; after it.
  using ForSleeping = NoIrq;
  template <Port P>
  struct State {};
  template <Port P>
  static State<P> enter() noexcept {
    return {};
  }
  template <Port P>
  static void leave(State<P>) noexcept {}
};

// As the table says.
struct IrqSave {
  // With a lock that sleeps (PREEMPT_RT); what is kept meanwhile; before the lock; after it.
  using ForSleeping = NoIrq;
  template <Port P>
  struct State {
    typename P::IrqState saved;  // the state before
  };
  // Masks, and brings back what was.
  template <Port P>
  static State<P> enter() noexcept {
    return {P::irq_save()};
  }
  template <Port P>
  static void leave(State<P> s) noexcept {
    P::irq_restore(s.saved);
  }
};

// As the table says.
struct IrqDisable {
  // With a lock that sleeps (PREEMPT_RT); what is kept meanwhile; before the lock; after it.
  using ForSleeping = NoIrq;
  template <Port P>
  struct State {};
  template <IrqSwitchPort P>
  static State<P> enter() noexcept {
    P::irq_disable();
    return {};
  }
  template <IrqSwitchPort P>
  static void leave(State<P>) noexcept {
    P::irq_enable();
  }
};

// As the table says.
struct BhDisable {
  // With a lock that sleeps (PREEMPT_RT); what is kept meanwhile; before the lock; after it.
  using ForSleeping = BhDisable;
  template <Port P>
  struct State {};
  template <SoftirqPort P>
  static State<P> enter() noexcept {
    P::bh_disable();
    return {};
  }
  template <SoftirqPort P>
  static void leave(State<P>) noexcept {
    P::bh_enable();
  }
};

// What users write: Guard g(lock, irq_save).
inline constexpr NoIrq no_irq{};
inline constexpr IrqSave irq_save{};
inline constexpr IrqDisable irq_disable{};
inline constexpr BhDisable bh_disable{};

// For a guard of a lock that the caller holds already.
struct AdoptLock {};
inline constexpr AdoptLock adopt_lock{};

namespace internal {
template <class L, class Tag>
using TagFor = std::conditional_t<L::kSleeps, typename Tag::ForSleeping, Tag>;
}

}  // namespace nestlock
