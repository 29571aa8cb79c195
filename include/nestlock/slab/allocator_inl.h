// The bodies of BasicSlabAllocator. Included by slab.h.
#pragma once

#include <bit>
#include <cstring>
#include <new>

#include "nestlock/config/text.h"
#include "nestlock/slab.h"

namespace nestlock {

template <Kernel K, LockPolicy L>
bool BasicSlabAllocator<K, L>::set_up(Pages& pages, slab flags) noexcept {
  if (pages_) return false;
  pages_ = &pages;
  static constexpr const char* kSheafNames[3] = {"sheaf-128", "sheaf-256", "sheaf-512"};
  static constexpr const char* kNames[kClasses] = {
      "kmalloc-8",   "kmalloc-16",  "kmalloc-32",  "kmalloc-64",  "kmalloc-96",
      "kmalloc-128", "kmalloc-192", "kmalloc-256", "kmalloc-512", "kmalloc-1k",
      "kmalloc-2k",  "kmalloc-4k",  "kmalloc-8k"};
  for (unsigned i = 0; i < 3; ++i)
    sheaf_caches_[i].set_up(*this, kSheafNames[i], 128u << i, 8, slab::no_sheaves, nullptr, 0);
  for (unsigned i = 0; i < kClasses; ++i) {
    const std::uint32_t size = class_size(i);
    const bool power = (size & (size - 1)) == 0;
    classes_[i].set_up(*this, kNames[i], size, power ? size : size & -size, flags, nullptr, 0);
  }
  reclaim_.slabs = this;
  reclaim_.shrink = [](Shrinker& s) noexcept {
    return static_cast<Reclaim&>(s).slabs->shrink_all() != 0;
  };
  pages.add_shrinker(reclaim_);
  return true;
}

// The class that kmalloc_nolock() tries second; kClasses: there is none. A power of two is aligned
// naturally; in the classes 96 and 192 it would not be.
template <Kernel K, LockPolicy L>
unsigned BasicSlabAllocator<K, L>::next_index(std::size_t size) noexcept {
  const unsigned i = index_of(size) + 1;
  if (i == kClasses || !std::has_single_bit(size) || std::has_single_bit(class_size(i))) return i;
  return i + 1;
}

template <Kernel K, LockPolicy L>
void* BasicSlabAllocator<K, L>::kmalloc_nolock(std::size_t size, gfp flags, int node,
                                               SlabRefusal* why, Place where) noexcept {
  if (size == 0) return kZeroSize;
  if (size > kMaxKmalloc) {
    if (why) *why = SlabRefusal::size;
    return nullptr;
  }
  void* const p = classes_[index_of(size)].alloc_nolock_sized(size, flags, node, why, where);
  // This CPU may be inside this class's locks; hardly inside the next one's, too. Once.
  const unsigned next = next_index(size);
  if (p || next == kClasses) return p;
  return classes_[next].alloc_nolock_sized(size, flags, node, why, where);
}

// What is in no slab: null, kZeroSize, whole pages, or not ours.
template <Kernel K, LockPolicy L>
bool BasicSlabAllocator<K, L>::free_other(void* p, bool may_spin, Place where) noexcept {
  if (reinterpret_cast<std::uintptr_t>(p) <= reinterpret_cast<std::uintptr_t>(kZeroSize))
    return true;
  Page* const page = pages_->page_of(p);
  if (page && page->kind == Cache::kLarge && pages_->address(page) == p) {
    const unsigned order = page->order();
    page->kind = 0;
    return may_spin ? pages_->free_pages(page, order, where)
                    : pages_->free_pages_nolock(page, order, where);
  }
  classes_[0].report(Finding::foreign_pointer, may_spin ? "kfree" : "kfree_nolock", p, where);
  return false;
}

// What is not ours is kfree()'s to report.
template <Kernel K, LockPolicy L>
[[gnu::cold, gnu::noinline]] void BasicSlabAllocator<K, L>::check_size(void* p, std::size_t size,
                                                                       Place where) noexcept {
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
      right = size - 1 < kMaxKmalloc && (i == index_of(size) || i == next_index(size));
    } else {
      right = of->object_size() == size;
    }
  } else if (page && page->kind == Cache::kLarge) {
    right = size > kMaxKmalloc && order_of(size) == page->order();
  }
  if (!right) of->report(Finding::wrong_size, "kfree_sized", p, where, track);
}

template <Kernel K, LockPolicy L>
void* BasicSlabAllocator<K, L>::alloc_large(std::size_t size, gfp flags, Place where) noexcept {
  Page* const p = pages_->alloc_pages(flags | gfp::comp, order_of(size), kAnyNode, where);
  if (!p) return nullptr;
  p->kind = Cache::kLarge;
  return pages_->address(p);
}

template <Kernel K, LockPolicy L>
std::size_t BasicSlabAllocator<K, L>::ksize(const void* p) noexcept {
  Page* const page = pages_->page_of(p);
  if (!page || reinterpret_cast<std::uintptr_t>(p) <= 16) return 0;
  if (page->kind == Cache::kSlab) {
    Cache& of = *static_cast<Cache*>(page->owner);
    return of.is_object(*page, p) ? of.usable(p) : 0;
  }
  return page->kind == Cache::kLarge && pages_->address(page) == p ? kPageSize << page->order() : 0;
}

template <Kernel K, LockPolicy L>
void* BasicSlabAllocator<K, L>::krealloc(void* p, std::size_t size, gfp flags,
                                         Place where) noexcept {
  const std::size_t old = ksize(p);
  if (!old && reinterpret_cast<std::uintptr_t>(p) > reinterpret_cast<std::uintptr_t>(kZeroSize)) {
    classes_[0].report(Finding::foreign_pointer, "krealloc", p, where);
    return nullptr;
  }
  if (old && resized_in_place(p, size, flags)) return p;
  void* const fresh = kmalloc(size, flags, where);
  if (!fresh) return nullptr;
  if (fresh != kZeroSize && old) std::memcpy(fresh, p, old < size ? old : size);
  kfree(p, where);
  return fresh;
}

// If kmalloc(size) would take the same class, or one larger than half of this object, and what it
// promises of the alignment holds here, too.
template <Kernel K, LockPolicy L>
bool BasicSlabAllocator<K, L>::resized_in_place(void* p, std::size_t size, gfp flags) noexcept {
  Page* const page = pages_->page_of(p);
  Cache* const of = page->kind == Cache::kSlab ? static_cast<Cache*>(page->owner) : nullptr;
  const std::size_t room = of ? of->object_size() : kPageSize << page->order();
  if (size > room || size <= room / 2) return false;
  if (std::has_single_bit(size) && (reinterpret_cast<std::uintptr_t>(p) & (size - 1))) return false;
  const std::size_t from = of ? of->resize(p, size) : size;
  if (has(flags, gfp::zero)) {
    // Behind the new size, too, where nobody watches it: a later growth finds it zero.
    const std::size_t upto = of && of->debugged() ? size : room;
    if (from < upto) std::memset(static_cast<char*>(p) + from, 0, upto - from);
  }
  return true;
}

template <Kernel K, LockPolicy L>
void* BasicSlabAllocator<K, L>::kmalloc_aligned(std::size_t size, std::size_t align, gfp flags,
                                                Place where) noexcept {
  if (!std::has_single_bit(align) || align > kPageSize << kMaxOrder ||
      size > kPageSize << kMaxOrder)
    return nullptr;
  if (align <= 8 || size == 0) return kmalloc(size, flags, where);
  return kmalloc(std::bit_ceil(size < align ? align : size), flags, where);
}

// A cache has an array over all CPUs, so its memory is pages.
template <Kernel K, LockPolicy L>
BasicKmemCache<K, L>* BasicSlabAllocator<K, L>::create(const char* name, std::size_t size,
                                                       std::size_t align, slab flags,
                                                       typename Cache::Constructor ctor,
                                                       unsigned sheaf_capacity) noexcept {
  void* const memory = alloc_large(sizeof(Cache), gfp::kernel, Place::here());
  if (!memory) return nullptr;
  Cache* const c = ::new (memory) Cache;
  if (!c->set_up(*this, name, size, align, flags, ctor, sheaf_capacity)) {
    kfree(memory);
    return nullptr;
  }
  Page* const page = pages_->page_of(memory);
  page->kind = Cache::kCache;
  page->owner = this;
  enlist(*c);
  return c;
}

template <Kernel K, LockPolicy L>
void BasicSlabAllocator<K, L>::enlist(Cache& c) noexcept {
  Guard g(created_lock_);
  c.prev_ = nullptr;
  c.next_ = created_;
  if (created_) created_->prev_ = &c;
  created_ = &c;
}

template <Kernel K, LockPolicy L>
void BasicSlabAllocator<K, L>::delist(Cache& c) noexcept {
  Guard g(created_lock_);
  (c.prev_ ? c.prev_->next_ : created_) = c.next_;
  if (c.next_) c.next_->prev_ = c.prev_;
}

template <Kernel K, LockPolicy L>
bool BasicSlabAllocator<K, L>::destroy(Cache* cache) noexcept {
  if (!cache) return true;
  Page* const page = pages_ ? pages_->page_of(cache) : nullptr;
  if (!page || page->kind != Cache::kCache || page->owner != this ||
      pages_->address(page) != cache) {
    if (pages_) classes_[0].report(Finding::foreign_pointer, "destroy", cache, Place::here());
    return false;
  }
  delist(*cache);  // an exiting CPU does not come upon it any more
  // Nobody else uses it: other CPUs' sheaves are ours to empty.
  for (unsigned i = 0; i < decltype(cache->cpu_)::size(); ++i) {
    auto& c = cache->cpu_.on(i);
    for (internal::Sheaf* s : {c.main, c.spare}) {
      if (!s || s == &internal::no_sheaf) continue;
      if (s->size) cache->flush(*s);
      cache->sheaf_source_->free_to_slab(s, true);
    }
    c.main = &internal::no_sheaf;
    c.spare = nullptr;
  }
  const std::uint32_t min_partial = cache->min_partial_;
  cache->min_partial_ = 0;
  cache->shrink();  // also settles what was deferred
  if (cache->stats().slabs) {
    if (cache->debugged()) cache->report_leaks("destroy");
    cache->min_partial_ = min_partial;
    enlist(*cache);
    return false;
  }
  page->kind = Cache::kLarge;
  return kfree(cache);
}

template <Kernel K, LockPolicy L>
std::size_t BasicSlabAllocator<K, L>::shrink_all() noexcept {
  std::size_t slabs = 0;
  auto shrink = [&](Cache& c) {
    const std::uintptr_t before = c.counters_.discarded_slabs.load(internal::kRelaxed);
    c.shrink();
    slabs += c.counters_.discarded_slabs.load(internal::kRelaxed) - before;
  };
  for (Cache& c : classes_) shrink(c);
  {
    Guard g(created_lock_);
    for (Cache* c = created_; c; c = c->next_) shrink(*c);
  }
  for (Cache& c : sheaf_caches_) shrink(c);
  return slabs;
}

template <Kernel K, LockPolicy L>
bool BasicSlabAllocator<K, L>::settle() noexcept {
  bool none = true;
  for (Cache& c : classes_) none &= c.settle();
  for (Cache& c : sheaf_caches_) none &= c.settle();
  return none;
}

template <Kernel K, LockPolicy L>
void BasicSlabAllocator<K, L>::flush_cpu() noexcept {
  for (Cache& c : classes_) c.flush_cpu();
  Guard g(created_lock_);
  for (Cache* c = created_; c; c = c->next_) c->flush_cpu();
}

template <Kernel K, LockPolicy L>
Floor BasicSlabAllocator<K, L>::interrupted() const noexcept {
  if (!pages_) return Floor::none;
  if (pages_->interrupted()) return Floor::page;
  for (const Cache& c : classes_)
    if (c.interrupted()) return Floor::slab;
  for (const Cache& c : sheaf_caches_)
    if (c.interrupted()) return Floor::slab;
  return Floor::none;
}

template <Kernel K, LockPolicy L>
bool BasicSlabAllocator<K, L>::consistent() noexcept {
  for (Cache& c : classes_)
    if (!c.consistent()) return false;
  for (Cache& c : sheaf_caches_)
    if (!c.consistent()) return false;
  return true;
}

template <Kernel K, LockPolicy L>
std::size_t BasicSlabAllocator<K, L>::slabinfo(char* out, std::size_t size) noexcept {
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
  Guard g(created_lock_);
  for (const Cache* c = created_; c; c = c->next_) row(*c);
  return t.length();
}

}  // namespace nestlock
