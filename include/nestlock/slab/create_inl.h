// Caches of the program's own: create() and destroy(). Included by slab.h.
#pragma once

#include <new>

#include "nestlock/lock/guard.h"
#include "nestlock/slab.h"

namespace nestlock {

// A cache has an array over all CPUs, so its memory is pages.
template <Kernel K, LockPolicy L, class C>
BasicKmemCache<K, L>* BasicSlabAllocator<K, L, C>::create(const char* name, std::size_t size,
                                                          std::size_t align, slab flags,
                                                          typename Cache::Constructor ctor,
                                                          unsigned sheaf_capacity) noexcept {
  void* memory = nullptr;
  if constexpr (kLean)  // it has no such array, and the pages are few
    memory = kmalloc_lean(sizeof(Cache), gfp::kernel, SlabAlloc::spinning, kAnyNode, nullptr);
  else
    memory = alloc_large(sizeof(Cache), gfp::kernel, Place::here());
  if (!memory) return nullptr;
  Cache* const c = ::new (memory) Cache;
  Cache* sheaves = nullptr;
  if constexpr (!kLean) sheaves = sheaf_caches_;
  if (!c->set_up(*pages_, sheaves, name, size, align, flags, ctor, sheaf_capacity)) {
    kfree(memory);
    return nullptr;
  }
  if constexpr (!kLean) {
    Page* const page = pages_->page_of(memory);
    page->kind = Cache::kCache;
    page->owner = this;
  }
  enlist(*c);
  return c;
}

template <Kernel K, LockPolicy L, class C>
void BasicSlabAllocator<K, L, C>::enlist(Cache& c) noexcept {
  Guard g(created_lock_);
  c.prev_ = nullptr;
  c.next_ = created_;
  if (created_) created_->prev_ = &c;
  created_ = &c;
}

template <Kernel K, LockPolicy L, class C>
void BasicSlabAllocator<K, L, C>::delist(Cache& c) noexcept {
  Guard g(created_lock_);
  (c.prev_ ? c.prev_->next_ : created_) = c.next_;
  if (c.next_) c.next_->prev_ = c.prev_;
  for (Walk& w : walks_)
    if (w.next == &c) w.next = c.next_;
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
      if (!c.main) continue;
      const typename Cache::MainOut out(c);
      for (internal::Sheaf* s : {c.main, c.spare}) {
        if (!s || s == &internal::no_sheaf) continue;
        if (s->size) cache->flush(*s);
        cache->sheaf_source_->free_to_slab(s, true);
      }
      c.main = &internal::no_sheaf;
      c.spare = nullptr;
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
  if constexpr (!kLean) pages_->page_of(cache)->kind = Cache::kLarge;
  return kfree(cache);
}

}  // namespace nestlock
