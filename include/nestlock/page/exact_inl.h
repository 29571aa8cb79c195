// Numbers of pages that are no power of two. Included by page.h.
//
// Such a block is a row of blocks, one for each bit of the number, the largest first: so each lies on a
// multiple of its size, and is used, freed and merged like any other. What a CPU's lists would not take as
// one block does not go there in pieces either: it would not merge there.
#pragma once

#include <algorithm>
#include <bit>
#include <cstring>

#include "nestlock/lock/guard.h"
#include "nestlock/page.h"

namespace nestlock {

namespace internal {

// f(first, order) for the blocks that the pages [from, upto) of an aligned block are a row of; false, and
// no further, if one is.
template <class F>
constexpr bool each_block_of(std::uint32_t from, std::uint32_t upto, F f) noexcept {
  while (from != upto) {
    auto order = static_cast<unsigned>(std::bit_width(upto - from)) - 1;
    if (from && static_cast<unsigned>(std::countr_zero(from)) < order)
      order = static_cast<unsigned>(std::countr_zero(from));
    if (!f(from, order)) return false;
    from += std::uint32_t{1} << order;
  }
  return true;
}

}  // namespace internal

template <Kernel K, LockPolicy L>
void BasicPageAllocator<K, L>::set_row(Page* p, std::uint32_t from, std::uint32_t upto) noexcept
  requires(!internal::kLeanOf<K>)
{
  internal::each_block_of(from, upto, [&](std::uint32_t first, unsigned order) {
    p[first].set(PageState::used, order);
    if constexpr (K::kConfig.debug) p[first].history = p->history;
    return true;
  });
}

// The pages [from, upto) of a block that would have `order` as a whole: marked by set_row().
template <Kernel K, LockPolicy L>
void BasicPageAllocator<K, L>::free_row(Page* p, std::uint32_t from, std::uint32_t upto,
                                        unsigned order, Place where) noexcept
  requires(!internal::kLeanOf<K>)
{
  if (order < kPcpOrders) {
    internal::each_block_of(from, upto, [&](std::uint32_t first, unsigned o) {
      return free_pages(p + first, o, where);
    });
    return;
  }
  auto each = [&](auto f) {
    internal::each_block_of(from, upto, [&](std::uint32_t first, unsigned o) {
      f(p + first, o);
      return true;
    });
  };
  each([&](Page* at, unsigned o) { retire(at, o, where); });
  Zone& z = zone_of(*p);
  {
    Guard g(z.lock, irq_save);
    each([&](Page* at, unsigned o) { give_locked(z, index(at), o); });
  }
  if (has_much(z)) begin_decay();
}

template <Kernel K, LockPolicy L>
BasicPage<K>* BasicPageAllocator<K, L>::alloc_pages_exact(gfp flags, std::uint32_t pages, int node,
                                                          Place where) noexcept
  requires(!internal::kLeanOf<K>)
{
  if (pages - 1 >= std::uint32_t{1} << kMaxOrder) return nullptr;
  const auto order = static_cast<unsigned>(std::bit_width(pages - 1));
  Page* const p = alloc_pages(flags & ~(gfp::comp | gfp::zero), order, node, where);
  if (!p) return nullptr;
  if (!std::has_single_bit(pages)) {
    set_row(p, 0, pages);
    set_row(p, pages, std::uint32_t{1} << order);
    free_row(p, pages, std::uint32_t{1} << order, order, where);
  }
  if (has(flags, gfp::zero)) std::memset(address(p), 0, std::size_t{pages} << kPageShift);
  return p;
}

template <Kernel K, LockPolicy L>
bool BasicPageAllocator<K, L>::is_row(Page* page, std::uint32_t pages) const noexcept
  requires(!internal::kLeanOf<K>)
{
  return pages - 1 < std::uint32_t{1} << kMaxOrder && is_ours(page) &&
         pages <= pages_ - index(page) &&
         internal::each_block_of(0, pages, [&](std::uint32_t first, unsigned order) {
           return page[first].is(PageState::used, order);
         });
}

template <Kernel K, LockPolicy L>
bool BasicPageAllocator<K, L>::free_pages_exact(Page* page, std::uint32_t pages,
                                                Place where) noexcept
  requires(!internal::kLeanOf<K>)
{
  if (!is_row(page, pages)) [[unlikely]]
    return bad_free(page, "free_pages_exact", where);
  free_row(page, 0, pages, static_cast<unsigned>(std::bit_width(pages - 1)), where);
  return true;
}

template <Kernel K, LockPolicy L>
bool BasicPageAllocator<K, L>::free_pages_exact_nolock(Page* page, std::uint32_t pages,
                                                       Place where) noexcept
  requires(!internal::kLeanOf<K>)
{
  if (!is_row(page, pages)) [[unlikely]]
    return bad_free(page, "free_pages_exact_nolock", where);
  return internal::each_block_of(0, pages, [&](std::uint32_t first, unsigned order) {
    return free_pages_nolock(page + first, order, where);
  });
}

template <Kernel K, LockPolicy L>
bool BasicPageAllocator<K, L>::resize_exact(Page* page, std::uint32_t from, std::uint32_t to,
                                            Place where) noexcept
  requires(!internal::kLeanOf<K>)
{
  if (!is_row(page, from)) return bad_free(page, "resize_exact", where);
  if (to == 0 || to > std::uint32_t{1} << kMaxOrder) return false;
  if (to <= from) {
    set_row(page, 0, to);
    set_row(page, to, from);
    free_row(page, to, from, static_cast<unsigned>(std::bit_width(from - 1)), where);
    return true;
  }
  // Each block of the longer row has to lie on a multiple of its size, in the same zone.
  Zone& z = zone_of(*page);
  const Index p = index(page);
  if ((first_pfn_ + p) & (std::bit_floor(to) - 1) || to > z.end - p) return false;
  {
    Guard g(z.lock, irq_save);
    if (z.buddy.free_pages() < mark_for(z, gfp::none) + (to - from) ||
        !z.buddy.take_range(p + from, p + to))
      return false;
    internal::bump_locked(z.counters.zone_allocs);
    z.dirty_low = std::min(z.dirty_low, dirty_pages(z));
    set_row(page, 0, to);
  }
  if constexpr (K::kConfig.debug) check_poison(page + from, to - from, where);
  return true;
}

}  // namespace nestlock
