// The slab floor over fork(), and the caches of threads that are gone. Included by slab.h.
//
// Lists and barns are whole in the child, for the forking thread had their locks. A CPU's sheaves are its
// thread's alone; where that was in the middle of a change (its lock is held) they are abandoned: at most
// two sheaves of each cache that a thread was in. Else their objects go back to the slabs.
#pragma once

#include <new>

#include "nestlock/slab.h"

namespace nestlock {

template <Kernel K, LockPolicy L>
template <class F>
void BasicKmemCache<K, L>::each_held(F f) noexcept
  requires(!internal::kLeanOf<K>)
{
  f(settling_, held_settling_);
  if constexpr (internal::kReaches<K, L>) f(reach_.turn, reach_.held);
  for (unsigned i = 0; i < pages_->nodes(); ++i) {
    f(node_[i].barn_lock, node_[i].held_barn);
    f(node_[i].list_lock, node_[i].held_list);
  }
}

template <Kernel K, LockPolicy L>
void BasicKmemCache<K, L>::settle_in_child() noexcept
  requires(!internal::kLeanOf<K>)
{
  // Missed, and its thread is the parent's.
  if (!settling_.is_locked_here()) settling_.unlock();
  reach_.end_in_child();
  if (deferred_.load(internal::kRelaxed) || backlog_) unsettle();  // marked or not
}

// Stores alone: in whatever context another thread takes the CPU over.
template <Kernel K, LockPolicy L>
void BasicKmemCache<K, L>::abandon_if_held(unsigned cpu) noexcept
  requires(!internal::kLeanOf<K>)
{
  if (!pages_) return;  // its set_up() was interrupted
  CpuSheaves& c = cpu_.on(cpu);
  if (!c.lock.is_locked()) return;
  const std::uintptr_t frees = c.frees();
  c.main = nullptr;
  c.spare = nullptr;
  c.top.store(nullptr, internal::kRelaxed);
  c.set_room(nullptr, nullptr);
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
  // (What the forking handler interrupted may be at these sheaves itself; it goes on.)
  if (!c.main || reach_.here()) return;
  Sheaf* theirs[2] = {nullptr, nullptr};
  {
    const MainOut out(c, place_, unfree_bits_);
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
    if (!pages_) return;
    const bool bounded = internal::may_have_interrupted_a_holder<K>();
    auto& fork = forks_.begin();
    if (fork.alone) return;
    const std::uint32_t depth = fork.depth();
    // Held with irqs on: who holds it may be what we interrupted, wherever we are.
    held_created_.take(created_lock_, true, depth);
    fork.has_created = held_created_.is_held();
    each_cache(fork.has_created, [&](Cache& c) {
      c.each_held([&](auto& lock, auto& held) { held.take(lock, bounded, depth); });
    });
    pages_->before_fork(bounded);
  }
}

template <Kernel K, LockPolicy L, class C>
void BasicSlabAllocator<K, L, C>::after_fork(bool child) noexcept NESTLOCK_NO_TSA {
  if constexpr (K::kConfig.smp && !kLean) {
    if (!pages_) return;
    auto* const fork = forks_.innermost();
    if (fork && fork->alone) return forks_.end_alone(*fork);
    pages_->after_fork(child);
    if (!fork && !child) return;
    const std::uint32_t depth = fork ? fork->depth() : 0;
    const bool created = fork && fork->has_created;
    const auto each_lock = [&](auto f) { each_cache(created, [&](Cache& c) { c.each_held(f); }); };
    if (child) {
      each_lock([depth](auto& lock, auto& held) { held.end_in_child(lock, depth); });
      each_cache(created, [](Cache& c) { c.settle_in_child(); });
      const unsigned mine = internal::claimed_cpu<typename K::Port>();
      const unsigned seen = internal::cpus_seen<typename K::Port>();
      for (unsigned cpu = 0; cpu < seen; ++cpu)
        if (cpu != mine) each_cache(created, [&](Cache& c) { c.take_back(cpu); });
      for (Walk& w : walks_)
        w = {};  // whose thread is gone; one that a handler's fork interrupted ends
      // (groups_.walks stays: then an empty group may, too.)
      held_created_.end_in_child(created_lock_, depth);
    } else {
      forks_.ends();
      each_lock([depth](auto&, auto& held) { held.drop_share(depth); });
      held_created_.drop_share(depth);
      each_lock([depth](auto& lock, auto& held) { held.give_back(lock, depth); });
      held_created_.give_back(created_lock_, depth);
    }
    forks_.end(fork, child);
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
