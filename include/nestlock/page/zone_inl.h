// The zone: the buddy under its lock, parked blocks, refills. Included by page.h.
#pragma once

#include "nestlock/lock/guard.h"
#include "nestlock/page.h"

namespace nestlock {

template <Kernel K, LockPolicy L>
std::uint32_t BasicPageAllocator<K, L>::mark_for(const Zone& z, gfp flags) const noexcept {
  const std::uint32_t kept = z.kept_for_nolock.load(internal::kRelaxed);
  if (has(flags, gfp::memalloc)) return kept;
  return kept + (has(flags, gfp::high) ? z.min / 2 : z.min);
}

template <Kernel K, LockPolicy L>
BasicPage<K>* BasicPageAllocator<K, L>::take_locked(Zone& z, unsigned order,
                                                    std::uint32_t mark) noexcept {
  if (z.buddy.free_pages() < mark + (1u << order)) return nullptr;
  const Index p = z.buddy.take(order);
  if (p == kNil) return nullptr;
  internal::bump_locked(z.counters.zone_allocs);
  if constexpr (!kLean)
    if (const std::uint32_t dirty = dirty_pages(z); dirty < z.dirty_low) z.dirty_low = dirty;
  return all_ + p;
}

template <Kernel K, LockPolicy L>
void BasicPageAllocator<K, L>::give_locked(Zone& z, Index p, unsigned order) noexcept {
  internal::bump_locked(z.counters.zone_frees);
  z.buddy.give(p, order, z.isolated_blocks.load(internal::kRelaxed) && block_isolated(z, p));
}

// A chain is blocks off all lists, linked as those of a CPU are.
template <Kernel K, LockPolicy L>
void BasicPageAllocator<K, L>::give_chain(Zone& z, Index chain) noexcept {
  {
    Guard g(z.lock, irq_save);
    internal::bump_locked(z.counters.drains);
    while (chain) {
      const Page* const p = numbered(chain);
      chain = p->next;
      give_locked(z, index(p), p->order());
    }
  }
  if constexpr (!kLean)
    if (has_much(z)) begin_decay();
}

// Puts at most `most` parked blocks back.
template <Kernel K, LockPolicy L>
void BasicPageAllocator<K, L>::unpark_locked(Zone& z, unsigned most) noexcept {
  if (!has_parked(z)) [[likely]]
    return;
  // (The next one's number; behind the last, whose next is kNil, 0.)
  if (!z.backlog) z.backlog = static_cast<Index>(z.parked.take_all() + 1);
  std::uintptr_t blocks = 0;
  for (; z.backlog && blocks < most; ++blocks) {
    const auto p = static_cast<Index>(z.backlog - 1);
    z.backlog = static_cast<Index>(all_[p].next + 1);
    const unsigned order = all_[p].order();
    z.counters.parked.fetch_sub(std::uintptr_t{1} << order, internal::kRelaxed);
    give_locked(z, p, order);
  }
  internal::bump_locked(z.counters.unparked, blocks);
}

// The first page of the block of 2^kMaxOrder pages around p, or of the zone; and the one after it.
template <Kernel K, LockPolicy L>
std::uint32_t BasicPageAllocator<K, L>::block_of(Index p, const Zone& z) const noexcept {
  const std::uintptr_t pfn = (first_pfn_ + p) & ~((std::uintptr_t{1} << kMaxOrder) - 1);
  return pfn < first_pfn_ + z.begin ? z.begin : static_cast<Index>(pfn - first_pfn_);
}
template <Kernel K, LockPolicy L>
std::uint32_t BasicPageAllocator<K, L>::block_end(Index p, const Zone& z) const noexcept {
  const std::uintptr_t pfn = ((first_pfn_ + p) | ((std::uintptr_t{1} << kMaxOrder) - 1)) + 1;
  return pfn > first_pfn_ + z.end ? z.end : static_cast<Index>(pfn - first_pfn_);
}
template <Kernel K, LockPolicy L>
bool BasicPageAllocator<K, L>::block_isolated(const Zone& z, Index p) const noexcept {
  return all_[block_of(p, z)].isolation.load(internal::kRelaxed) != 0;
}

// One block for the caller, and a batch for this CPU's list. Null: not enough memory here.
template <Kernel K, LockPolicy L>
BasicPage<K>* BasicPageAllocator<K, L>::refill(Zone& z, unsigned order, gfp flags) noexcept {
  Page* first = nullptr;
  Index chain = 0;
  std::uint32_t got = 0;
  {
    Guard g(z.lock, irq_save);
    unpark_locked(z, kUnparkedAtOnce);
    first = take_locked(z, order, mark_for(z, flags));
    if (!first || order >= kPcpOrders || !kPcp || z.pcp_off.load(internal::kRelaxed)) return first;
    // A thread beyond the last CPU has no list.
    if (internal::claimed_cpu<typename K::Port>() >= K::Port::kMaxCpus) return first;
    // The reserve between min and low is not for caches.
    const std::uint32_t batch = z.pcp_batch.load(internal::kRelaxed) >> order;
    for (; got < batch; ++got) {
      Page* const p = take_locked(z, order, z.low + z.kept_for_nolock.load(internal::kRelaxed));
      if (!p) break;
      p->set(PageState::cached, order);
      p->next = chain;
      chain = number(p);
    }
    internal::bump_locked(z.counters.refills);
  }
  if (!chain) return first;
  {
    auto pcp = z.pcp.template try_lock_here<&Pcp::lock>(typename L::PcpTag{});
    if (pcp) {
      Page* last = numbered(chain);
      while (last->next) last = numbered(last->next);
      last->next = pcp->list[order];
      pcp->list[order] = chain;
      internal::bump_locked(pcp->in, std::uintptr_t{got} << order);
      internal::bump_locked(pcp->refilled, std::uintptr_t{got} << order);
      return first;
    }
  }
  if constexpr (!kLean) note_busy(z, true);
  give_chain(z, chain);
  return first;
}

}  // namespace nestlock
