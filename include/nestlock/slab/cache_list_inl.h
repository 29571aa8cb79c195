// Slabs and their list: single objects, new slabs, orphans. Included by slab.h.
#pragma once

#include "nestlock/lock/guard.h"
#include "nestlock/slab.h"

namespace nestlock {

template <Kernel K, LockPolicy L>
inline std::uintptr_t& BasicKmemCache<K, L>::mark_of(Object* link) noexcept {
  return *reinterpret_cast<std::uintptr_t*>(link + 1);
}

// False: it is free already. (In its slab both marks say so: a link there that defer() wrote over would cut the list.)
template <Kernel K, LockPolicy L>
bool BasicKmemCache<K, L>::mark(Object* link, bool deferred) noexcept {
  if constexpr (!kLean)
    if (marks_) {
      const auto in_slab =
          reinterpret_cast<std::uintptr_t>(this) ^ ~reinterpret_cast<std::uintptr_t>(link);
      const std::uintptr_t was = mark_of(link);
      if (was == in_slab || (deferred && was == ~in_slab)) return false;
      mark_of(link) = deferred ? ~in_slab : in_slab;
    }
  return true;
}

template <Kernel K, LockPolicy L>
inline std::uint32_t BasicKmemCache<K, L>::objects(const Page& p) const noexcept {
  if constexpr (kLean)
    return static_cast<std::uint32_t>(kPageSize << p.order()) / stride_;
  else
    return p.owner_half[0];
}

template <Kernel K, LockPolicy L>
inline std::uint32_t BasicKmemCache<K, L>::linked(const Page& p) const noexcept {
  if constexpr (kLean)
    return objects(p);
  else
    return p.owner_half[1];
}

// A slab's objects are linked in the order of their addresses, and only as they are wanted: what a
// call may have to do is bounded by kLinkedAtOnce, not by the size of the slab, and memory that
// nobody wants is not touched, for a batch ends with its page. False, and nothing done: the next begins on a page for
// which the system has no memory yet, and the caller wants none of these.
template <Kernel K, LockPolicy L>
bool BasicKmemCache<K, L>::link_more(Page& p, bool new_pages) noexcept
  requires(!internal::kLeanOf<K>)
{
  const unsigned all = objects(p);
  unsigned i = linked(p);
  const std::size_t stride = stride_;
  std::size_t in_page = (lead_ + i * stride) % kPageSize;
  if (!new_pages && p.clean && in_page < stride) return false;
  Object* link = link_of(static_cast<char*>(pages_->address(&p)) + lead_ + i * stride);
  set_freelist(p, link);
  for (++i; i != all && i % kLinkedAtOnce != 0 && (in_page += stride) < kPageSize; ++i) {
    auto* const next = reinterpret_cast<Object*>(reinterpret_cast<char*>(link) + stride);
    link->next = next;
    link = next;
  }
  link->next = i == all ? nullptr : internal::unlinked_objects();
  p.owner_half[1] = static_cast<std::uint16_t>(i);
  return true;
}

// Takes one object off the slab. Needs: the slab has a free object, and the caller holds the list's
// lock or owns a slab that nobody else knows yet. Null: only pages that nobody used have one, and the caller wants none.
template <Kernel K, LockPolicy L>
void* BasicKmemCache<K, L>::take_object(Page& p, bool new_pages) noexcept {
  if constexpr (!kLean)
    if (freelist(p) == internal::unlinked_objects() && !link_more(p, new_pages)) return nullptr;
  Object* const link = freelist(p);
  set_freelist(p, link->next);
  if constexpr (!kLean)
    if (marks_) mark_of(link) = 0;
  ++p.owner_count;
  return object_of(link);
}

template <Kernel K, LockPolicy L>
void* BasicKmemCache<K, L>::take_locked(Node& n, bool new_pages) noexcept {
  Page& p = *pages_->page_at(n.partial.first());
  void* const object = take_object(p, new_pages);
  if (!freelist(p)) {
    n.partial.remove(pages_->descriptors(), n.partial.first());
    p.owner_mark = kOff;
    --n.nr_partial;
  }
  return object;
}

// Whether the slab is this cache's to take back what a sheaf or the backlog held. What was freed twice may be there
// when its slab has long gone to another user.
template <Kernel K, LockPolicy L>
bool BasicKmemCache<K, L>::still_holds(Page& p, void* object) noexcept {
  return kLean || (p.kind == kSlab && p.owner == this && is_object(p, object));
}

// The last object of a slab beyond min_partial takes the slab off; it is chained to `empty`, for
// discard() after the lock. False: it lies in the slab already, as far as can be told, and nothing changed.
template <Kernel K, LockPolicy L>
bool BasicKmemCache<K, L>::give_locked(Node& n, Page& p, void* object, Page*& empty) noexcept {
  Object* const link = link_of(object);
  if (freelist(p) == link || inuse(p) == 0) return false;
  if (!mark(link, false)) return false;
  link->next = freelist(p);
  set_freelist(p, link);
  --p.owner_count;
  if (on_list(p) == kOrphan) return true;  // whoever settles it looks again
  if (inuse(p) == 0 && n.nr_partial >= min_partial_) {
    if (on_list(p) == kPartial) {
      n.partial.remove(pages_->descriptors(), pages_->index_of(&p));
      --n.nr_partial;
    }
    p.owner_mark = kOff;
    chain_empty(p, empty);
  } else if (on_list(p) == kOff) {
    add_slab_locked(n, p);
  }
  return true;
}

template <Kernel K, LockPolicy L>
void BasicKmemCache<K, L>::add_slab_locked(Node& n, Page& p) noexcept {
  n.partial.push(pages_->descriptors(), pages_->index_of(&p));
  p.owner_mark = kPartial;
  ++n.nr_partial;
}

// One object of the first partial slab. A nolock request tries the lock once.
template <Kernel K, LockPolicy L>
void* BasicKmemCache<K, L>::alloc_from_list(const Request& r, SlabRefusal& why) noexcept {
  const unsigned last = has(r.flags, gfp::thisnode) ? 1 : pages_->nodes();
  const auto first = static_cast<unsigned>(&home(r.node) - node_);
  for (unsigned i = 0; i < last; ++i) {
    Node& n = node_[(first + i) % pages_->nodes()];
    // Another node is tried only: its memory is a convenience.
    if (r.may_spin() && i == 0) {
      Guard g(n.list_lock, irq_save);
      if (!n.partial.empty()) return internal::bump(counters_.list_allocs), take_locked(n);
      continue;
    }
    TryGuard g(n.list_lock, irq_save);
    if (!g) {
      internal::bump(counters_.list_busy);
      why = SlabRefusal::list_busy;
      continue;
    }
    n.list_lock.assert_held();
    if (!n.partial.empty()) return internal::bump(counters_.list_allocs), take_locked(n);
  }
  return nullptr;
}

// The first object of a new slab. The rest goes on the list; a nolock request that finds the list
// busy puts what it can into this CPU's sheaf, so that the next such requests need no new slab, and
// leaves the slab as an orphan to the next spinning call. Orphans are bounded; beyond, the slab is
// discarded and the request refused.
template <Kernel K, LockPolicy L>
void* BasicKmemCache<K, L>::alloc_from_new_slab(const Request& r, SlabRefusal& why) noexcept {
  Page* const p = new_slab(r);
  if (!p) {
    if (why == SlabRefusal::none) why = SlabRefusal::no_pages;
    return nullptr;
  }
  void* const object = take_object(*p);
  Node& n = node_of(*p);
  if (!freelist(*p)) return object;
  if (r.may_spin()) {
    Guard g(n.list_lock, irq_save);
    add_slab_locked(n, *p);
    return object;
  }
  {
    TryGuard g(n.list_lock, irq_save);
    if (g) {
      n.list_lock.assert_held();
      add_slab_locked(n, *p);
      return object;
    }
  }
  internal::bump(counters_.list_busy);
  if (n.nr_orphans.fetch_add(1, internal::kRelaxed) >= kMaxOrphans) {
    n.nr_orphans.fetch_sub(1, internal::kRelaxed);
    set_freelist(*p, nullptr);
    discard(p, false);
    why = SlabRefusal::list_busy;
    return nullptr;
  }
  bool orphan = false;
  if constexpr (kLean) {
    orphan = true;
    p->owner_mark = kOrphan;
  } else {
    auto c = cpu_.template try_lock_here<&CpuSheaves::lock>(typename L::PcpTag{});
    if (c && !reach_.elsewhere() && sheaf_source_ && pages_->nodes() == 1) {
      const MainOut out(*c, place_, unfree_bits_);
      while (freelist(*p) && c->main->size < c->main->capacity)
        c->main->object()[c->main->size++] = take_object(*p);
    }
    // While nobody can have these objects yet: who frees one leaves an orphan where it is.
    orphan = freelist(*p) != nullptr;
    p->owner_mark = orphan ? kOrphan : kOff;
  }
  if (!orphan) return n.nr_orphans.fetch_sub(1, internal::kRelaxed), object;
  internal::bump(counters_.orphans);
  n.orphans.push(pages_->index_of(p), pages_->links());
  unsettle();
  return object;
}

// All objects free, on no list, known to nobody yet. The preferred order, else the smallest.
template <Kernel K, LockPolicy L>
BasicPage<K>* BasicKmemCache<K, L>::new_slab(const Request& r) noexcept {
  // Not of the reserve: see alloc_of_the_reserve().
  const gfp flags = (r.flags & ~(gfp::zero | gfp::memalloc)) | gfp::comp;
  auto pages = [&](unsigned order) -> Page* {
    return r.may_spin() ? pages_->alloc_pages(flags, order, r.node)
                        : pages_->alloc_pages_nolock(
                              flags & (gfp::comp | gfp::nowarn | gfp::thisnode), order, r.node);
  };
  // (A nolock call gets no more pages than a CPU's lists have.)
  constexpr unsigned kMost = kPcpOrders - 1;
  Page* p = pages(r.may_spin() || order_ < kMost ? order_ : kMost);
  if (!p && order_ != min_order_) p = pages(min_order_);
  if (!p) return nullptr;
  const unsigned order = p->order();
  for (unsigned i = 0; i < (1u << order); ++i) {
    p[i].owner = this;
    p[i].kind = kSlab;
  }
  if constexpr (!kLean)
    if (tag_) pages_->set_tags(p, order, tag_);
  p->owner_count = 0;
  p->owner_mark = kOff;
  if constexpr (!kLean) {
    const std::uint32_t before = hardened() ? lead_ : 0;
    std::size_t fit = ((kPageSize << order) - before) / stride_;
    if (hardened() && fit > lead_ / sizeof(Out)) fit = lead_ / sizeof(Out);
    p->owner_half[0] = static_cast<std::uint16_t>(fit);
    p->owner_half[1] = 0;
    if (hardened())
      for (unsigned i = 0; i < objects(*p); ++i)
        ::new (static_cast<char*>(pages_->address(p)) + i * sizeof(Out)) Out(0);
    if constexpr (K::kConfig.debug)
      for (unsigned i = 0; i < (1u << order); ++i) p[i].out.clear();
  }
  if (debugged() || ctor_ || internal::kWithAsan) {
    char* object = static_cast<char*>(pages_->address(p)) + lead_;
    for (unsigned i = 0; i < objects(*p); ++i, object += stride_) {
      if constexpr (!kLean)
        if (debugged()) debug_new(object);
      if (ctor_) ctor_(object);
      if (internal::kWithAsan && !debugged()) internal::asan_poison(object, link_offset_);
    }
  }
  if constexpr (kLean)
    link_all(*p);
  else
    set_freelist(*p, internal::unlinked_objects());
  internal::bump(counters_.new_slabs);
  return p;
}

template <Kernel K, LockPolicy L>
auto BasicKmemCache<K, L>::free_to_slab(void* object, bool may_spin) noexcept -> Given {
  Page& p = slab_of(object);
  Node& n = node_of(p);
  Page* empty = nullptr;
  bool free_already = false;
  auto give = [&] { free_already = !give_locked(n, p, object, empty); };
  if (may_spin) {
    Guard g(n.list_lock, irq_save);
    give();
  } else {
    TryGuard g(n.list_lock, irq_save);
    if (!g) return internal::bump(counters_.list_busy), Given::busy;
    n.list_lock.assert_held();
    give();
  }
  if (free_already) return Given::free_already;
  internal::bump(counters_.list_frees);
  discard(empty, may_spin);
  return Given::taken;
}

// Gives empty slabs back to the page floor; they are on no list. No lock held.
template <Kernel K, LockPolicy L>
void BasicKmemCache<K, L>::discard(Page* chain, bool may_spin) noexcept {
  while (chain) {
    Page* const p = chain;
    chain = next_empty(*p);
    const unsigned order = p->order();
    for (unsigned i = 0; i < (1u << order); ++i) p[i].kind = 0;
    if constexpr (!kLean)
      if (tag_) pages_->set_tags(p, order, 0);
    internal::asan_unpoison(pages_->address(p), kPageSize << order);
    internal::bump(counters_.discarded_slabs);
    if (may_spin)
      pages_->free_pages(p, order);
    else
      pages_->free_pages_nolock(p, order);
  }
}

// Runs f() with the list's lock held. False: the call may not spin, and the lock is held.
template <Kernel K, LockPolicy L>
template <class F>
bool BasicKmemCache<K, L>::with_list(Node& n, bool may_spin, F f) noexcept {
  if (may_spin) {
    Guard g(n.list_lock, irq_save);
    f();
    return true;
  }
  TryGuard g(n.list_lock, irq_save);
  if (!g) {
    internal::bump(counters_.list_busy);
    return false;
  }
  f();
  return true;
}

}  // namespace nestlock
