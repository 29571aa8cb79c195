// The bodies of BasicKmemCache: sheaves, barn, list. Included by slab.h.
#pragma once

#include <cstring>
#include <new>
#include <utility>

#include "nestlock/guard.h"
#include "nestlock/slab.h"

namespace nestlock {

// ---- this CPU's sheaves
// ------------------------------------------------------------------------------

template <Kernel K, LockPolicy L>
inline void* BasicKmemCache<K, L>::pop_here() noexcept {
  auto c = cpu_.template try_lock_here<&CpuSheaves::lock>(typename L::PcpTag{});
  if (!c) [[unlikely]]
    return nullptr;
  Sheaf* const m = c->main;
  if (m->size == 0) [[unlikely]]
    return nullptr;
  internal::bump_locked(c->allocs);
  return m->object()[--m->size];
}

template <Kernel K, LockPolicy L>
inline bool BasicKmemCache<K, L>::push_here(void* object) noexcept {
  auto c = cpu_.template try_lock_here<&CpuSheaves::lock>(typename L::PcpTag{});
  if (!c) [[unlikely]]
    return false;
  Sheaf* const m = c->main;
  if (m->size == m->capacity) [[unlikely]]
    return false;
  internal::bump_locked(c->frees);
  m->object()[m->size++] = object;
  return true;
}

template <Kernel K, LockPolicy L>
inline void* BasicKmemCache<K, L>::alloc(gfp flags, int node, Place where) noexcept {
  check_may_sleep("alloc", where);
  if (node < 0 && !attention_.load(internal::kRelaxed)) [[likely]]
    if (void* const o = pop_here()) [[likely]]
      return finish(o, flags);
  SlabRefusal why{};
  void* const o = alloc_slow({flags, SlabAlloc::SLAB_ALLOC_DEFAULT, node}, &why);
  return finish(debugged() ? debug_alloc(o, "alloc", where) : o, flags);
}

template <Kernel K, LockPolicy L>
void* BasicKmemCache<K, L>::alloc_nolock(gfp flags, int node, SlabRefusal* why,
                                         Place where) noexcept {
  SlabRefusal reason{};
  void* o = nullptr;
  if (!L::may_try())
    reason = SlabRefusal::gate;
  else if (fails_now())
    reason = SlabRefusal::injected;
  else
    o = alloc_slow({flags, SlabAlloc::SLAB_ALLOC_NOLOCK, node}, &reason);
  if (!o) internal::bump(counters_.refusals[static_cast<unsigned>(reason)]);
  if (why) *why = o ? SlabRefusal::none : reason;
  if (debugged()) o = debug_alloc(o, "alloc_nolock", where);
  return finish(o, flags);
}

template <Kernel K, LockPolicy L>
inline void* BasicKmemCache<K, L>::finish(void* object, gfp flags) noexcept {
  if (has(flags, gfp::zero) && object) std::memset(object, 0, object_size_);
  return object;
}

// Sheaf (main, spare, barn), else a refill, else the list, else a new slab.
template <Kernel K, LockPolicy L>
void* BasicKmemCache<K, L>::alloc_slow(const Request& r, SlabRefusal* why) noexcept {
  if (r.may_spin()) {
    settle();
    if (fails_now()) return internal::bump(counters_.failures), nullptr;
  }
  Node& n = home(r.node);
  bool no_sheaf = sheaf_source_ == nullptr;
  if (!no_sheaf && (r.node < 0 || pages_->nodes() == 1)) {
    auto c = cpu_.template try_lock_here<&CpuSheaves::lock>(typename L::PcpTag{});
    if (c) {
      if (c->main->size == 0 && c->spare && c->spare->size) {
        Sheaf* const s = c->spare;
        c->spare = c->main == &internal::no_sheaf ? nullptr : c->main;
        c->main = s;
        internal::bump(counters_.spare_swaps);
      }
      if (c->main->size == 0)
        if (Sheaf* const s = barn_swap(n, c->main, Want::full, r.may_spin())) c->main = s;
      if (c->main->size) {
        internal::bump_locked(c->allocs);
        return c->main->object()[--c->main->size];
      }
    } else {
      internal::bump(counters_.local_busy);
      no_sheaf = true;  // the code that we interrupted has it: filling one would not help us
    }
  }
  if (r.may_spin() && !no_sheaf && r.node < 0) {
    if (Sheaf* const s = refilled_sheaf(n, r)) {
      void* const o = s->object()[--s->size];
      install_full(n, s);
      internal::bump(counters_.refill_allocs);
      return o;
    }
  }
  if (void* const o = alloc_from_list(r, *why)) return o;
  if (void* const o = alloc_from_new_slab(r, *why))
    return internal::bump(counters_.new_slab_allocs), o;
  if (r.may_spin()) internal::bump(counters_.failures);
  return nullptr;
}

// ---- refilling
// ---------------------------------------------------------------------------------------

// A sheaf with at least one object, or null. No lock is held on entry or while memory is asked for.
template <Kernel K, LockPolicy L>
internal::Sheaf* BasicKmemCache<K, L>::refilled_sheaf(Node& n, const Request& r) noexcept {
  Sheaf* const s = empty_sheaf(n);
  if (!s) return nullptr;
  // New slabs only until half is there: a cache should not grow because a sheaf could be fuller.
  s->size = refill(n, r, s->object(), s->capacity, (s->capacity + 1) / 2);
  if (s->size) return internal::bump(counters_.refills), s;
  put_empty(n, s);
  return nullptr;
}

template <Kernel K, LockPolicy L>
unsigned BasicKmemCache<K, L>::refill(Node& n, const Request& r, void** out, unsigned want,
                                      unsigned least) noexcept {
  unsigned got = 0;
  {
    Guard g(n.list_lock, irq_save);
    while (got < want && !n.partial.empty()) out[got++] = take_locked(n);
  }
  while (got < least) {
    Page* const p = new_slab(r);
    if (!p) break;
    for (; got < want && freelist(*p); ++inuse(*p)) {
      Object* const link = freelist(*p);
      set_freelist(*p, link->next);
      out[got++] = object_of(link);
    }
    if (!freelist(*p)) continue;
    Guard g(node_of(*p).list_lock, irq_save);
    add_slab_locked(node_of(*p), *p);
  }
  return got;
}

// A sheaf with objects becomes this CPU's; interrupts and other tasks may have changed its sheaves
// since, and it may be another CPU. Limits of the barn are not looked at here.
template <Kernel K, LockPolicy L>
void BasicKmemCache<K, L>::install_full(Node& n, Sheaf* s) noexcept {
  {
    auto c = cpu_.template try_lock_here<&CpuSheaves::lock>(typename L::PcpTag{});
    if (c) {
      if (c->main->size == 0) {
        std::swap(c->main, s);
        if (s == &internal::no_sheaf) return;
        if (!c->spare) {
          c->spare = s;
          return;
        }
      } else if (!c->spare) {
        c->spare = s;
        return;
      } else if (c->spare->size == 0) {
        std::swap(c->spare, s);
      }
    }
  }
  if (s->size == 0)
    put_empty(n, s);
  else
    put_full(n, s);
}

// ---- the barn
// ----------------------------------------------------------------------------------------

// Gives `have` (an empty one for a full one, or the reverse) and returns the other; null if the
// barn has none, or no room, or is busy. The local lock is held.
template <Kernel K, LockPolicy L>
internal::Sheaf* BasicKmemCache<K, L>::barn_swap(Node& n, Sheaf* have, Want want,
                                                 bool may_spin) noexcept NESTLOCK_NO_TSA {
  Sheaf*& from = want == Want::full ? n.full : n.empty;
  Sheaf*& to = want == Want::full ? n.empty : n.full;
  auto& nr_from = want == Want::full ? n.nr_full : n.nr_empty;
  auto& nr_to = want == Want::full ? n.nr_empty : n.nr_full;
  if (nr_from.load(internal::kRelaxed) == 0) return nullptr;  // a look without the lock
  auto swap = [&]() -> Sheaf* {
    if (!from || (want == Want::empty && nr_to.load(internal::kRelaxed) >= kMaxFull))
      return nullptr;
    Sheaf* const s = from;
    from = s->next;
    nr_from.store(nr_from.load(internal::kRelaxed) - 1, internal::kRelaxed);
    if (have != &internal::no_sheaf) {
      have->next = to;
      to = have;
      nr_to.store(nr_to.load(internal::kRelaxed) + 1, internal::kRelaxed);
    }
    internal::bump(want == Want::full ? counters_.barn_gets : counters_.barn_puts);
    return s;
  };
  if (may_spin) {
    Guard g(n.barn_lock, irq_save);
    return swap();
  }
  TryGuard g(n.barn_lock, irq_save);
  if (!g) return internal::bump(counters_.barn_busy), nullptr;
  return swap();
}

template <Kernel K, LockPolicy L>
void BasicKmemCache<K, L>::put_empty(Node& n, Sheaf* s) noexcept {
  Guard g(n.barn_lock, irq_save);
  s->next = n.empty;
  n.empty = s;
  n.nr_empty.store(n.nr_empty.load(internal::kRelaxed) + 1, internal::kRelaxed);
}

template <Kernel K, LockPolicy L>
void BasicKmemCache<K, L>::put_full(Node& n, Sheaf* s) noexcept {
  Guard g(n.barn_lock, irq_save);
  s->next = n.full;
  n.full = s;
  n.nr_full.store(n.nr_full.load(internal::kRelaxed) + 1, internal::kRelaxed);
}

// From the barn, or new memory. No lock held; may spin.
template <Kernel K, LockPolicy L>
internal::Sheaf* BasicKmemCache<K, L>::empty_sheaf(Node& n) noexcept {
  if (n.nr_empty.load(internal::kRelaxed)) {
    Guard g(n.barn_lock, irq_save);
    if (Sheaf* const s = n.empty) {
      n.empty = s->next;
      n.nr_empty.store(n.nr_empty.load(internal::kRelaxed) - 1, internal::kRelaxed);
      return s;
    }
  }
  SlabRefusal why{};
  void* const memory = sheaf_source_->alloc_slow(
      {gfp::nowait | gfp::nowarn, SlabAlloc::SLAB_ALLOC_NO_RECURSE, kAnyNode}, &why);
  if (!memory) return nullptr;
  internal::bump(counters_.sheaf_allocs);
  return ::new (memory) Sheaf{0, capacity_, nullptr};
}

// ---- the list
// ----------------------------------------------------------------------------------------

template <Kernel K, LockPolicy L>
void* BasicKmemCache<K, L>::take_locked(Node& n) noexcept {
  Page& p = *pages_->page_at(n.partial.first());
  Object* const link = freelist(p);
  set_freelist(p, link->next);
  ++inuse(p);
  if (!freelist(p)) {
    n.partial.remove(pages_->descriptors(), n.partial.first());
    on_list(p) = kOff;
    --n.nr_partial;
  }
  return object_of(link);
}

// The last object of a slab beyond min_partial takes the slab off; it is chained to `empty`, for
// discard() after the lock.
template <Kernel K, LockPolicy L>
void BasicKmemCache<K, L>::give_locked(Node& n, Page& p, void* object, Page*& empty) noexcept {
  Object* const link = link_of(object);
  link->next = freelist(p);
  set_freelist(p, link);
  --inuse(p);
  if (on_list(p) == kOrphan) return;  // whoever settles it looks again
  if (inuse(p) == 0 && n.nr_partial >= min_partial_) {
    if (on_list(p) == kPartial) {
      n.partial.remove(pages_->descriptors(), pages_->index_of(&p));
      --n.nr_partial;
    }
    on_list(p) = kOff;
    chain_empty(p, empty);
  } else if (on_list(p) == kOff) {
    add_slab_locked(n, p);
  }
}

template <Kernel K, LockPolicy L>
void BasicKmemCache<K, L>::add_slab_locked(Node& n, Page& p) noexcept {
  n.partial.push(pages_->descriptors(), pages_->index_of(&p));
  on_list(p) = kPartial;
  ++n.nr_partial;
}

template <Kernel K, LockPolicy L>
void BasicKmemCache<K, L>::settle_locked(Node& n, Page*& empty) noexcept {
  if (n.orphans.empty()) return;
  for (auto i = n.orphans.take_all(); i != Page::kNil;) {
    Page& p = *pages_->page_at(i);
    i = p.next;
    n.nr_orphans.fetch_sub(1, internal::kRelaxed);
    on_list(p) = kOff;
    if (inuse(p) == 0 && n.nr_partial >= min_partial_) {
      chain_empty(p, empty);
    } else {
      add_slab_locked(n, p);
    }
  }
}

// Gives empty slabs back to the page floor; they are on no list. No lock held.
template <Kernel K, LockPolicy L>
void BasicKmemCache<K, L>::discard(Page* chain, bool may_spin) noexcept {
  while (chain) {
    Page* const p = chain;
    chain = next_empty(*p);
    const unsigned order = p->order();
    for (unsigned i = 0; i < (1u << order); ++i) p[i].kind = 0;
    internal::bump(counters_.discarded_slabs);
    if (may_spin)
      pages_->free_pages(p, order);
    else
      pages_->free_pages_nolock(p, order);
  }
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
  auto take = [&] {
    Object* const link = freelist(*p);
    set_freelist(*p, link->next);
    ++inuse(*p);
    return object_of(link);
  };
  void* const object = take();
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
  {
    auto c = cpu_.template try_lock_here<&CpuSheaves::lock>(typename L::PcpTag{});
    if (c && sheaf_source_ && pages_->nodes() == 1)
      while (freelist(*p) && c->main->size < c->main->capacity)
        c->main->object()[c->main->size++] = take();
    // While nobody can have these objects yet: who frees one leaves an orphan where it is.
    orphan = freelist(*p) != nullptr;
    on_list(*p) = orphan ? kOrphan : kOff;
  }
  if (!orphan) return n.nr_orphans.fetch_sub(1, internal::kRelaxed), object;
  internal::bump(counters_.orphans);
  n.orphans.push(pages_->index_of(p), pages_->links());
  attention_.fetch_or(kUnsettled, internal::kRelaxed);
  return object;
}

// All objects free, on no list, known to nobody yet. The preferred order, else the smallest.
template <Kernel K, LockPolicy L>
BasicPage<K>* BasicKmemCache<K, L>::new_slab(const Request& r) noexcept {
  const gfp flags = (r.flags & ~gfp::zero) | gfp::comp;
  auto pages = [&](unsigned order) -> Page* {
    return r.may_spin() ? pages_->alloc_pages(flags, order, r.node)
                        : pages_->alloc_pages_nolock(
                              flags & (gfp::comp | gfp::nowarn | gfp::thisnode), order, r.node);
  };
  Page* p = pages(order_);
  if (!p && order_ != min_order_) p = pages(min_order_);
  if (!p) return nullptr;
  const unsigned order = p->order();
  for (unsigned i = 0; i < (1u << order); ++i) {
    p[i].owner = this;
    p[i].kind = kSlab;
  }
  const std::uintptr_t count = (kPageSize << order) / stride_;
  char* const first = static_cast<char*>(pages_->address(p));
  Object* next = nullptr;
  for (std::uintptr_t i = count; i-- > 0;) {
    char* const object = first + i * stride_ + lead_;
    if (debugged()) debug_new(object);
    if (ctor_) ctor_(object);
    Object* const link = link_of(object);
    link->next = next;
    next = link;
  }
  set_freelist(*p, next);
  inuse(*p) = 0;
  on_list(*p) = kOff;
  objects(*p) = count;
  internal::bump(counters_.new_slabs);
  return p;
}

// ---- free
// --------------------------------------------------------------------------------------------

template <Kernel K, LockPolicy L>
inline BasicPage<K>& BasicKmemCache<K, L>::slab_of(void* object) noexcept {
  return *pages_->head_of(pages_->page_of(object));
}

template <Kernel K, LockPolicy L>
typename BasicKmemCache<K, L>::Node& BasicKmemCache<K, L>::home(int node) noexcept {
  const unsigned nodes = pages_->nodes();
  if (node >= 0) return node_[static_cast<unsigned>(node) % nodes];
  return node_[nodes == 1 ? 0 : K::Port::cpu_id() % nodes];
}

template <Kernel K, LockPolicy L>
inline bool BasicKmemCache<K, L>::free(void* object, Place where) noexcept {
  return free_with(object, true, "free", where);
}

template <Kernel K, LockPolicy L>
inline bool BasicKmemCache<K, L>::free_nolock(void* object, Place where) noexcept {
  return free_with(object, false, "free_nolock", where);
}

template <Kernel K, LockPolicy L>
inline bool BasicKmemCache<K, L>::free_with(void* object, bool may_spin, const char* call,
                                            Place where) noexcept {
  Page* const p = pages_->page_of(object);
  if (!p || p->kind != kSlab || p->owner != this) [[unlikely]] {
    internal::bump(counters_.bad_frees);
    Track* track = nullptr;  // of the cache that it is really of
    if (p && p->kind == kSlab && static_cast<BasicKmemCache*>(p->owner)->debugged())
      track = static_cast<BasicKmemCache*>(p->owner)->track_of(object);
    report(Finding::foreign_pointer, call, object, where, track);
    return false;
  }
  const std::uint32_t attention = attention_.load(internal::kRelaxed);
  if (attention) [[unlikely]]
    if (attention & kDebugged && !debug_free(object, call, where))
      return internal::bump(counters_.bad_frees), false;
  const bool local = pages_->nodes() == 1 || &node_of(*p) == &home(kAnyNode);
  if (may_spin) {
    check_may_sleep(call, where);
    if (local && !attention) [[likely]]
      if (push_here(object)) [[likely]]
        return true;
    settle();
    return (local && sheaf_source_ && free_to_sheaf(object, true)) || free_to_slab(object, true);
  }
  if (L::may_try()) {
    if (local && sheaf_source_ && (push_here(object) || free_to_sheaf(object, false))) return true;
    if (free_to_slab(object, false)) return true;
  }
  defer(object);
  return true;
}

// ---- prefilled sheaves
// -------------------------------------------------------------------------------

template <Kernel K, LockPolicy L>
internal::Sheaf* BasicKmemCache<K, L>::prefill_sheaf(gfp flags, unsigned n) noexcept {
  const Request r{flags, SlabAlloc::SLAB_ALLOC_DEFAULT, kAnyNode};
  Node& node = home(kAnyNode);
  Sheaf* s = nullptr;
  if (n <= capacity_) {
    s = empty_sheaf(node);
  } else if (void* const memory = slabs_->kmalloc(sizeof(Sheaf) + n * sizeof(void*), flags)) {
    s = ::new (memory) Sheaf{0, n, nullptr};
  }
  if (!s) return nullptr;
  s->size = refill(node, r, s->object(), s->capacity, n);
  if (s->size >= n) return s;
  return_sheaf(s);
  return nullptr;
}

template <Kernel K, LockPolicy L>
void* BasicKmemCache<K, L>::alloc_from_sheaf(Sheaf* s, gfp flags) noexcept {
  if (s->size == 0) return nullptr;
  internal::bump(counters_.refill_allocs);
  void* const o = s->object()[--s->size];
  return finish(debugged() ? debug_alloc(o, "alloc_from_sheaf", Place::here()) : o, flags);
}

template <Kernel K, LockPolicy L>
void BasicKmemCache<K, L>::return_sheaf(Sheaf* s) noexcept {
  Node& n = home(kAnyNode);
  const bool ours = s->capacity == capacity_;
  if (ours && s->size && n.nr_full.load(internal::kRelaxed) < kMaxFull) return put_full(n, s);
  if (s->size) flush(*s);
  if (ours)
    put_empty(n, s);
  else
    slabs_->kfree(s);
}

// Main is full, or was: spare, barn, an empty sheaf in its place. False: nothing of that worked.
template <Kernel K, LockPolicy L>
bool BasicKmemCache<K, L>::free_to_sheaf(void* object, bool may_spin) noexcept {
  Sheaf* to_flush = nullptr;
  {
    auto c = cpu_.template try_lock_here<&CpuSheaves::lock>(typename L::PcpTag{});
    if (!c) return internal::bump(counters_.local_busy), false;
    Node& n = home(kAnyNode);
    if (c->main->size == c->main->capacity) {
      if (c->spare && c->spare->size < c->spare->capacity) {
        std::swap(c->main, c->spare);
        internal::bump(counters_.spare_swaps);
      } else if (Sheaf* const s = barn_swap(n, c->main, Want::empty, may_spin)) {
        c->main = s;
      } else if (may_spin && c->spare) {
        to_flush = c->spare;
        c->spare = nullptr;
      }
    }
    if (c->main->size < c->main->capacity) {
      internal::bump_locked(c->frees);
      c->main->object()[c->main->size++] = object;
      return true;
    }
  }
  if (!may_spin) return false;
  Node& n = home(kAnyNode);
  if (to_flush) flush(*to_flush);
  Sheaf* empty = to_flush ? to_flush : empty_sheaf(n);
  if (!empty) return false;
  bool done = false;
  {
    auto c = cpu_.template try_lock_here<&CpuSheaves::lock>(typename L::PcpTag{});
    if (c) {
      if (c->main->size == c->main->capacity && (!c->spare || c->main == &internal::no_sheaf)) {
        if (c->main != &internal::no_sheaf) c->spare = c->main;
        c->main = empty;
        empty = nullptr;
      }
      if (c->main->size < c->main->capacity) {
        internal::bump_locked(c->frees);
        c->main->object()[c->main->size++] = object;
        done = true;
      }
    }
  }
  if (empty) put_empty(n, empty);
  return done;
}

template <Kernel K, LockPolicy L>
bool BasicKmemCache<K, L>::free_to_slab(void* object, bool may_spin) noexcept {
  Page& p = slab_of(object);
  Node& n = node_of(p);
  Page* empty = nullptr;
  if (may_spin) {
    Guard g(n.list_lock, irq_save);
    give_locked(n, p, object, empty);
  } else {
    TryGuard g(n.list_lock, irq_save);
    if (!g) return internal::bump(counters_.list_busy), false;
    n.list_lock.assert_held();
    give_locked(n, p, object, empty);
  }
  internal::bump(counters_.list_frees);
  discard(empty, may_spin);
  return true;
}

// Objects back to their slabs; nobody else has the sheaf. May spin.
template <Kernel K, LockPolicy L>
void BasicKmemCache<K, L>::flush(Sheaf& s) noexcept {
  internal::bump(counters_.flushes);
  for (unsigned i = 0; i < pages_->nodes(); ++i) {
    Node& n = node_[i];
    Page* empty = nullptr;
    {
      Guard g(n.list_lock, irq_save);
      for (unsigned k = 0; k < s.size; ++k) {
        Page& p = slab_of(s.object()[k]);
        if (&node_of(p) == &n) give_locked(n, p, s.object()[k], empty);
      }
    }
    discard(empty, true);
  }
  s.size = 0;
}

template <Kernel K, LockPolicy L>
void BasicKmemCache<K, L>::defer(void* object) noexcept {
  Object* const link = link_of(object);
  Object* first = deferred_.load(internal::kRelaxed);
  // release: pairs with the exchange in settle(); the drainer sees the link.
  do link->next = first;
  while (
      !deferred_.compare_exchange_weak(first, link, std::memory_order_release, internal::kRelaxed));
  internal::bump(counters_.deferred);
  attention_.fetch_or(kUnsettled, std::memory_order_release);
}

// What nolock calls left behind: deferred objects and orphaned slabs. May spin.
template <Kernel K, LockPolicy L>
void BasicKmemCache<K, L>::settle() noexcept {
  if (!(attention_.load(internal::kRelaxed) & kUnsettled)) [[likely]]
    return;
  // First the mark, then the lists: what comes in between marks again.
  attention_.fetch_and(~std::uint32_t{kUnsettled}, std::memory_order_acquire);
  for (Object* link = deferred_.exchange(nullptr, std::memory_order_acquire); link;) {
    void* const object = object_of(link);
    link = link->next;
    internal::bump(counters_.settled);
    free_to_slab(object, true);
  }
  for (unsigned i = 0; i < pages_->nodes(); ++i) {
    Page* empty = nullptr;
    {
      Guard g(node_[i].list_lock, irq_save);
      settle_locked(node_[i], empty);
    }
    discard(empty, true);
  }
}

template <Kernel K, LockPolicy L>
bool BasicKmemCache<K, L>::fails_now() noexcept {
  const std::uint32_t k = fail_every_.load(internal::kRelaxed);
  return k && (fail_turn_.fetch_add(1, internal::kRelaxed) + 1) % k == 0;
}

template <Kernel K, LockPolicy L>
void BasicKmemCache<K, L>::fail_every(std::uint32_t k) noexcept {
  fail_every_.store(k, internal::kRelaxed);
  if (k)
    attention_.fetch_or(kFailing, internal::kRelaxed);
  else
    attention_.fetch_and(~std::uint32_t{kFailing}, internal::kRelaxed);
}

// PREEMPT_RT: the locks of a spinning call sleep, which a raw lock's holder must not. (What asks
// not to be made to wait is alloc_nolock(), not some combination of gfp flags.)
template <Kernel K, LockPolicy L>
inline void BasicKmemCache<K, L>::check_may_sleep(const char* call, Place where) noexcept {
  if constexpr (K::kConfig.debug && K::kConfig.preempt_rt && requires { K::Port::preempt_count(); })
    if (K::Port::preempt_count()) report(Finding::wrong_context, call, nullptr, where);
}

// ---- bulk, upkeep, life
// ------------------------------------------------------------------------------

template <Kernel K, LockPolicy L>
std::size_t BasicKmemCache<K, L>::alloc_bulk(gfp flags, std::size_t n, void** objects) noexcept {
  for (std::size_t i = 0; i < n; ++i) {
    objects[i] = alloc(flags);
    if (!objects[i]) return free_bulk(i, objects), 0;
  }
  return n;
}

template <Kernel K, LockPolicy L>
void BasicKmemCache<K, L>::free_bulk(std::size_t n, void** objects) noexcept {
  for (std::size_t i = 0; i < n; ++i) free(objects[i]);
}

template <Kernel K, LockPolicy L>
void BasicKmemCache<K, L>::flush_cpu() noexcept {
  Sheaf* mine[2] = {nullptr, nullptr};
  {
    auto c = cpu_.template try_lock_here<&CpuSheaves::lock>(typename L::PcpTag{});
    if (!c) return;
    mine[0] = c->main == &internal::no_sheaf ? nullptr : c->main;
    mine[1] = c->spare;
    c->main = &internal::no_sheaf;
    c->spare = nullptr;
  }
  Node& n = home(kAnyNode);
  for (Sheaf* const s : mine) {
    if (!s) continue;
    if (s->size && n.nr_full.load(internal::kRelaxed) < kMaxFull) {
      put_full(n, s);
      continue;
    }
    if (s->size) flush(*s);
    put_empty(n, s);
  }
}

// This CPU's and the barn's sheaves are emptied and given back; empty slabs go, too.
template <Kernel K, LockPolicy L>
void BasicKmemCache<K, L>::shrink() noexcept {
  Sheaf* chain = nullptr;
  auto add = [&](Sheaf* s) {
    if (!s || s == &internal::no_sheaf) return;
    s->next = chain;
    chain = s;
  };
  {
    auto c = cpu_.template try_lock_here<&CpuSheaves::lock>(typename L::PcpTag{});
    if (c) {
      add(c->spare), add(c->main);
      c->spare = nullptr;
      c->main = &internal::no_sheaf;
    }
  }
  for (unsigned i = 0; i < pages_->nodes(); ++i) {
    Node& n = node_[i];
    Guard g(n.barn_lock, irq_save);
    for (Sheaf** const list : {&n.full, &n.empty}) {
      for (Sheaf* s = *list; s;) {
        Sheaf* const next = s->next;
        add(s);
        s = next;
      }
      *list = nullptr;
    }
    n.nr_full.store(0, internal::kRelaxed);
    n.nr_empty.store(0, internal::kRelaxed);
  }
  while (chain) {
    Sheaf* const s = chain;
    chain = s->next;
    if (s->size) flush(*s);
    sheaf_source_->free_to_slab(s, true);
  }
  settle();
  for (unsigned i = 0; i < pages_->nodes(); ++i) {
    Node& n = node_[i];
    Page* empty = nullptr;
    {
      Guard g(n.list_lock, irq_save);
      for (auto at = n.partial.first(); at != Page::kNil;) {
        Page& p = *pages_->page_at(at);
        const auto next = p.next;
        if (inuse(p) == 0) {
          n.partial.remove(pages_->descriptors(), at);
          --n.nr_partial;
          on_list(p) = kOff;
          chain_empty(p, empty);
        }
        at = next;
      }
    }
    discard(empty, true);
  }
}

template <Kernel K, LockPolicy L>
bool BasicKmemCache<K, L>::set_up(Slabs& slabs, const char* name, std::size_t size,
                                  std::size_t align, slab flags, Constructor ctor,
                                  unsigned capacity) noexcept {
  if (size == 0 || size > (kPageSize << 3) || (align & (align - 1)) || align > kPageSize)
    return false;
  if (align < alignof(void*)) align = alignof(void*);
  slabs_ = &slabs;
  pages_ = slabs.pages_;
  name_ = name;
  ctor_ = ctor;
  object_size_ = static_cast<std::uint32_t>(size);
  // A constructed object keeps its contents while it is free: its link lies behind it.
  link_offset_ = ctor ? static_cast<std::uint32_t>((size + 7) & ~std::size_t{7}) : 0;
  std::size_t whole = ctor ? link_offset_ + sizeof(Object) : size;
  if (flags == slab::debug) {
    // [red zone][object][red zone][link][track], the object aligned.
    lead_ = static_cast<std::uint32_t>(align < 16 ? 16 : align);
    link_offset_ = static_cast<std::uint32_t>((size + 15) & ~std::size_t{7});
    whole = lead_ + link_offset_ + sizeof(Object) + sizeof(Track);
    attention_.fetch_or(kDebugged, internal::kRelaxed);
  }
  stride_ = static_cast<std::uint32_t>((whole + align - 1) & ~(align - 1));
  min_order_ = 0;
  while ((kPageSize << min_order_) < stride_) ++min_order_;
  order_ = min_order_;
  while (order_ < 3 && (kPageSize << order_) / stride_ < 8) ++order_;
  if (flags == slab::none) {
    if (!capacity) capacity = size >= 1024 ? 14 : size >= 256 ? 30 : 62;
    const unsigned which = capacity <= 14 ? 0 : capacity <= 30 ? 1 : 2;
    sheaf_source_ = &slabs.sheaf_caches_[which];
    capacity_ = which == 0 ? 14 : which == 1 ? 30 : 62;
  }
  return true;
}

template <Kernel K, LockPolicy L>
SlabStats BasicKmemCache<K, L>::stats() const noexcept {
  SlabStats s{};
  const auto& c = counters_;
  auto now = [](const auto& counter) { return std::uintptr_t{counter.load(internal::kRelaxed)}; };
  for (unsigned i = 0; i < decltype(cpu_)::size(); ++i)
    s.fast_allocs += now(cpu_.on(i).allocs), s.fast_frees += now(cpu_.on(i).frees);
  s.list_allocs = now(c.list_allocs), s.list_frees = now(c.list_frees);
  s.refill_allocs = now(c.refill_allocs), s.new_slab_allocs = now(c.new_slab_allocs);
  s.refills = now(c.refills), s.flushes = now(c.flushes);
  s.spare_swaps = now(c.spare_swaps), s.barn_gets = now(c.barn_gets);
  s.barn_puts = now(c.barn_puts), s.sheaf_allocs = now(c.sheaf_allocs);
  s.new_slabs = now(c.new_slabs), s.discarded_slabs = now(c.discarded_slabs);
  s.orphans = now(c.orphans), s.deferred = now(c.deferred), s.settled = now(c.settled);
  s.failures = now(c.failures), s.bad_frees = now(c.bad_frees);
  for (unsigned i = 0; i < kSlabRefusals; ++i) s.refusals[i] = now(c.refusals[i]);
  s.local_busy = now(c.local_busy), s.barn_busy = now(c.barn_busy), s.list_busy = now(c.list_busy);
  s.slabs = s.new_slabs - s.discarded_slabs;
  return s;
}

template <Kernel K, LockPolicy L>
bool BasicKmemCache<K, L>::consistent(std::uintptr_t* objects_out) noexcept {
  settle();
  std::uintptr_t cached = 0, used = 0, slabs_seen = 0;
  auto count = [&](Sheaf* s) {
    for (; s && s != &internal::no_sheaf; s = s->next) {
      if (s->size > s->capacity) return false;
      cached += s->size;
    }
    return true;
  };
  for (unsigned i = 0; i < decltype(cpu_)::size(); ++i) {
    Sheaf* const m = cpu_.on(i).main;
    Sheaf* const s = cpu_.on(i).spare;
    if (m->size > m->capacity || (s && s->size > s->capacity)) return false;
    cached += m->size + (s ? s->size : 0);
  }
  for (unsigned i = 0; i < pages_->nodes(); ++i) {
    Node& n = node_[i];
    if (!count(n.full) || !count(n.empty)) return false;
    std::uint32_t nr = 0;
    for (auto at = n.partial.first(); at != Page::kNil; at = pages_->page_at(at)->next)
      if (++nr > n.nr_partial || on_list(*pages_->page_at(at)) != kPartial) return false;
    if (nr != n.nr_partial) return false;
  }
  for (std::uintptr_t i = 0; i < pages_->pages(); ++i) {
    Page& p = *pages_->page_at(static_cast<std::uint32_t>(i));
    if (p.kind != kSlab || p.owner != this || p.state() != PageState::used) continue;
    ++slabs_seen;
    used += inuse(p);
    std::uintptr_t n = inuse(p);
    for (Object* o = freelist(p); o; o = o->next) {
      Page* const of = pages_->head_of(pages_->page_of(o));
      if (of != &p || ++n > objects(p)) return false;
    }
    if (n != objects(p)) return false;
  }
  if (slabs_seen != stats().slabs || used < cached) return false;
  if (objects_out) *objects_out = used - cached;
  return true;
}

}  // namespace nestlock
