// The lean form's allocations and frees, of a cache and of kmalloc's: no sheaf, and nothing that is only the faster
// way. Included by slab.h.
#pragma once

#include "nestlock/slab.h"

namespace nestlock {

// Links a new slab's objects: all of them, at most as many as a page has of the smallest.
template <Kernel K, LockPolicy L>
void BasicKmemCache<K, L>::link_all(Page& p) noexcept
  requires(internal::kLeanOf<K>)
{
  Object* next = nullptr;
  for (unsigned i = objects(p); i-- > 0;) {
    Object* const link =
        link_of(static_cast<char*>(pages_->address(&p)) + std::size_t{i} * stride_);
    link->next = next;
    next = link;
  }
  set_freelist(p, next);
}

// Both allocations of the lean form: the list, else a new slab.
template <Kernel K, LockPolicy L>
[[gnu::noinline]] void* BasicKmemCache<K, L>::alloc_lean(gfp flags, SlabAlloc alloc_flags, int node,
                                                         SlabRefusal* why) noexcept
  requires(internal::kLeanOf<K>)
{
  const Request r{flags, alloc_flags, node};
  SlabRefusal reason{};
  void* o = nullptr;
  if (!r.may_spin() && !L::may_try()) {
    reason = SlabRefusal::gate;
  } else if (!pages_ || node > 0) {
    reason = SlabRefusal::no_pages;
  } else {
    if (r.may_spin()) settle_some(kSettledAtOnce, true);
    o = alloc_from_list(r, reason);
    if (!o) o = alloc_from_new_slab(r, reason);
    // (Where the list was busy it still is.)
    if (!r.may_spin() && o && reason == SlabRefusal::none) settle_some(kSettledByNolock, false);
  }
  if (why) *why = o ? SlabRefusal::none : reason;
  return finish(given(o), object_size_, flags);
}

// Both frees of the lean form. `p` is a page of the object's slab.
template <Kernel K, LockPolicy L>
[[gnu::noinline]] bool BasicKmemCache<K, L>::free_lean(Page& p, void* object, bool may_spin,
                                                       const char* call, Place where) noexcept
  requires(internal::kLeanOf<K>)
{
  if (!is_object(p, object)) return refuse_free(Finding::foreign_pointer, object, call, where);
  taken(object);
  if (may_spin) settle_some(kSettledAtOnce, true);
  const Given g = may_spin || L::may_try() ? free_to_slab(object, may_spin) : Given::busy;
  if (g == Given::taken) {
    if (!may_spin) settle_some(kSettledByNolock, false);
    return true;
  }
  if (g == Given::busy && defer(object)) return true;
  return refuse_free(Finding::double_free, object, call, where);
}

// Every kmalloc() of the lean form.
template <Kernel K, LockPolicy L, class C>
[[gnu::noinline]] void* BasicSlabAllocator<K, L, C>::kmalloc_lean(std::size_t size, gfp flags,
                                                                  SlabAlloc alloc_flags, int node,
                                                                  SlabRefusal* why) noexcept
  requires(internal::kLeanOf<K>)
{
  if constexpr (!kLean) {  // (clang 14 compiles it anyhow)
    return {};
  } else {
    if (size == 0) return kZeroSize;
    const bool may_spin = alloc_flags == SlabAlloc::spinning;
    if (size > kLargestClass) {
      if (why) *why = SlabRefusal::size;
      return may_spin && node <= 0 ? alloc_large(size, flags, Place::here()) : nullptr;
    }
    const unsigned i = Table::index_of(size);
    void* const p = classes_[i].alloc_lean(flags, alloc_flags, node, why);
    if (p || may_spin) return p;
    // This CPU may be inside this class's locks; hardly inside the next one's, too. Once.
    const unsigned next = next_index(size);
    return next == kClasses ? p : classes_[next].alloc_lean(flags, alloc_flags, node, why);
  }
}

// And every free.
template <Kernel K, LockPolicy L, class C>
[[gnu::noinline]] bool BasicSlabAllocator<K, L, C>::kfree_lean(void* p, bool may_spin,
                                                               Place where) noexcept
  requires(internal::kLeanOf<K>)
{
  if constexpr (!kLean) {  // (clang 14 compiles it anyhow)
    return {};
  } else {
    Page* const page = pages_ ? pages_->page_of(p) : nullptr;
    if (page && page->kind == Cache::kSlab)
      return static_cast<Cache*>(page->owner)
          ->free_lean(*page, p, may_spin, may_spin ? "kfree" : "kfree_nolock", where);
    return free_other(page, p, may_spin, where);
  }
}

}  // namespace nestlock
