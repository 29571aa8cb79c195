// Sheaves that are filled beforehand, for callers who must not fail later. Included by slab.h.
#pragma once

#include <new>

#include "nestlock/slab.h"

namespace nestlock {

template <Kernel K, LockPolicy L>
internal::Sheaf* BasicKmemCache<K, L>::prefill_sheaf(gfp flags, unsigned n) noexcept
  requires(!internal::kLeanOf<K>)
{
  const Request r{flags, SlabAlloc::spinning, kAnyNode};
  Node& node = home(kAnyNode);
  Sheaf* s = nullptr;
  if (sheaf_source_ && n <= capacity_) {
    s = empty_sheaf(node);
  } else {
    unsigned order = 0;
    while (order <= kMaxOrder && (kPageSize << order) < sizeof(Sheaf) + n * sizeof(void*)) ++order;
    if (Page* const p = pages_->alloc_pages(flags & ~gfp::zero, order))
      s = ::new (pages_->address(p)) Sheaf{0, n, nullptr};
  }
  if (!s) return nullptr;
  s->size = refill(node, r, s->object(), s->capacity, n);
  if (s->size >= n) return s;
  return_sheaf(s);
  return nullptr;
}

template <Kernel K, LockPolicy L>
void* BasicKmemCache<K, L>::alloc_from_sheaf(Sheaf* s, gfp flags) noexcept
  requires(!internal::kLeanOf<K>)
{
  if (s->size == 0) return nullptr;
  internal::bump(counters_.refill_allocs);
  void* const o = given(s->object()[--s->size]);
  return finish(
      debugged() ? debug_alloc(o, object_size_, "alloc_from_sheaf", Place::here()) : goes_out(o),
      object_size_, flags);
}

template <Kernel K, LockPolicy L>
void BasicKmemCache<K, L>::return_sheaf(Sheaf* s) noexcept
  requires(!internal::kLeanOf<K>)
{
  if (!s) return;
  Node& n = home(kAnyNode);
  const bool ours = sheaf_source_ && s->capacity == capacity_;
  if (ours && s->size && n.nr_full.load(internal::kRelaxed) < kMaxFull) return put_full(n, s);
  if (s->size) flush(*s);
  if (ours) return put_empty(n, s);
  Page* const p = pages_->page_of(s);
  pages_->free_pages(p, p->order());
}

}  // namespace nestlock
