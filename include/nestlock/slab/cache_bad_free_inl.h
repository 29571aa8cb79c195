// What a cache knows of a pointer that is freed, and what it does where that is none of its objects, or free
// already. Included by slab.h.
#pragma once

#include <cstdint>

#include "nestlock/slab.h"

namespace nestlock {

// Whether an object begins so far behind the first. (inverse_ is rounded up; of a multiple of stride_, below 2^32, the
// quotient is exact all the same, and that of anything else does not give it back.)
template <Kernel K, LockPolicy L>
inline bool BasicKmemCache<K, L>::begins_one(std::uint32_t at) const noexcept {
  if constexpr (kLean)
    return at % stride_ == 0;
  else
    return (std::uint64_t{at} * inverse_ >> 32) * stride_ == at;
}

template <Kernel K, LockPolicy L>
bool BasicKmemCache<K, L>::is_object(Page& p, const void* at) noexcept {
  Page& slab = *pages_->head_of(&p);
  // (A slab is smaller than 4 GiB, and what lies before it is not in it either.)
  const auto offset =
      static_cast<std::uint32_t>(reinterpret_cast<std::uintptr_t>(at) -
                                 reinterpret_cast<std::uintptr_t>(pages_->address(&slab)) - lead_);
  // (How many are linked only the list's lock tells.)
  return offset < objects(slab) * stride_ && begins_one(offset);
}

// Whether the object lies on top of one of this CPU's two sheaves. False also where they are busy: a look
// that has to wait is not worth it.
template <Kernel K, LockPolicy L>
bool BasicKmemCache<K, L>::is_in_sheaf(const void* object) noexcept
  requires(!internal::kLeanOf<K>)
{
  auto c = cpu_.template try_lock_here<&CpuSheaves::lock>(typename L::PcpTag{});
  if (!c || reach_.elsewhere()) return false;
  const auto on_top = [object](Sheaf* s, std::uintptr_t size) {
    return s && size && s->object()[size - 1] == object;
  };
  return on_top(c->main, c->in_main()) || on_top(c->spare, c->spare ? c->spare->size : 0);
}

template <Kernel K, LockPolicy L>
[[gnu::cold, gnu::noinline]] bool BasicKmemCache<K, L>::refuse_free(Finding f, void* object,
                                                                    const char* call,
                                                                    Place where) noexcept {
  internal::bump(counters_.bad_frees);
  report(f, call, object, where);
  return false;
}

// The same of what was found when sheaves or deferred objects went back to their slabs: long after the call.
template <Kernel K, LockPolicy L>
void BasicKmemCache<K, L>::refuse_free(const Refused& refused, const char* call) noexcept {
  if (!refused.many) return;
  internal::bump(counters_.bad_frees, refused.many);
  report(Finding::double_free, call, refused.last, Place::here());
}

template <Kernel K, LockPolicy L>
[[gnu::cold, gnu::noinline]] bool BasicKmemCache<K, L>::bad_free(void* object, const char* call,
                                                                 Place where) noexcept {
  internal::bump(counters_.bad_frees);
  Track* track = nullptr;  // of the cache that it is really of
  if constexpr (!kLean) {
    Page* const p = pages_->page_of(object);
    if (p && p->kind == kSlab && static_cast<BasicKmemCache*>(p->owner)->debugged())
      track = static_cast<BasicKmemCache*>(p->owner)->track_of(object);
  }
  report(Finding::foreign_pointer, call, object, where, track);
  return false;
}

}  // namespace nestlock
