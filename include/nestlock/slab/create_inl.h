// Caches of the program's own: create() and destroy(). Included by slab.h.
#pragma once

#include <bit>
#include <new>

#include "nestlock/lock/guard.h"
#include "nestlock/slab.h"

namespace nestlock {

// A cache and its CPUs' sheaves, so its memory is pages.
template <Kernel K, LockPolicy L, class C>
BasicKmemCache<K, L>* BasicSlabAllocator<K, L, C>::create(const char* name, std::size_t size,
                                                          std::size_t align, slab flags,
                                                          typename Cache::Constructor ctor,
                                                          unsigned sheaf_capacity) noexcept {
  void* memory = nullptr;
  if constexpr (kLean)  // it has no such array, and the pages are few
    memory = kmalloc_lean(sizeof(Cache), gfp::kernel, SlabAlloc::spinning, kAnyNode, nullptr);
  else
    memory = alloc_large(sizeof(CreatedCache), gfp::kernel, Place::here());
  if (!memory) return nullptr;
  Cache* c = nullptr;
  Cache* sheaves = nullptr;
  if constexpr (kLean) {
    c = ::new (memory) Cache;
  } else {
    auto* const created = ::new (memory) CreatedCache;
    c = &created->cache;
    c->cpu_ = {&created->slot[0].value, std::countr_zero(sizeof created->slot[0])};
    sheaves = sheaf_caches_;
  }
  if (!c->set_up(*pages_, sheaves, name, size, align, flags, ctor, sheaf_capacity)) {
    kfree(memory);
    return nullptr;
  }
  if constexpr (!kLean) {
    Page* const page = pages_->page_of(memory);
    page->kind = Cache::kCache;
    page->owner = this;
    if (!join_group(*c)) {
      page->kind = Cache::kLarge;
      kfree(memory);
      return nullptr;
    }
  }
  enlist(*c);
  return c;
}

// A place for the cache. False: no memory for another group.
template <Kernel K, LockPolicy L, class C>
bool BasicSlabAllocator<K, L, C>::join_group(Cache& c) noexcept
  requires(!internal::kLeanOf<K>)
{
  void* memory = nullptr;
  bool joined = false;
  for (;;) {
    {
      Guard g(created_lock_);
      if (memory && !groups_.with_room) {
        Group* const fresh = ::new (memory) Group;
        fresh->template link<&Group::all>(groups_.all);
        fresh->template link<&Group::with_room>(groups_.with_room);
        memory = nullptr;
      }
      if (Group* const at = groups_.with_room) {
        const auto i = static_cast<unsigned>(std::countr_one(at->taken));
        c.place_ = {at, i};
        at->taken |= c.place_.bit();
        if (!~at->taken) at->template unlink<&Group::with_room>(groups_.with_room);
        joined = true;
      }
    }
    if (joined) {
      if (memory) kfree(memory);  // another was faster
      return true;
    }
    memory = alloc_large(sizeof(Group), gfp::kernel, Place::here());
    if (!memory) return false;
  }
}

// The cache has no sheaves any more.
template <Kernel K, LockPolicy L, class C>
void BasicSlabAllocator<K, L, C>::leave_group(Cache& c) noexcept
  requires(!internal::kLeanOf<K>)
{
  Group* gone = nullptr;
  {
    Guard g(created_lock_);
    Group& at = *c.place_.group;
    if (!~at.taken) at.template link<&Group::with_room>(groups_.with_room);
    at.taken &= ~c.place_.bit();
    if (!at.taken) {
      groups_.some_empty = true;
      gone = groups_.take_empty();
    }
  }
  free_groups(gone);
}

template <Kernel K, LockPolicy L, class C>
void BasicSlabAllocator<K, L, C>::free_groups(Group* gone) noexcept
  requires(!internal::kLeanOf<K>)
{
  while (gone) {
    Group* const next = gone->with_room.next;
    kfree(gone);
    gone = next;
  }
}

// f(each created cache that this CPU may have sheaves of), the list's lock held for one at a time.
template <Kernel K, LockPolicy L, class C>
template <class F>
void BasicSlabAllocator<K, L, C>::each_used_here(F f) noexcept
  requires(!internal::kLeanOf<K>)
{
  const unsigned cpu = internal::claimed_cpu<typename K::Port>();
  if (cpu >= K::Port::kMaxCpus) return;
  Group* at;
  {
    Guard g(created_lock_);
    at = groups_.all;
    ++groups_.walks;  // from here on none of them goes
  }
  for (; at; at = at->all.next) {
    auto todo = at->used[cpu].load(internal::kRelaxed);
    for (; todo; todo &= todo - 1) {
      Guard g(created_lock_);
      if (Cache* const c = at->cache[std::countr_zero(todo)]) f(*c);
    }
  }
  Group* gone;
  {
    Guard g(created_lock_);
    --groups_.walks;
    gone = groups_.take_empty();
  }
  free_groups(gone);
}

template <Kernel K, LockPolicy L, class C>
void BasicSlabAllocator<K, L, C>::enlist(Cache& c) noexcept {
  Guard g(created_lock_);
  c.prev_ = nullptr;
  c.next_ = created_;
  if (created_) created_->prev_ = &c;
  created_ = &c;
  if constexpr (!kLean) c.place_.group->cache[c.place_.index] = &c;
}

template <Kernel K, LockPolicy L, class C>
void BasicSlabAllocator<K, L, C>::delist(Cache& c) noexcept {
  Guard g(created_lock_);
  (c.prev_ ? c.prev_->next_ : created_) = c.next_;
  if (c.next_) c.next_->prev_ = c.prev_;
  for (Walk& w : walks_)
    if (w.next == &c) w.next = c.next_;
  if constexpr (!kLean) c.place_.group->cache[c.place_.index] = nullptr;
}

// f(each), with the list's lock held for one at a time: it may take long, and there may be thousands. f returns
// whether to go on. Beside four others, and in the lean form, it holds the lock throughout.
template <Kernel K, LockPolicy L, class C>
template <class F>
void BasicSlabAllocator<K, L, C>::each_created(F f) noexcept {
  Walk* mine = nullptr;
  {
    Guard g(created_lock_);
    for (Walk& w : walks_)
      if (!mine && !w.taken) mine = &w;
    if (!mine) {
      for (Cache* c = created_; c && f(*c);) c = c->next_;
      return;
    }
    *mine = {created_, true};
  }
  for (bool more = true; more;) {
    Guard g(created_lock_);
    Cache* const c = mine->next;
    if (c) mine->next = c->next_;
    more = c && f(*c);
    if (!more) *mine = {};
  }
}

template <Kernel K, LockPolicy L, class C>
inline bool BasicSlabAllocator<K, L, C>::is_created(Cache* cache) noexcept {
  if constexpr (kLean) {
    Guard g(created_lock_);
    const Cache* c = created_;
    while (c && c != cache) c = c->next_;
    return c != nullptr;
  } else {
    Page* const page = pages_ ? pages_->page_of(cache) : nullptr;
    return page && page->kind == Cache::kCache && page->owner == this &&
           pages_->address(page) == cache;
  }
}

template <Kernel K, LockPolicy L, class C>
bool BasicSlabAllocator<K, L, C>::destroy(Cache* cache) noexcept {
  if (!cache) return true;
  if (!is_created(cache)) {
    if (pages_) classes_[0].report(Finding::foreign_pointer, "destroy", cache, Place::here());
    return false;
  }
  delist(*cache);  // an exiting CPU does not come upon it any more
  // Nobody else uses it: other CPUs' sheaves are ours to empty.
  if constexpr (!kLean)
    for (unsigned i = 0; i < decltype(cache->cpu_)::size(); ++i) {
      auto& c = cache->cpu_.on(i);
      cache->place_.is_unused_on(i);
      if (!c.main) continue;
      {
        const typename Cache::MainOut out(c, cache->place_, cache->unfree_bits_);
        for (internal::Sheaf* s : {c.main, c.spare}) {
          if (!s || s == &internal::no_sheaf) continue;
          if (s->size) cache->flush(*s);
          cache->sheaf_source_->free_to_slab(s, true);
        }
        c.main = &internal::no_sheaf;
        c.spare = nullptr;
      }
      c.main = nullptr;
    }
  const std::uint32_t min_partial = cache->min_partial_;
  cache->min_partial_ = 0;
  cache->shrink();  // also settles what was deferred
  if (cache->stats().slabs) {
    if constexpr (!kLean)
      if (cache->debugged()) cache->report_leaks("destroy");
    cache->min_partial_ = min_partial;
    enlist(*cache);
    return false;
  }
  if constexpr (!kLean) {
    leave_group(*cache);
    pages_->page_of(cache)->kind = Cache::kLarge;
  }
  return kfree(cache);
}

}  // namespace nestlock
