// What debug configurations look at where an allocator is asked by a call that may spin: whether it may here.
// At its entry, since a fast path that takes no lock would hide the mistake until the day it is not taken.
#pragma once

#include "nestlock/nestlock.h"
#include "nestlock/page/gfp.h"

namespace nestlock::internal {

// What forbids it; null: nothing. (The table is docs/allocators.md's. A handler that nobody registered cannot be
// told from what it interrupted.)
template <Kernel K>
const char* why_not_spin(gfp flags) noexcept {
  using Port = typename K::Port;
  const Context c = Port::context();
  if (c == Context::nmi) return "the call may spin; in an nmi take the one that ends in _nolock";
  if constexpr (K::kConfig.preempt_rt) {
    if (c != Context::task)
      return "its locks sleep; in a handler take the one that ends in _nolock";
    if constexpr (PreemptCountPort<Port>)
      if (Port::preempt_count()) return "its locks sleep, and preemption is off (a raw spinlock?)";
  }
  if (c != Context::task && has(flags, gfp::reclaim)) return "gfp::reclaim outside of a task";
  return nullptr;
}

template <Kernel K>
inline void check_may_spin(const char* type, const char* call, gfp flags,
                           PlaceOf<K> where) noexcept {
  if constexpr (K::kConfig.debug) {
    const char* const why = why_not_spin<K>(flags);
    if (!why) [[likely]]
      return;
    Report r;
    r.finding = Finding::wrong_context;
    r.config = K::kConfig;
    r.context = K::Port::context();
    r.cpu = K::Port::cpu_id();
    r.type = type, r.call = call, r.detail = why;
    r.here = where;
    K::Port::report(r);
  }
}

}  // namespace nestlock::internal
