// The slab floor over fork(), and the caches of threads that are gone. Included by slab.h.
//
// Lists and barns are whole in the child, for the forking thread had their locks. A CPU's sheaves are its
// thread's alone; where that was in the middle of a change (its lock is held) they are abandoned: at most
// two sheaves of each cache that a thread was in. Else their objects go back to the slabs.
#pragma once

#include <new>
#include <utility>

#include "nestlock/slab.h"

namespace nestlock {

template <Kernel K, LockPolicy L>
NESTLOCK_NO_TSA void BasicKmemCache<K, L>::before_fork(bool bounded) noexcept
  requires(!internal::kLeanOf<K>)
{
  using P = typename K::Port;
  const std::uintptr_t self = internal::self_of<P>();
  unsigned turns = 0;
  for (unsigned i = 0;; ++i) {
    std::uintptr_t whose = 0;
    // acquire: as in settle_some().
    kept_settling_ = settling_.compare_exchange_strong(whose, self, std::memory_order_acquire,
                                                       internal::kRelaxed);
    // Ours already: we interrupted it, and it goes on when we are back, in both processes.
    if (kept_settling_ || whose == self || (bounded && i == internal::kForkTurns)) break;
    internal::wait_turn<P>(turns);
  }
  for (unsigned i = 0; i < pages_->nodes(); ++i) {
    node_[i].kept_barn = internal::take_over_fork<P>(node_[i].barn_lock, bounded);
    node_[i].kept_list = internal::take_over_fork<P>(node_[i].list_lock, bounded);
  }
}

template <Kernel K, LockPolicy L>
NESTLOCK_NO_TSA void BasicKmemCache<K, L>::after_fork(bool child) noexcept
  requires(!internal::kLeanOf<K>)
{
  for (unsigned i = pages_->nodes(); i-- > 0;) {
    internal::give_after_fork(node_[i].list_lock, node_[i].kept_list, child);
    internal::give_after_fork(node_[i].barn_lock, node_[i].kept_barn, child);
  }
  const bool gone =
      child && settling_.load(internal::kRelaxed) != internal::self_of<typename K::Port>();
  if (std::exchange(kept_settling_, false) || gone) settling_.store(0, std::memory_order_release);
  if (child && (deferred_.load(internal::kRelaxed) || backlog_)) unsettle();  // marked or not
}

// Stores alone: in whatever context another thread takes the CPU over.
template <Kernel K, LockPolicy L>
void BasicKmemCache<K, L>::abandon_if_held(unsigned cpu) noexcept
  requires(!internal::kLeanOf<K>)
{
  CpuSheaves& c = cpu_.on(cpu);
  if (!c.lock.is_locked()) return;
  const std::uintptr_t frees = c.frees();
  c.main = &internal::no_sheaf;
  c.spare = nullptr;
  c.top.store(nullptr, internal::kRelaxed);
  c.bottom.store(nullptr, internal::kRelaxed);
  c.limit = nullptr;
  c.moved.store(c.allocs.load(internal::kRelaxed) - frees, internal::kRelaxed);
  ::new (&c.lock) typename L::Local;
}

// In a forked child: nobody else is there, so what is held is so by the code that a forking handler
// interrupted, and is not waited for.
template <Kernel K, LockPolicy L>
void BasicKmemCache<K, L>::take_back(unsigned cpu) noexcept
  requires(!internal::kLeanOf<K>)
{
  abandon_if_held(cpu);
  CpuSheaves& c = cpu_.on(cpu);
  if (!c.main) return;
  Sheaf* theirs[2] = {nullptr, nullptr};
  {
    const MainOut out(c);
    theirs[0] = c.main == &internal::no_sheaf ? nullptr : c.main;
    theirs[1] = std::exchange(c.spare, nullptr);
    c.main = &internal::no_sheaf;
  }
  for (Sheaf* const s : theirs) {
    if (!s) continue;
    if (s->size) flush(*s, false);
    if (sheaf_source_->free_to_slab(s, false) == Given::busy) sheaf_source_->defer(s);
  }
}

template <Kernel K, LockPolicy L, class C>
template <class F>
void BasicSlabAllocator<K, L, C>::each_cache(bool created, F f) noexcept NESTLOCK_NO_TSA {
  for (Cache& c : classes_) f(c);
  if (created)
    for (Cache* c = created_; c; c = c->next_) f(*c);
  for (Cache& c : sheaf_caches_) f(c);
}

template <Kernel K, LockPolicy L, class C>
void BasicSlabAllocator<K, L, C>::before_fork() noexcept NESTLOCK_NO_TSA {
  if constexpr (K::kConfig.smp && !kLean) {
    using P = typename K::Port;
    if (!pages_) return;
    const bool bounded = internal::may_have_interrupted_a_holder<K>();
    // Held with irqs on: who holds it may be what we interrupted, wherever we are.
    kept_created_ = internal::take_over_fork<P>(created_lock_, true);
    fork_state_ = ListIrq::template enter<P>();
    each_cache(kept_created_, [&](Cache& c) { c.before_fork(bounded); });
    pages_->before_fork(bounded);
  }
}

template <Kernel K, LockPolicy L, class C>
void BasicSlabAllocator<K, L, C>::after_fork(bool child) noexcept NESTLOCK_NO_TSA {
  if constexpr (K::kConfig.smp && !kLean) {
    if (!pages_) return;
    pages_->after_fork(child);
    each_cache(kept_created_, [&](Cache& c) { c.after_fork(child); });
    ListIrq::template leave<typename K::Port>(fork_state_);
    if (child) {
      const unsigned mine = internal::claimed_cpu<typename K::Port>();
      for (unsigned cpu = 0; cpu < K::Port::kMaxCpus; ++cpu)
        if (cpu != mine) each_cache(kept_created_, [&](Cache& c) { c.take_back(cpu); });
    }
    internal::give_after_fork(created_lock_, kept_created_, child);
  }
}

template <Kernel K, LockPolicy L, class C>
void BasicSlabAllocator<K, L, C>::cpu_lost(unsigned cpu) noexcept {
  if constexpr (K::kConfig.smp && !kLean) {
    TryGuard g(created_lock_);
    each_cache(static_cast<bool>(g), [&](Cache& c) { c.abandon_if_held(cpu); });
  }
}

}  // namespace nestlock
