// This CPU's pages: one list for each small order. Included by page.h.
#pragma once

#include "nestlock/page.h"

namespace nestlock {

// (From a pointer to what lies before the first page, which is an addition less.)
template <Kernel K, LockPolicy L>
[[gnu::always_inline]] inline BasicPage<K>* BasicPageAllocator<K, L>::numbered(
    Index n) const noexcept {
  if constexpr (kLean)
    return all_ + (n - 1);
  else
    return before_ + n;
}

template <Kernel K, LockPolicy L>
template <bool kFast>
inline auto BasicPageAllocator<K, L>::try_pcp(Zone& z) noexcept {
  if constexpr (kFast)
    return z.pcp.template try_lock_claimed<&Pcp::lock>(typename L::PcpTag{});
  else
    return z.pcp.template try_lock_here<&Pcp::lock>(typename L::PcpTag{});
}

template <Kernel K, LockPolicy L>
template <bool kFast>
[[gnu::always_inline]] inline BasicPage<K>* BasicPageAllocator<K, L>::pop_here(
    Zone& z, unsigned order, bool* busy) noexcept {
  if constexpr (!kPcp) return nullptr;
  auto pcp = try_pcp<kFast>(z);
  if (!pcp) [[unlikely]] {
    if (busy) *busy = true;
    return nullptr;
  }
  const Index n = pcp->list[order];
  if (!n) [[unlikely]]
    return nullptr;
  Page* const p = numbered(n);
  pcp->list[order] = p->next;
  internal::bump_locked(pcp->out, std::uintptr_t{1} << order);
  return p;
}

template <Kernel K, LockPolicy L>
inline BasicPage<K>* BasicPageAllocator<K, L>::pop_or_note(Zone& z, unsigned order,
                                                           bool* busy) noexcept {
  bool refused = false;
  Page* const p = pop_here<false>(z, order, &refused);
  if constexpr (!kLean)
    if (refused) note_busy(z, true);
  if (busy && refused) *busy = true;
  return p;
}

// Puts a free block on this CPU's list.
template <Kernel K, LockPolicy L>
template <bool kFast>
[[gnu::always_inline]] inline auto BasicPageAllocator<K, L>::push_here(Zone& z, Page* page,
                                                                       unsigned order) noexcept
    -> Push {
  if constexpr (!kPcp) return Push::refused;
  auto pcp = try_pcp<kFast>(z);
  if (!pcp) [[unlikely]]
    return Push::refused;
  if constexpr (kLean)
    if (pcp->count() >= z.pcp_high.load(internal::kRelaxed)) return Push::refused;
  page->set(PageState::cached, order);
  page->next = pcp->list[order];
  pcp->list[order] = number(page);
  if constexpr (kLean)
    return internal::bump_locked(pcp->in, std::uintptr_t{1} << order), Push::done;
  const std::uintptr_t in = pcp->in.load(internal::kRelaxed) + (std::uintptr_t{1} << order);
  pcp->in.store(in, internal::kRelaxed);
  const std::uintptr_t count = in - pcp->out.load(internal::kRelaxed);
  return count <= z.pcp_high.load(internal::kRelaxed) ? Push::done : Push::over;
}

// In batches, each detached under the pcp lock and given to the zone outside it; a lock lost in
// between (to an interrupt, to a remote drain) ends it. So does the number of batches that the
// cache held at first: what interrupts this may free pages as fast as it drains. Always true, so that
// callers can tail-call it.
template <Kernel K, LockPolicy L>
[[gnu::noinline]] bool BasicPageAllocator<K, L>::drain_over_high(Zone& z) noexcept
  requires(!internal::kLeanOf<K>)
{
  const std::uint32_t batch = z.pcp_batch.load(internal::kRelaxed);
  for (std::uint32_t round = 0, rounds = 1; round < rounds; ++round) {
    Index chain = 0;
    {
      auto pcp = z.pcp.template try_lock_here<&Pcp::lock>(typename L::PcpTag{});
      const std::uint32_t count = pcp ? pcp->count() : 0;
      if (count <= z.pcp_high.load(internal::kRelaxed)) break;
      if (round == 0) rounds = count / batch + 1;
      chain = detach(*pcp, batch);
    }
    give_chain(z, chain);
  }
  return true;
}

// A nolock free may go over `high`. Of what is over twice that it gives the zone more than itself
// added, or other CPUs and orders would never come by what a thread frees that makes nolock calls
// alone. Where the zone is held (looked at first, not to detach in vain) it leaves that to a later
// free; but not what is over four times `high`, which is parked: the zone is held for as long as the
// system does not run who holds it, and a later free may never come. So that much, and a block for
// each task that is moved in between, is the most that lies with a CPU whose frees have stopped. Where
// caches are disabled `high` counts as the least that it can be. Always true.
template <Kernel K, LockPolicy L>
[[gnu::noinline]] bool BasicPageAllocator<K, L>::drain_by_nolock(Zone& z, unsigned order) noexcept {
  std::uint32_t high = z.pcp_high.load(internal::kRelaxed);
  if (high < kLeastHigh) high = kLeastHigh;
  const std::uint32_t most = z.lock.is_locked() ? 4 * high : 2 * high;
  Index chain = 0;
  if (auto pcp = try_pcp<false>(z); pcp && pcp->count() > most)
    chain = detach(*pcp, kDrainedByNolock + (1u << order));
  if (!chain) return true;
  const auto each = [&](auto f) {
    while (chain) {
      Page* const p = numbered(chain);
      chain = p->next;
      f(p, p->order());
    }
  };
  TryGuard g(z.lock, irq_save);
  if (!g) {
    if constexpr (!kLean) note_busy(z, false);
    return each([&](Page* p, unsigned has) { park(z, p, has); }), true;
  }
  z.lock.assert_held();
  internal::bump_locked(z.counters.drains);
  each([&](Page* p, unsigned has) { give_locked(z, index(p), has); });
  unpark_locked(z, kUnparkedByNolock);
  return true;
}

// Takes blocks of at least `pages` pages in all off the lists, largest first, as a chain; the pcp is locked.
template <Kernel K, LockPolicy L>
std::uint32_t BasicPageAllocator<K, L>::detach(Pcp& pcp, std::uint32_t pages) noexcept {
  Index chain = 0;
  std::uint32_t got = 0;
  for (unsigned order = kPcpOrders; order-- > 0 && got < pages;) {
    while (got < pages && pcp.list[order]) {
      Page* const p = numbered(pcp.list[order]);
      pcp.list[order] = p->next;
      p->next = chain;
      chain = number(p);
      got += 1u << order;
    }
  }
  internal::bump_locked(pcp.out, got);
  internal::bump_locked(pcp.drained, got);
  return chain;
}

// Runs f(pcp) with any CPU's pcp locked. Task context: an owner that we interrupted would never
// give it back.
template <Kernel K, LockPolicy L>
template <class F>
void BasicPageAllocator<K, L>::with_pcp(Pcp& pcp, F f) noexcept NESTLOCK_NO_TSA {
  using Tag = internal::TagFor<typename L::Pcp, typename L::PcpTag>;
  // relaxed: what interrupts us sees it; of others' a fork need not know.
  if constexpr (K::kConfig.smp && !kLean) draining_.fetch_add(1, internal::kRelaxed);
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
  if constexpr (K::kConfig.smp && !kLean) draining_.fetch_sub(1, internal::kRelaxed);
}

template <Kernel K, LockPolicy L>
void BasicPageAllocator<K, L>::pcp_disable(unsigned node) noexcept
  requires(!internal::kLeanOf<K>)
{
  if (node >= nodes()) return;
  Zone& z = zone_[node];
  {
    // Count and limit change together, or another CPU's pcp_enable() could undo the limit of the last.
    Guard g(z.lock, irq_save);
    z.pcp_off.store(z.pcp_off.load(internal::kRelaxed) + 1, internal::kRelaxed);
    z.pcp_high.store(0, internal::kRelaxed);
  }
  drain_all_pages();
}

template <Kernel K, LockPolicy L>
void BasicPageAllocator<K, L>::pcp_enable(unsigned node) noexcept
  requires(!internal::kLeanOf<K>)
{
  if (node >= nodes()) return;
  Zone& z = zone_[node];
  Guard g(z.lock, irq_save);
  const auto off = z.pcp_off.load(internal::kRelaxed);
  if (off == 0) return;
  z.pcp_off.store(off - 1, internal::kRelaxed);
  if (off == 1)
    z.pcp_high.store(kHighOf * z.pcp_batch.load(internal::kRelaxed), internal::kRelaxed);
}

}  // namespace nestlock
