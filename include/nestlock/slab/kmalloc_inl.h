// kmalloc()'s and kfree()'s fast paths. Included by slab.h.
#pragma once

#include <cstddef>
#include <cstdint>

#include "nestlock/slab.h"

namespace nestlock {

template <Kernel K, LockPolicy L, class C>
inline void* BasicSlabAllocator<K, L, C>::kmalloc(std::size_t size, gfp flags,
                                                  Place where) noexcept {
  internal::check_may_spin<K>("SlabAllocator", "kmalloc", flags, where);
  if constexpr (kLean) {
    return kmalloc_lean(size, flags, SlabAlloc::spinning, kAnyNode, nullptr);
  } else {
    std::size_t i;
    if (size - 1 < Table::kSmall) [[likely]]
      i = Table::kIndices.small[(size - 1) / 8];
    else if (size - 1 < kLargestClass)
      i = Table::kIndices.large[(size - 1) / 256];
    else
      return size ? alloc_large(size, flags, where) : kZeroSize;
    return kmalloc_of(i, size, flags, kAnyNode, where);
  }
}

template <Kernel K, LockPolicy L, class C>
[[gnu::always_inline]] inline void* BasicSlabAllocator<K, L, C>::kmalloc_at_hand(
    std::size_t i) noexcept
  requires(!internal::kLeanOf<K>)
{
  return classes_[i].alloc_at_hand(slots(i + 1), attention(i + 1));
}

template <Kernel K, LockPolicy L, class C>
[[gnu::always_inline]] inline void* BasicSlabAllocator<K, L, C>::kmalloc_at_hand(std::size_t i,
                                                                                 Row& row) noexcept
  requires(!internal::kLeanOf<K>)
{
  return classes_[i].alloc_at_hand(Found(row.of[i + 1].value), attention(i + 1));
}

template <Kernel K, LockPolicy L, class C>
auto BasicSlabAllocator<K, L, C>::row_here() noexcept -> Row* requires(!internal::kLeanOf<K>) {
  const unsigned cpu = internal::claimed_cpu<typename K::Port>();
  return cpu < K::Port::kMaxCpus ? &rows_.row[cpu] : nullptr;
}

template <Kernel K, LockPolicy L, class C>
[[gnu::always_inline]] inline void* BasicSlabAllocator<K, L, C>::kmalloc_unlooked(
    std::size_t i) noexcept
  requires(!internal::kLeanOf<K>)
{
  return classes_[i].alloc_unlooked(slots(i + 1), attention(i + 1));
}

template <Kernel K, LockPolicy L, class C>
inline void* BasicSlabAllocator<K, L, C>::kmalloc_near(std::size_t i) noexcept
  requires(!internal::kLeanOf<K>)
{
  return classes_[i].alloc_near();
}

template <Kernel K, LockPolicy L, class C>
inline void* BasicSlabAllocator<K, L, C>::kmalloc_nolock(std::size_t size, gfp flags, int node,
                                                         SlabRefusal* why, Place where) noexcept {
  if constexpr (!kLean)
    if (size - 1 < Table::kSmall && node < 0 && !has(flags, gfp::zero)) [[likely]] {
      const std::size_t i = Table::kIndices.small[(size - 1) / 8];
      if (void* const p = kmalloc_at_hand(i)) {
        if (why) *why = SlabRefusal::none;
        return p;
      }
    }
  return kmalloc_trying(size, flags, node, why, where);
}

template <Kernel K, LockPolicy L, class C>
inline bool BasicSlabAllocator<K, L, C>::kfree(void* p, Place where) noexcept {
  if (p) internal::check_may_spin<K>("SlabAllocator", "kfree", gfp::none, where);
  if constexpr (kLean) {
    return kfree_lean(p, true, where);
  } else {
    if (const std::uintptr_t page = tags_.index(p);
        page < tagged() && free_fast(tags_.tag[page], p)) [[likely]]
      return true;
    return free_spinning(p, *this, where);
  }
}

template <Kernel K, LockPolicy L, class C>
[[gnu::always_inline]] inline bool BasicSlabAllocator<K, L, C>::kfree_at_hand(void* p) noexcept
  requires(!internal::kLeanOf<K>)
{
  const std::uintptr_t page = tags_.index(p);
  return page < tagged() && L::may_try() && free_fast(tags_.tag[page], p);
}

template <Kernel K, LockPolicy L, class C>
[[gnu::always_inline]] inline bool BasicSlabAllocator<K, L, C>::kfree_at_hand(void* p,
                                                                              Row& row) noexcept
  requires(!internal::kLeanOf<K>)
{
  const std::uintptr_t page = tags_.index(p);
  return page < tagged() && L::may_try() &&
         Cache::push_here(Found(row.of[tags_.tag[page]].value), p);
}

// For who had no use of a tag.
template <Kernel K, LockPolicy L, class C>
inline BasicPage<K>* BasicSlabAllocator<K, L, C>::page_looked_for(void* p) noexcept
  requires(!internal::kLeanOf<K>)
{
  if (!pages_) return nullptr;
  // relaxed: whoever has an object of a page was told of it behind the commit of its tag.
  if (const std::uintptr_t now = pages_->tags().pages; now != tagged())
    __atomic_store_n(&tagged_, now, __ATOMIC_RELAXED);
  return pages_->page_of(p);
}

template <Kernel K, LockPolicy L, class C>
inline bool BasicSlabAllocator<K, L, C>::kfree_near(void* p) noexcept
  requires(!internal::kLeanOf<K>)
{
  Page* const page = L::may_try() ? page_looked_for(p) : nullptr;
  return page && page->kind == Cache::kSlab &&
         static_cast<Cache*>(page->owner)->free_near(*page, p);
}

template <Kernel K, LockPolicy L, class C>
inline bool BasicSlabAllocator<K, L, C>::kfree_sized(void* p, std::size_t size,
                                                     Place where) noexcept {
  if constexpr (!kLean)
    if (K::kConfig.debug || classes_[0].debugged()) [[unlikely]]
      check_size(p, size, where);
  return kfree(p, where);
}

template <Kernel K, LockPolicy L, class C>
inline bool BasicSlabAllocator<K, L, C>::kfree_nolock(void* p, Place where) noexcept {
  if constexpr (kLean) {
    return kfree_lean(p, false, where);
  } else {
    if (const std::uintptr_t page = tags_.index(p);
        page < tagged() && L::may_try() && free_fast(tags_.tag[page], p)) [[likely]]
      return true;
    return free_trying(p, *this, where);
  }
}

template <Kernel K, LockPolicy L, class C>
inline void* BasicSlabAllocator<K, L, C>::kmalloc_node(std::size_t size, gfp flags, int node,
                                                       Place where) noexcept {
  internal::check_may_spin<K>("SlabAllocator", "kmalloc_node", flags, where);
  if constexpr (kLean) return kmalloc_lean(size, flags, SlabAlloc::spinning, node, nullptr);
  if (size - 1 < kLargestClass) return kmalloc_of(Table::index_of(size), size, flags, node, where);
  return node < static_cast<int>(pages_->nodes()) ? kmalloc(size, flags, where) : nullptr;
}

template <Kernel K, LockPolicy L, class C>
[[gnu::always_inline]] inline const typename BasicSlabAllocator<K, L, C>::Cache::Word&
BasicSlabAllocator<K, L, C>::attention(std::size_t tag) noexcept {
  if constexpr (kLean)
    return classes_[tag - 1].attention();
  else
    return rows_.attention[tag];
}

template <Kernel K, LockPolicy L, class C>
[[gnu::always_inline]] inline typename BasicSlabAllocator<K, L, C>::Cache::Slots
BasicSlabAllocator<K, L, C>::slots([[maybe_unused]] std::size_t tag) noexcept {
  if constexpr (kLean)
    return {};
  else
    return rows_.slots(tag);
}

template <Kernel K, LockPolicy L, class C>
[[gnu::always_inline]] inline void* BasicSlabAllocator<K, L, C>::kmalloc_of(std::size_t i,
                                                                            std::size_t size,
                                                                            gfp flags, int node,
                                                                            Place where) noexcept {
  return classes_[i].alloc_sized(slots(i + 1), attention(i + 1), size, flags, node, where);
}

template <Kernel K, LockPolicy L, class C>
[[gnu::always_inline]] inline bool BasicSlabAllocator<K, L, C>::free_fast(std::size_t tag,
                                                                          void* p) noexcept
  requires(!internal::kLeanOf<K>)
{
  if constexpr (K::kConfig.debug || internal::kWithAsan)
    return (tag ? classes_[tag - 1] : sheaf_caches_[0]).free_fast(slots(tag), p);
  else
    return Cache::push_here(rows_.slots_looked_up(tag), p);
}

}  // namespace nestlock
