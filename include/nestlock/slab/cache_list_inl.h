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

// Takes at most `want` objects off the slab: those that were freed, last first, then some that nobody had yet, in the
// order of their addresses. These have no link, their number is enough, so that memory that nobody wants is not
// touched. Beyond `least` none begins on a page for which the system has no memory yet. Needs: the caller holds the
// list's lock, or owns a slab that nobody else knows yet.
template <Kernel K, LockPolicy L>
unsigned BasicKmemCache<K, L>::take_from(Page& p, void** out, unsigned want,
                                         unsigned least) noexcept {
  if constexpr (kLean) want = 1;
  Object* link = freelist(p);
  unsigned got = 0;
  for (; got < want && link && link != internal::unlinked_objects(); ++got) {
    Object* const next = link->next;
    if constexpr (!kLean)
      if (marks_) mark_of(link) = 0;
    out[got] = object_of(link);
    link = next;
  }
  if constexpr (!kLean)
    if (got < want && link) {
      got += take_new(p, out + got, want - got, least > got ? least - got : 0);
      if (linked(p) == objects(p)) link = nullptr;
    }
  set_freelist(p, link);
  p.owner_count += got;
  return got;
}

// The part of it that nobody had yet.
template <Kernel K, LockPolicy L>
unsigned BasicKmemCache<K, L>::take_new(Page& p, void** out, unsigned want, unsigned least) noexcept
  requires(!internal::kLeanOf<K>)
{
  const std::size_t stride = stride_;
  std::size_t at = lead_ + linked(p) * stride;
  const unsigned left = objects(p) - linked(p);
  if (want > left) want = left;
  unsigned got = 0;
  for (char* const slab = static_cast<char*>(pages_->address(&p)); got < want; ++got) {
    if (got >= least && p.clean && at % kPageSize < stride) break;
    out[got] = slab + at;
    if (marks_) mark_of(link_of(out[got])) = 0;
    at += stride;
  }
  p.owner_half[1] = static_cast<std::uint16_t>(linked(p) + got);
  return got;
}

// The same from the first slab of the list, which has an object.
template <Kernel K, LockPolicy L>
unsigned BasicKmemCache<K, L>::take_locked(Node& n, void** out, unsigned want,
                                           unsigned least) noexcept {
  Page& p = *pages_->page_at(n.partial.first());
  const unsigned got = take_from(p, out, want, least);
  if (!freelist(p)) {
    n.partial.remove(pages_->descriptors(), n.partial.first());
    p.owner_mark = kOff;
    --n.nr_partial;
  }
  return got;
}

// Takes back the first of `many` objects, which is of this slab and node, and as many as follow it in the same slab;
// returns how many these are. What lies in the slab already, as far as can be told, or is none of this cache's is
// `refused`. The last object of a slab beyond min_partial takes the slab off; it is chained to `empty`, for discard()
// after the lock.
template <Kernel K, LockPolicy L>
unsigned BasicKmemCache<K, L>::give_locked(Node& n, Page& p, void* const* object, unsigned many,
                                           Page*& empty, Refused& refused) noexcept {
  // (What was freed twice may come back when its slab has long gone to another user.)
  if (!kLean && (p.kind != kSlab || p.owner != this)) return refused.add(*object), 1;
  if constexpr (kLean) many = 1;  // no caller has more; one that has been looked at
  const auto first = reinterpret_cast<std::uintptr_t>(pages_->address(&p)) + lead_;
  const std::uintptr_t size = std::uintptr_t{objects(p)} * stride_;
  Object* free = freelist(p);
  std::uintptr_t in_use = inuse(p);
  unsigned i = 0;
  for (; i < many; ++i) {
    const std::uintptr_t at = reinterpret_cast<std::uintptr_t>(object[i]) - first;
    if (!kLean && at >= size) break;
    Object* const link = link_of(object[i]);
    if (free == link || in_use == 0 || (!kLean && !begins_one(static_cast<std::uint32_t>(at))) ||
        !mark(link, false)) {
      refused.add(object[i]);
      continue;
    }
    link->next = free;
    free = link;
    --in_use;
  }
  if (i == 0) return refused.add(*object), 1;
  if (free == freelist(p)) return i;
  set_freelist(p, free);
  p.owner_count = in_use;
  if (on_list(p) == kOrphan) return i;  // whoever settles it looks again
  const bool on_it = on_list(p) == kPartial;
  if (in_use == 0 && n.nr_partial + !on_it >= min_partial_) {
    if (on_it) {
      n.partial.remove(pages_->descriptors(), pages_->index_of(&p));
      --n.nr_partial;
    }
    p.owner_mark = kOff;
    chain_empty(p, empty);
  } else if (!on_it) {
    add_slab_locked(n, p);
  }
  return i;
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
  void* object = nullptr;
  for (unsigned i = 0; i < last; ++i) {
    Node& n = node_[(first + i) % pages_->nodes()];
    // Another node is tried only: its memory is a convenience.
    if (r.may_spin() && i == 0) {
      Guard g(n.list_lock, irq_save);
      if (!n.partial.empty()) {
        internal::bump(counters_.list_allocs);
        return take_locked(n, &object, 1, 1), object;
      }
      continue;
    }
    TryGuard g(n.list_lock, irq_save);
    if (!g) {
      internal::bump(counters_.list_busy);
      why = SlabRefusal::list_busy;
      continue;
    }
    n.list_lock.assert_held();
    if (!n.partial.empty()) {
      internal::bump(counters_.list_allocs);
      return take_locked(n, &object, 1, 1), object;
    }
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
  void* object = nullptr;
  take_from(*p, &object, 1, 1);
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
      Sheaf& main = *c->main;
      // (Where there is no room it may be no_sheaf, which all CPUs share.)
      if (const unsigned room = main.capacity - main.size)
        main.size += take_from(*p, main.object() + main.size, room, room);
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
  Refused refused;
  auto give = [&] { give_locked(n, p, &object, 1, empty, refused); };
  if (may_spin) {
    Guard g(n.list_lock, irq_save);
    give();
  } else {
    TryGuard g(n.list_lock, irq_save);
    if (!g) return internal::bump(counters_.list_busy), Given::busy;
    n.list_lock.assert_held();
    give();
  }
  if (refused.many) return Given::free_already;
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
