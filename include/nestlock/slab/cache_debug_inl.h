// Debug caches: what is kept behind each object, and what is checked. Included by slab.h.
//
// Each check runs with no lock held, on an object that nobody else has: after it was taken, before
// it is given back. So it works in every context, and in nolock calls.
#pragma once

#include <algorithm>
#include <cstring>
#include <new>
#include <type_traits>

#include "nestlock/slab.h"

namespace nestlock {

// Null if `object` is not where an object of this cache begins.
template <Kernel K, LockPolicy L>
internal::SlabTrack<K>* BasicKmemCache<K, L>::track_of(const void* object) noexcept
  requires(!internal::kLeanOf<K>)
{
  Page& p = slab_of(const_cast<void*>(object));
  const auto at = reinterpret_cast<std::uintptr_t>(object) -
                  reinterpret_cast<std::uintptr_t>(pages_->address(&p)) - lead_;
  if (at % stride_ || at / stride_ >= objects(p)) return nullptr;
  auto* const o = static_cast<char*>(const_cast<void*>(object));
  return reinterpret_cast<Track*>(o + link_offset_ + sizeof(Object));
}

template <Kernel K, LockPolicy L>
std::size_t BasicKmemCache<K, L>::usable(const void* object) noexcept
  requires(!internal::kLeanOf<K>)
{
  if (!debugged()) return object_size_;
  const Track* const t = track_of(object);
  return t ? t->asked : 0;
}

// The size that is watched from now on. Returns where what is new begins.
template <Kernel K, LockPolicy L>
std::size_t BasicKmemCache<K, L>::resize(void* object, std::size_t size) noexcept
  requires(!internal::kLeanOf<K>)
{
  if (!debugged()) return size;
  Track& t = *track_of(object);
  const std::size_t old = t.asked;
  if (!zones_intact(object, old)) report(Finding::overflow, "krealloc", object, {}, &t);
  paint_zones(object, size);
  t.asked = static_cast<std::uint32_t>(size);
  return old < size ? old : size;
}

// Behind an object that is out its zone begins where the size that was asked for ends.
template <Kernel K, LockPolicy L>
void BasicKmemCache<K, L>::paint_zones(void* object, std::size_t size) noexcept
  requires(!internal::kLeanOf<K>)
{
  auto* const o = static_cast<unsigned char*>(object);
  std::memset(o - lead_, kRed, lead_);
  std::memset(o + size, kRed, link_offset_ - size);
}

template <Kernel K, LockPolicy L>
bool BasicKmemCache<K, L>::zones_intact(void* object, std::size_t size) noexcept
  requires(!internal::kLeanOf<K>)
{
  const auto* const o = static_cast<unsigned char*>(object);
  const auto red = [](unsigned char b) { return b == kRed; };
  return std::all_of(o - lead_, o, red) && std::all_of(o + size, o + link_offset_, red);
}

// In a new slab. A constructed object keeps what its constructor wrote: it is not poisoned.
template <Kernel K, LockPolicy L>
void BasicKmemCache<K, L>::debug_new(void* object) noexcept
  requires(!internal::kLeanOf<K>)
{
  paint_zones(object, object_size_);
  if (!ctor_) std::memset(object, kPoison, object_size_);
  ::new (static_cast<char*>(object) + link_offset_ + sizeof(Object)) Track;
}

template <Kernel K, LockPolicy L>
void* BasicKmemCache<K, L>::debug_alloc(void* object, std::size_t size, const char* call,
                                        Place where) noexcept
  requires(!internal::kLeanOf<K>)
{
  if (!object) return nullptr;
  Track& t = *track_of(object);
  const auto* const o = static_cast<unsigned char*>(object);
  if (!ctor_ && !std::all_of(o, o + object_size_, [](unsigned char b) { return b == kPoison; }))
    report(Finding::use_after_free, call, object, where, &t);
  if (!zones_intact(object, object_size_)) report(Finding::overflow, call, object, where, &t);
  paint_zones(object, size);
  t.asked = static_cast<std::uint32_t>(size);
  if constexpr (K::kConfig.debug) t.allocated = where;
  t.freed = {};
  t.state.store(Track::kOut, internal::kRelaxed);
  return object;
}

template <Kernel K, LockPolicy L>
bool BasicKmemCache<K, L>::debug_free(void* object, const char* call, Place where) noexcept
  requires(!internal::kLeanOf<K>)
{
  Track* const t = track_of(object);
  if (!t) return report(Finding::foreign_pointer, call, object, where), false;
  // By exchange: of two that free it at the same time one is told.
  if (t->state.exchange(Track::kFree, internal::kRelaxed) != Track::kOut)
    return report(Finding::double_free, call, object, where, t), false;
  if (!zones_intact(object, t->asked)) report(Finding::overflow, call, object, where, t);
  paint_zones(object, object_size_);
  if constexpr (K::kConfig.debug) t->freed = where;
  t->freed_in = K::Port::context();
  if (!ctor_) std::memset(object, kPoison, object_size_);
  return true;
}

template <Kernel K, LockPolicy L>
template <class F>
void BasicKmemCache<K, L>::each_object_out(F f) noexcept {
  each_slab([&](Page& p) {
    for (std::uintptr_t k = 0; k < objects(p); ++k) {
      char* const object = static_cast<char*>(pages_->address(&p)) + k * stride_ + lead_;
      Track* const t = track_of(object);
      if (t->is_out()) f(object, *t);
    }
    return true;
  });
}

// One report for each object that is out.
template <Kernel K, LockPolicy L>
void BasicKmemCache<K, L>::report_leaks(const char* call) noexcept
  requires(!internal::kLeanOf<K>)
{
  each_object_out([&](void* object, Track& t) { report(Finding::leaked, call, object, {}, &t); });
}

// Debug kernels report whatever cache it is, others what debug and hardened caches find.
template <Kernel K, LockPolicy L>
void BasicKmemCache<K, L>::report(Finding f, const char* call, const void* object, Place where,
                                  const Track* track) noexcept {
  if (!K::kConfig.debug && (kLean || (!track && !debugged() && !hardened()))) return;
  Report r;
  r.finding = f;
  r.config = K::kConfig;
  r.context = K::Port::context();
  r.cpu = K::Port::cpu_id();
  // kmalloc() and its kin are the allocator's, and what is of no cache is not said to be of one.
  const bool of_all = call[0] == 'k';
  r.type = of_all ? "SlabAllocator" : "KmemCache", r.call = call;
  r.detail = of_all && f == Finding::foreign_pointer ? nullptr : name_;
  r.lock = object;
  if constexpr (std::is_same_v<Place, nestlock::Place>) r.here = where;
  if (track) {
    r.born_at = track->allocated;
    r.taken_at = track->freed;
    r.taken_in = track->freed_in;
  }
  K::Port::report(r);
}

}  // namespace nestlock
