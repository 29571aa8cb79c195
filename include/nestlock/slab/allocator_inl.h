// The bodies of BasicSlabAllocator. Included by slab.h.
#pragma once

#include <bit>
#include <cstring>
#include <new>

#include "nestlock/config/text.h"
#include "nestlock/slab.h"

namespace nestlock {

template <Kernel K, LockPolicy L, class C>
bool BasicSlabAllocator<K, L, C>::set_up(Pages& pages, slab flags) noexcept {
  if (pages_ || !internal::known(flags)) return false;
  pages_ = &pages;
  if constexpr (!kLean) {
    static constexpr const char* kSheafNames[4] = {"sheaf-128", "sheaf-256", "sheaf-512",
                                                   "sheaf-1k"};
    for (unsigned tag = 0; tag <= kClasses; ++tag) rows_.base[tag] = slots(tag).base();
    for (Cache& c : sheaf_caches_) c.cpu_ = slots(0);  // and never have any
    std::atomic_signal_fence(std::memory_order_release);
    for (unsigned i = 0; i < 4; ++i)
      sheaf_caches_[i].set_up(pages, nullptr, kSheafNames[i], 128u << i, 8, slab::no_sheaves,
                              nullptr, 0);
  } else if (flags == slab::debug) {
    return pages_ = nullptr, false;
  }
  for (unsigned i = 0; i < kClasses; ++i) {
    const std::uint32_t size = class_size(i);
    const bool power = (size & (size - 1)) == 0;
    if constexpr (kLean) {
      classes_[i].set_up(pages, nullptr, "kmalloc", size, power ? size : size & -size, flags,
                         nullptr, 0);
    } else {
      classes_[i].cpu_ = slots(i + 1);
      classes_[i].attention_ = &rows_.attention[i + 1];
      // A handler may come: whoever finds the cache set up finds its sheaves.
      std::atomic_signal_fence(std::memory_order_release);
      classes_[i].set_up(pages, sheaf_caches_, Table::kNames.of[i], size,
                         power ? size : size & -size, flags, nullptr, 0);
      classes_[i].tag_ = static_cast<std::uint8_t>(i + 1);
    }
  }
  reclaim_.slabs = this;
  reclaim_.shrink = [](Shrinker& s) noexcept {
    return static_cast<Reclaim&>(s).slabs->shrink_all() != 0;
  };
  pages.add_shrinker(reclaim_);
  if constexpr (!kLean) {
    tags_ = pages.tags();  // behind that call no compiler has it before the classes
    tagged_ = tags_.pages;
    decay_.slabs = this;
    decay_.change = [](DecayHook& h, bool waits) noexcept {
      for (Cache& c : static_cast<Decay&>(h).slabs->classes_)
        waits ? c.attention().fetch_or(Cache::kDecaying, internal::kRelaxed)
              : c.attention().fetch_and(~std::uint32_t{Cache::kDecaying}, internal::kRelaxed);
    };
    pages.set_decay_hook(decay_);
  }
  return true;
}

// The class that kmalloc_nolock() tries second; kClasses: there is none. A power of two is aligned
// naturally; in the classes between it would not be.
template <Kernel K, LockPolicy L, class C>
unsigned BasicSlabAllocator<K, L, C>::next_index(std::size_t size) noexcept {
  unsigned i = Table::index_of(size) + 1;
  if (std::has_single_bit(size))
    while (i < kClasses && !std::has_single_bit(class_size(i))) ++i;
  return i;
}

template <Kernel K, LockPolicy L, class C>
void* BasicSlabAllocator<K, L, C>::kmalloc_trying(std::size_t size, gfp flags, int node,
                                                  SlabRefusal* why, Place where) noexcept {
  if constexpr (kLean) return kmalloc_lean(size, flags, SlabAlloc::nolock, node, why);
  if (size == 0) return kZeroSize;
  if (size > kLargestClass) {
    if (why) *why = SlabRefusal::size;
    return nullptr;
  }
  const unsigned i = Table::index_of(size);
  void* const p =
      classes_[i].alloc_nolock_sized(slots(i + 1), attention(i + 1), size, flags, node, why, where);
  // This CPU may be inside this class's locks; hardly inside the next one's, too. Once.
  const unsigned next = next_index(size);
  if (p || next == kClasses) return p;
  return classes_[next].alloc_nolock_sized(slots(next + 1), attention(next + 1), size, flags, node,
                                           why, where);
}

// What the fast path left: a slab's object, null, kZeroSize, whole pages, or not ours. Tail-called.
template <Kernel K, LockPolicy L, class C>
[[gnu::noinline]] bool BasicSlabAllocator<K, L, C>::free_spinning(void* p,
                                                                  BasicSlabAllocator& slabs,
                                                                  Place where) noexcept
  requires(!internal::kLeanOf<K>)
{
  Page* const page = slabs.page_looked_for(p);
  if (page && page->kind == Cache::kSlab) [[likely]]
    return static_cast<Cache*>(page->owner)->free_spinning(*page, p, "kfree", where);
  return slabs.free_other(page, p, true, where);
}

template <Kernel K, LockPolicy L, class C>
[[gnu::noinline]] bool BasicSlabAllocator<K, L, C>::free_trying(void* p, BasicSlabAllocator& slabs,
                                                                Place where) noexcept
  requires(!internal::kLeanOf<K>)
{
  Page* const page = slabs.page_looked_for(p);
  if (page && page->kind == Cache::kSlab) [[likely]]
    return static_cast<Cache*>(page->owner)->free_trying(*page, p, "kfree_nolock", where);
  return slabs.free_other(page, p, false, where);
}

template <Kernel K, LockPolicy L, class C>
bool BasicSlabAllocator<K, L, C>::free_other(Page* page, void* p, bool may_spin,
                                             Place where) noexcept {
  if (reinterpret_cast<std::uintptr_t>(p) <= reinterpret_cast<std::uintptr_t>(kZeroSize))
    return true;
  if (page && page->kind == Cache::kLarge && pages_->address(page) == p) {
    [[maybe_unused]] const auto n = static_cast<std::uint32_t>(Cache::large_pages(*page));
    page->kind = 0;
    if constexpr (kLean) {
      const unsigned order = page->order();
      return may_spin ? pages_->free_pages(page, order, where)
                      : pages_->free_pages_nolock(page, order, where);
    } else {
      return may_spin ? pages_->free_pages_exact(page, n, where)
                      : pages_->free_pages_exact_nolock(page, n, where);
    }
  }
  if constexpr (!kLean)
    if (!page && larger_ && larger_->release(p)) return true;
  internal::bump(classes_[0].counters_.bad_frees);
  classes_[0].report(Finding::foreign_pointer, may_spin ? "kfree" : "kfree_nolock", p, where);
  return false;
}

// What is not ours is kfree()'s to report. An object may have been shrunk where it lay, by krealloc().
template <Kernel K, LockPolicy L, class C>
[[gnu::cold, gnu::noinline]] void BasicSlabAllocator<K, L, C>::check_size(void* p, std::size_t size,
                                                                          Place where) noexcept
  requires(!internal::kLeanOf<K>)
{
  Page* const page = pages_->page_of(p);
  Cache* of = &classes_[0];
  const typename Cache::Track* track = nullptr;
  bool right = true;
  if (p == kZeroSize) {
    right = size == 0;
  } else if (page && page->kind == Cache::kSlab) {
    of = static_cast<Cache*>(page->owner);
    if (of->debugged()) {
      track = of->track_of(p);
      right = !track || track->asked == size;
    } else if (of >= classes_ && of < classes_ + kClasses) {  // kmalloc_nolock() may take the next
      const auto i = static_cast<unsigned>(of - classes_);
      right = fits_in_place(size, of->object_size()) ||
              (size - 1 < kLargestClass && (i == Table::index_of(size) || i == next_index(size)));
    } else {
      right = of->object_size() == size;
    }
  } else if (page && page->kind == Cache::kLarge) {
    right = fits_in_place(size, Cache::large_pages(*page) * kPageSize) ||
            pages_for(size) == Cache::large_pages(*page);  // also of the reserve
  } else if (!page && larger_ && larger_->size_of(p)) {
    right = size <= larger_->size_of(p) && larger_->size_of(p) - size < kPageSize;
  }
  if (!right) of->report(Finding::wrong_size, "kfree_sized", p, where, track);
}

template <Kernel K, LockPolicy L, class C>
internal::SlabTrack<K>* BasicSlabAllocator<K, L, C>::debug_track(const void* p) noexcept
  requires(!internal::kLeanOf<K>)
{
  Page* const page = pages_ ? pages_->page_of(p) : nullptr;
  if (!page || page->kind != Cache::kSlab) return nullptr;
  Cache& of = *static_cast<Cache*>(page->owner);
  return of.debugged() ? of.track_of(p) : nullptr;
}

template <Kernel K, LockPolicy L, class C>
bool BasicSlabAllocator<K, L, C>::debug_resize(void* p, std::size_t size) noexcept
  requires(!internal::kLeanOf<K>)
{
  const typename Cache::Track* const t = debug_track(p);
  if (!t || !t->is_out()) return false;
  Cache& of = *static_cast<Cache*>(pages_->page_of(p)->owner);
  if (size > of.object_size()) return false;
  of.resize(p, size);
  return true;
}

template <Kernel K, LockPolicy L, class C>
template <class F>
void BasicSlabAllocator<K, L, C>::each_debug_object_out(F f) noexcept {
  for (Cache& c : classes_)
    if (c.debugged()) c.each_object_out(f);
}

// Out of line, so that kmalloc() saves no registers for it.
template <Kernel K, LockPolicy L, class C>
[[gnu::noinline]] void* BasicSlabAllocator<K, L, C>::alloc_large(std::size_t size, gfp flags,
                                                                 Place where) noexcept {
  if (is_larger(size)) return alloc_larger(size, kPageSize, flags);
  Page* p = nullptr;
  if constexpr (kLean)
    p = pages_->alloc_pages(flags & ~gfp::comp, order_for(size), kAnyNode, where);
  else
    p = pages_->alloc_pages_exact(flags, pages_for(size), kAnyNode, where);
  if (!p) return nullptr;
  p->kind = Cache::kLarge;
  if constexpr (!kLean) p->owner_count = pages_for(size);
  return pages_->address(p);
}

template <Kernel K, LockPolicy L, class C>
std::size_t BasicSlabAllocator<K, L, C>::ksize(const void* p) noexcept {
  if (reinterpret_cast<std::uintptr_t>(p) <= reinterpret_cast<std::uintptr_t>(kZeroSize)) return 0;
  Page* const page = pages_->page_of(p);
  if (!page) return !kLean && larger_ ? larger_->size_of(p) : 0;
  if (page->kind == Cache::kSlab) {
    Cache& of = *static_cast<Cache*>(page->owner);
    if constexpr (kLean)
      return of.is_object(*page, p) ? of.object_size() : 0;
    else
      return of.is_object(*page, p) ? of.usable(p) : 0;
  }
  return page->kind == Cache::kLarge && pages_->address(page) == p
             ? Cache::large_pages(*page) * kPageSize
             : 0;
}

template <Kernel K, LockPolicy L, class C>
void* BasicSlabAllocator<K, L, C>::krealloc(void* p, std::size_t size, gfp flags,
                                            Place where) noexcept {
  const std::size_t old = ksize(p);
  if (!old && reinterpret_cast<std::uintptr_t>(p) > reinterpret_cast<std::uintptr_t>(kZeroSize)) {
    classes_[0].report(Finding::foreign_pointer, "krealloc", p, where);
    return nullptr;
  }
  if constexpr (!kLean)  // what is free is poisoned up to its end, and stays so
    if (const typename Cache::Track* const t = debug_track(p); t && !t->is_out()) {
      Cache& of = *static_cast<Cache*>(pages_->page_of(p)->owner);
      internal::bump(of.counters_.bad_frees);
      of.report(Finding::double_free, "krealloc", p, where, t);
      return nullptr;
    }
  if (!kLean && old && !pages_->page_of(p)) {
    if constexpr (!kLean)
      if (void* const moved = resize_larger(p, size, flags)) return moved;
  } else if (old && resized_in_place(p, size, flags)) {
    return p;
  }
  void* const fresh = kmalloc(size, flags, where);
  if (!fresh) return nullptr;
  if (fresh != kZeroSize && old) std::memcpy(fresh, p, old < size ? old : size);
  kfree(p, where);
  return fresh;
}

// If kmalloc(size) would take the same class, or one larger than half of this object, and what it
// promises of the alignment holds here, too.
template <Kernel K, LockPolicy L, class C>
bool BasicSlabAllocator<K, L, C>::resized_in_place(void* p, std::size_t size, gfp flags) noexcept {
  Page* const page = pages_->page_of(p);
  Cache* const of = page->kind == Cache::kSlab ? static_cast<Cache*>(page->owner) : nullptr;
  if constexpr (!kLean)
    if (!of && size > kLargestClass && size <= kPageSize << kMaxOrder) {
      const auto had = static_cast<std::uint32_t>(Cache::large_pages(*page));
      const std::uint32_t n = pages_for(size);
      if (std::has_single_bit(size) && (reinterpret_cast<std::uintptr_t>(p) & (size - 1)))
        return false;
      if (n != had && !pages_->resize_exact(page, had, n)) return false;
      page->owner_count = n;
      const std::size_t from = n > had ? had * kPageSize : size;
      if (has(flags, gfp::zero)) std::memset(static_cast<char*>(p) + from, 0, n * kPageSize - from);
      return true;
    }
  const std::size_t room = of ? of->object_size() : Cache::large_pages(*page) * kPageSize;
  if (!fits_in_place(size, room)) return false;
  if (std::has_single_bit(size) && (reinterpret_cast<std::uintptr_t>(p) & (size - 1))) return false;
  std::size_t from = size;
  if constexpr (!kLean)
    if (of) from = of->resize(p, size);
  if (has(flags, gfp::zero)) {
    // Behind the new size, too, where nobody watches it: a later growth finds it zero.
    const std::size_t upto = of && of->debugged() ? size : room;
    if (from < upto) std::memset(static_cast<char*>(p) + from, 0, upto - from);
  }
  return true;
}

template <Kernel K, LockPolicy L, class C>
void* BasicSlabAllocator<K, L, C>::kmalloc_aligned(std::size_t size, std::size_t align, gfp flags,
                                                   Place where) noexcept {
  if (!std::has_single_bit(align)) return nullptr;
  if (size == 0) return kZeroSize;
  if (is_larger(align) || is_larger(size))
    return alloc_larger(size, align > kPageSize ? align : kPageSize, flags);
  // (What is pages is aligned as the power of two of pages that holds it.)
  if (align <= 8 || (size > kLargestClass && align <= size)) return kmalloc(size, flags, where);
  return kmalloc(std::bit_ceil(size < align ? align : size), flags, where);
}

template <Kernel K, LockPolicy L, class C>
std::size_t BasicSlabAllocator<K, L, C>::shrink_all() noexcept {
  std::size_t slabs = 0;
  auto shrink = [&](Cache& c) {
    const std::uintptr_t before = c.counters_.discarded_slabs.load(internal::kRelaxed);
    c.shrink();
    slabs += c.counters_.discarded_slabs.load(internal::kRelaxed) - before;
  };
  for (Cache& c : classes_) shrink(c);
  each_created([&](Cache& c) {
    shrink(c);
    return true;
  });
  for (Cache& c : sheaf_caches_) shrink(c);
  return slabs;
}

template <Kernel K, LockPolicy L, class C>
std::size_t BasicSlabAllocator<K, L, C>::trim() noexcept
  requires(!internal::kLeanOf<K>)
{
  if (!pages_) return 0;
  shrink_all();
  return pages_->trim();
}

template <Kernel K, LockPolicy L, class C>
bool BasicSlabAllocator<K, L, C>::settle() noexcept {
  bool none = true;
  for (Cache& c : classes_) none &= c.settle();
  for (Cache& c : sheaf_caches_) none &= c.settle();
  return none;
}

template <Kernel K, LockPolicy L, class C>
void BasicSlabAllocator<K, L, C>::flush_cpu() noexcept
  requires(!internal::kLeanOf<K>)
{
  for (Cache& c : classes_) c.flush_cpu();
  each_used_here([](Cache& c) { c.flush_cpu(); });
}

template <Kernel K, LockPolicy L, class C>
Floor BasicSlabAllocator<K, L, C>::interrupted() const noexcept {
  if (!pages_) return Floor::none;
  if (pages_->interrupted()) return Floor::page;
  for (const Cache& c : classes_)
    if (c.interrupted()) return Floor::slab;
  for (const Cache& c : sheaf_caches_)
    if (c.interrupted()) return Floor::slab;
  return Floor::none;
}

template <Kernel K, LockPolicy L, class C>
bool BasicSlabAllocator<K, L, C>::consistent() noexcept {
  for (Cache& c : classes_)
    if (!c.consistent()) return false;
  for (Cache& c : sheaf_caches_)
    if (!c.consistent()) return false;
  return true;
}

template <Kernel K, LockPolicy L, class C>
std::size_t BasicSlabAllocator<K, L, C>::slabinfo(char* out, std::size_t size) noexcept
  requires(!internal::kLeanOf<K>)
{
  internal::Text t(out, size);
  t.put("# name", 16)
      .put(
          "objsize   slabs  fast_allocs  fast_frees   list_allocs  list_frees"
          "  deferred  refused\n");
  auto row = [&](const Cache& c) {
    const SlabStats s = c.stats();
    std::uintptr_t refused = 0;
    for (std::uintptr_t r : s.refusals) refused += r;
    t.put(c.name(), 16).number(c.object_size(), 7).number(s.slabs, 8).number(s.fast_allocs, 13);
    t.number(s.fast_frees, 12).number(s.list_allocs, 14).number(s.list_frees, 12);
    t.number(s.deferred, 10).number(refused, 9).put("\n");
  };
  for (const Cache& c : classes_) row(c);
  for (const Cache& c : sheaf_caches_) row(c);
  each_created([&](const Cache& c) {
    row(c);
    return !t.full();
  });
  return t.length();
}

}  // namespace nestlock
