// The proposals whose locks do not promise their answer: for tests and the demonstration only, to
// show the historic corruption and that the harness sees it. Uniprocessor kernels.
#pragma once

#include "nestlock/page/lock_policies.h"

namespace nestlock::testing {

// UP as it is: spin_trylock() is always true.
template <Kernel K>
struct Stateless {
  static constexpr bool kUnpromisedForTest = true;
  static constexpr const char* kName = "stateless";
  using Pcp = BasicSpinLock<K>;
  using Zone = BasicSpinLock<K>;
  using Local = BasicSpinLock<K>;
  using Barn = BasicSpinLock<K>;
  using List = BasicSpinLock<K>;
  using PcpTag = NoIrq;
  static constexpr bool kPcp = true;
  static bool may_try() noexcept { return can_spin_trylock<K>(); }
  static constexpr bool may_spin(gfp, bool call_may) noexcept { return call_may; }
};

// What mainline did for years: irqs masked around the per-CPU lock on UP.
template <Kernel K>
struct IrqsOff : Stateless<K> {
  static constexpr const char* kName = "irqs off";
  using PcpTag = IrqSave;
};

// What mainline does since 7.1: per-CPU pages off on UP, and *_nolock refused in NMI. Its sheaves'
// lock (local_trylock_t) has its byte on UP, too; the others have no state.
template <Kernel K>
struct RefusedInNmi : Stateless<K> {
  static constexpr const char* kName = "refused in NMI";
  using Local = BasicLocalTryLock<K>;
  static constexpr bool kPcp = false;
  static bool may_try() noexcept {
    return can_spin_trylock<K>() && (K::kConfig.smp || K::Port::context() != Context::nmi);
  }
};

}  // namespace nestlock::testing
