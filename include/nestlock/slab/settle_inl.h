// What nolock calls leave behind, deferred objects and orphaned slabs, and who brings it home. Included by slab.h.
#pragma once

#include "nestlock/slab.h"

namespace nestlock {

// False: it is free already, as far as can be told.
template <Kernel K, LockPolicy L>
bool BasicKmemCache<K, L>::defer(void* object) noexcept {
  Object* const link = link_of(object);
  Object* first = deferred_.load(internal::kRelaxed);
  if (first == link || !mark(link, true)) return false;
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
  Refused refused;
  while (backlog_ && most) {
    Node& n = node_of(slab_of(object_of(backlog_)));
    Page* empty = nullptr;
    if (!with_list(n, may_spin, [&] { most = settle_backlog_locked(n, most, empty, refused); }))
      break;
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
  refuse_free(refused, "kfree_nolock");
}

// The head of the backlog and what follows it on the same node, at most kSettledAtOnce objects, for irqs
// are masked meanwhile. Returns how many of `most` are left.
template <Kernel K, LockPolicy L>
unsigned BasicKmemCache<K, L>::settle_backlog_locked(Node& n, unsigned most, Page*& empty,
                                                     Refused& refused) noexcept {
  unsigned done = 0;
  for (; backlog_ && done < most && done < kSettledAtOnce; ++done) {
    void* object = object_of(backlog_);
    Page& p = slab_of(object);
    if (&node_of(p) != &n) break;
    backlog_ = backlog_->next;
    give_locked(n, p, &object, 1, empty, refused);
  }
  internal::bump_locked(counters_.settled, done);
  if (done) internal::bump(counters_.list_frees, done);
  return most - done;
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
