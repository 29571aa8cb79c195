// The locks that an allocator stands on, as a policy: a struct that names them.
//
// The page and slab floors take a policy as a parameter; the default is the library's own locks. Only
// locks that promise their try_lock() to every context are accepted. The designs that were proposed
// on the kernel's mailing list, to be compared, are policies in testing/proposed_policies.h and, as
// far as their locks do not promise it, in testing/unpromised_policies.h.
//
//   Pcp, Zone          lock types of the page floor
//   Local, Barn, List  of the slab floor: a CPU's sheaves, a node's barn, a node's partial slabs
//   PcpTag             what is masked around the per-CPU lock
//   kPcp               whether per-CPU pages are used at all
//   may_try()          whether the *_nolock calls may try a lock in the present context
//   may_spin()         whether a slab call may spin, given its gfp flags and whether the call is one
//                      that may (it is not a *_nolock one); ours is what the call is
#pragma once

#include "nestlock/lock/irq.h"
#include "nestlock/lock/lock_concepts.h"
#include "nestlock/nestlock.h"
#include "nestlock/page/gfp.h"

namespace nestlock {

namespace policy {

// Ours: TrySpinLock, on UP a byte for each lock.
template <Kernel K>
struct PerLockByte {
  // As the top of the file says.
  static constexpr const char* kName = "per-lock byte";
  using Pcp = BasicTrySpinLock<K>;
  using Zone = BasicTrySpinLock<K>;
  using Local = BasicLocalTryLock<K>;
  using Barn = BasicTrySpinLock<K>;
  using List = BasicTrySpinLock<K>;
  using PcpTag = NoIrq;
  static constexpr bool kPcp = true;
  static bool may_try() noexcept { return can_spin_trylock<K>(); }
  static constexpr bool may_spin(gfp, bool call_may) noexcept { return call_may; }
};

}  // namespace policy

namespace internal {
// Whether this context may have interrupted one that holds a zone's, a list's or a barn's lock: these are
// held with irqs masked. (Where spinlocks sleep they know their owner; an interrupt gets none of them.) A
// port that does not tell whether irqs are masked leaves it open, so there any context may have.
template <Kernel K>
bool may_have_interrupted_a_holder() noexcept {
  if constexpr (IrqSwitchPort<typename K::Port>)
    return K::Port::context() != Context::task || K::Port::irqs_disabled();
  else
    return true;
}

template <class... Locks>
concept FullyLockable = (BasicLockable<Locks> && ...) && (TryLockable<Locks> && ...);
template <class... Locks>
concept AllAnyContext = (AnyContextTryLockable<Locks> && ...);
}  // namespace internal

// What an allocator accepts.
template <class L>
concept LockPolicy =
    requires {
      { L::may_try() } noexcept -> std::same_as<bool>;
      { L::may_spin(gfp{}, true) } noexcept -> std::same_as<bool>;
      typename L::PcpTag;
      requires TryLockable<typename L::Pcp> && TryLockable<typename L::Local>;
      requires internal::FullyLockable<typename L::Zone, typename L::Barn, typename L::List>;
    } && (internal::AllAnyContext<typename L::Pcp, typename L::Zone, typename L::Local,
                                  typename L::Barn, typename L::List> ||
          requires { requires L::kUnpromisedForTest; });

}  // namespace nestlock
