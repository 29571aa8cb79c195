// This CPU's pages: one list for each small order. Included by page.h.
#pragma once

#include "nestlock/page.h"

namespace nestlock {

template <Kernel K, LockPolicy L>
inline BasicPage<K>* BasicPageAllocator<K, L>::pop_here(Zone& z, unsigned order,
                                                        bool* busy) noexcept {
  if constexpr (!kPcp) return nullptr;
  auto pcp = z.pcp.template try_lock_here<&Pcp::lock>(typename L::PcpTag{});
  if (!pcp) [[unlikely]] {
    if (busy) *busy = true;
    return note_busy(z, true), nullptr;
  }
  const Index p = pcp->list[order];
  if (p == kNil) return nullptr;
  pcp->list[order] = all_[p].next;
  internal::bump_locked(pcp->allocs);
  pcp->count.store(pcp->count.load(internal::kRelaxed) - (1u << order), internal::kRelaxed);
  return all_ + p;
}

// Puts a free block on this CPU's list; false if it cannot be. Over `high` it then drains, unless
// the caller is a nolock one.
template <Kernel K, LockPolicy L>
inline bool BasicPageAllocator<K, L>::push_here(Zone& z, Page* page, unsigned order,
                                                bool nolock) noexcept {
  if constexpr (!kPcp) return false;
  const Index p = index(page);
  if (z.isolated_blocks.load(internal::kRelaxed) && block_isolated(z, p)) [[unlikely]]
    return false;
  Index chain = kNil;
  std::uint32_t rounds = 0;
  {
    auto pcp = z.pcp.template try_lock_here<&Pcp::lock>(typename L::PcpTag{});
    if (!pcp) [[unlikely]]
      return note_busy(z, true), false;
    page->set(PageState::cached, order);
    page->next = pcp->list[order];
    pcp->list[order] = p;
    internal::bump_locked(pcp->frees);
    const std::uint32_t count = pcp->count.load(internal::kRelaxed) + (1u << order);
    pcp->count.store(count, internal::kRelaxed);
    if (nolock || count <= z.pcp_high.load(internal::kRelaxed)) [[likely]]
      return true;
    const std::uint32_t batch = z.pcp_batch.load(internal::kRelaxed);
    rounds = count / batch;
    chain = detach(*pcp, batch);
  }
  return drain_over_high(z, chain, rounds), true;
}

// In batches, each detached under the pcp lock and given to the zone outside it; a lock lost in
// between (to an interrupt, to a remote drain) ends it. So does the number of batches that the
// cache held at first: what interrupts this may free pages as fast as it drains.
template <Kernel K, LockPolicy L>
[[gnu::noinline]] void BasicPageAllocator<K, L>::drain_over_high(Zone& z, Index chain,
                                                                 std::uint32_t rounds) noexcept {
  for (; chain != kNil; --rounds) {
    give_chain(z, chain);
    if (!rounds) break;
    chain = kNil;
    auto pcp = z.pcp.template try_lock_here<&Pcp::lock>(typename L::PcpTag{});
    if (pcp && pcp->count.load(internal::kRelaxed) > z.pcp_high.load(internal::kRelaxed))
      chain = detach(*pcp, z.pcp_batch.load(internal::kRelaxed));
  }
}

// Takes blocks of at least `pages` pages in all off the lists, largest first; the pcp is locked.
template <Kernel K, LockPolicy L>
std::uint32_t BasicPageAllocator<K, L>::detach(Pcp& pcp, std::uint32_t pages) noexcept {
  Index chain = kNil;
  std::uint32_t got = 0;
  for (unsigned order = kPcpOrders; order-- > 0 && got < pages;) {
    while (got < pages && pcp.list[order] != kNil) {
      const Index p = pcp.list[order];
      pcp.list[order] = all_[p].next;
      all_[p].next = chain;
      chain = p;
      got += 1u << order;
    }
  }
  pcp.count.store(pcp.count.load(internal::kRelaxed) - got, internal::kRelaxed);
  return chain;
}

// Runs f(pcp) with any CPU's pcp locked. Task context: an owner that we interrupted would never
// give it back.
template <Kernel K, LockPolicy L>
template <class F>
void BasicPageAllocator<K, L>::with_pcp(Pcp& pcp, F f) noexcept NESTLOCK_NO_TSA {
  using Tag = internal::TagFor<typename L::Pcp, typename L::PcpTag>;
  auto state = Tag::template enter<typename K::Port>();
  if constexpr (BasicLockable<typename L::Pcp>) {
    pcp.lock.lock();
  } else {
    unsigned turns = 0;
    while (!pcp.lock.try_lock()) internal::wait_turn<typename K::Port>(turns);
  }
  f(pcp);
  pcp.lock.unlock();
  Tag::template leave<typename K::Port>(state);
}

}  // namespace nestlock
