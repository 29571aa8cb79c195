// Slabs and their list: single objects, new slabs, orphans, deferred frees. Included by slab.h.
#pragma once

#include "nestlock/lock/guard.h"
#include "nestlock/slab.h"

namespace nestlock {

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
// nobody wants is not touched. The free list is empty only where no object is free.
template <Kernel K, LockPolicy L>
void BasicKmemCache<K, L>::link_more(Page& p) noexcept
  requires(!internal::kLeanOf<K>)
{
  const unsigned all = objects(p);
  unsigned i = linked(p);
  if (i == all) return;
  const std::size_t stride = stride_;
  Object* link = link_of(static_cast<char*>(pages_->address(&p)) + lead_ + i * stride);
  set_freelist(p, link);
  for (++i; i != all && i % kLinkedAtOnce != 0; ++i) {
    auto* const next = reinterpret_cast<Object*>(reinterpret_cast<char*>(link) + stride);
    link->next = next;
    link = next;
  }
  link->next = nullptr;
  p.owner_half[1] = static_cast<std::uint16_t>(i);
}

// Takes one object off the slab. Needs: the slab has a free object, and the caller holds the list's
// lock or owns a slab that nobody else knows yet.
template <Kernel K, LockPolicy L>
void* BasicKmemCache<K, L>::take_object(Page& p) noexcept {
  Object* const link = freelist(p);
  set_freelist(p, link->next);
  ++p.owner_count;
  if constexpr (!kLean)
    if (!link->next) link_more(p);
  return object_of(link);
}

template <Kernel K, LockPolicy L>
void* BasicKmemCache<K, L>::take_locked(Node& n) noexcept {
  Page& p = *pages_->page_at(n.partial.first());
  void* const object = take_object(p);
  if (!freelist(p)) {
    n.partial.remove(pages_->descriptors(), n.partial.first());
    p.owner_mark = kOff;
    --n.nr_partial;
  }
  return object;
}

// The last object of a slab beyond min_partial takes the slab off; it is chained to `empty`, for
// discard() after the lock.
template <Kernel K, LockPolicy L>
void BasicKmemCache<K, L>::give_locked(Node& n, Page& p, void* object, Page*& empty) noexcept {
  Object* const link = link_of(object);
  link->next = freelist(p);
  set_freelist(p, link);
  --p.owner_count;
  if (on_list(p) == kOrphan) return;  // whoever settles it looks again
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
    if (c && sheaf_source_ && pages_->nodes() == 1) {
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
    link_more(*p);
  internal::bump(counters_.new_slabs);
  return p;
}

// An object that heads its slab's free list is free already: that is looked at under the lock.
template <Kernel K, LockPolicy L>
auto BasicKmemCache<K, L>::free_to_slab(void* object, bool may_spin) noexcept -> Given {
  Page& p = slab_of(object);
  Node& n = node_of(p);
  Page* empty = nullptr;
  bool free_already = false;
  auto give = [&] {
    free_already = freelist(p) == link_of(object) || inuse(p) == 0;
    if (!free_already) give_locked(n, p, object, empty);
  };
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

// False: it is the object that was deferred last.
template <Kernel K, LockPolicy L>
bool BasicKmemCache<K, L>::defer(void* object) noexcept {
  Object* const link = link_of(object);
  Object* first = deferred_.load(internal::kRelaxed);
  if (first == link) return false;
  // release: pairs with the exchange in settle_some(); the drainer sees the link.
  do link->next = first;
  while (
      !deferred_.compare_exchange_weak(first, link, std::memory_order_release, internal::kRelaxed));
  internal::bump(counters_.deferred);
  unsettle();
  return true;
}

// Marks that something waits to be settled.
template <Kernel K, LockPolicy L>
void BasicKmemCache<K, L>::unsettle() noexcept {
  // release: pairs with the acquire in settle_some(), which clears the mark; it must then see what waits.
  this->attention().fetch_or(kUnsettled, std::memory_order_release);
}

// At most `most` of the objects that nolock frees deferred, and the orphaned slabs of the nodes. Bounded,
// so that no call pays for all that was left behind; what is left stays marked. A call that is refused a
// list's lock leaves the rest, too.
template <Kernel K, LockPolicy L>
void BasicKmemCache<K, L>::settle_some(unsigned most, bool may_spin) noexcept {
  if (!(this->attention().load(internal::kRelaxed) & kUnsettled)) [[likely]]
    return;
  // Nobody waits for the turn: it may be held by what we interrupted.
  if (!settling_.try_lock()) return;
  // First the mark, then the lists: what comes in between marks again.
  this->attention().fetch_and(~std::uint32_t{kUnsettled}, std::memory_order_acquire);
  bool more = false;
  if (!backlog_) backlog_ = deferred_.exchange(nullptr, std::memory_order_acquire);
  while (backlog_ && most) {
    Node& n = node_of(slab_of(object_of(backlog_)));
    Page* empty = nullptr;
    if (!with_list(n, may_spin, [&] { most = settle_backlog_locked(n, most, empty); })) break;
    discard(empty, may_spin);
  }
  for (unsigned i = 0; i < pages_->nodes(); ++i) {
    if (node_[i].orphans.empty()) continue;
    Page* empty = nullptr;
    more |= !with_list(node_[i], may_spin, [&] { settle_locked(node_[i], empty); });
    discard(empty, may_spin);
  }
  more |= backlog_ || deferred_.load(internal::kRelaxed);
  settling_.unlock();
  if (more) unsettle();
}

// The head of the backlog and what follows it on the same node, at most kSettledAtOnce objects, for irqs
// are masked meanwhile. Returns how many of `most` are left.
template <Kernel K, LockPolicy L>
unsigned BasicKmemCache<K, L>::settle_backlog_locked(Node& n, unsigned most,
                                                     Page*& empty) noexcept {
  unsigned done = 0;
  for (; backlog_ && done < most && done < kSettledAtOnce; ++done) {
    void* const object = object_of(backlog_);
    Page& p = slab_of(object);
    if (&node_of(p) != &n) break;
    backlog_ = backlog_->next;
    give_locked(n, p, object, empty);
  }
  internal::bump_locked(counters_.settled, done);
  if (done) internal::bump(counters_.list_frees, done);
  return most - done;
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

template <Kernel K, LockPolicy L>
bool BasicKmemCache<K, L>::settle() noexcept {
  if (pages_ && L::may_try()) settle_some(kSettledAtOnce, false);
  return !(this->attention().load(internal::kRelaxed) & kUnsettled);
}

// Task context: all that waited when it was called, but for what another CPU is at. Once the rest of an
// earlier call, and once what was deferred since; what interrupts this may defer as fast as it settles.
template <Kernel K, LockPolicy L>
void BasicKmemCache<K, L>::settle_all() noexcept {
  for (int i = 0; i < 2; ++i) settle_some(~0u, true);
}

template <Kernel K, LockPolicy L>
void BasicKmemCache<K, L>::settle_locked(Node& n, Page*& empty) noexcept {
  if (n.orphans.empty()) return;
  for (auto i = n.orphans.take_all(); i != Page::kNil;) {
    Page& p = *pages_->page_at(i);
    i = p.next;
    n.nr_orphans.fetch_sub(1, internal::kRelaxed);
    p.owner_mark = kOff;
    if (inuse(p) == 0 && n.nr_partial >= min_partial_) {
      chain_empty(p, empty);
    } else {
      add_slab_locked(n, p);
    }
  }
}

}  // namespace nestlock
