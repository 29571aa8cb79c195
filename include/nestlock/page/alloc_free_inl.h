// Allocation and free, from a spinning caller and from any context. Included by page.h.
#pragma once

#include "nestlock/lock/guard.h"
#include "nestlock/page.h"

namespace nestlock {

template <Kernel K, LockPolicy L>
BasicPage<K>* BasicPageAllocator<K, L>::alloc_slow(gfp flags, unsigned order, int node,
                                                   Place where) noexcept {
  if (order > kMaxOrder || !has_node(node) || !ready_.load(internal::kRelaxed)) return nullptr;
  if constexpr (!kLean) {
    if (attention_.load(internal::kRelaxed)) {
      // zero, comp and thisnode are about the result, not about what may be done to get it.
      constexpr gfp kResult = gfp::zero | gfp::comp | gfp::thisnode;
      flags = flags & (~static_cast<gfp>(controls_.denied.load(internal::kRelaxed)) | kResult);
      if (fails_now(order)) return internal::bump(first_zone(node)->counters.failures), nullptr;
    }
    if (decaying_.load(internal::kRelaxed) && has(flags, gfp::reclaim)) decay();
  }
  Zone* const home = first_zone(node);
  const unsigned last = has(flags, gfp::thisnode) ? 1 : nodes();
  auto zone_at = [&](unsigned i) -> Zone& {
    return zone_[(static_cast<unsigned>(home - zone_) + i) % nodes()];
  };
  // What is clean is memory that the process did not have, whether it has just been committed or not. (The
  // counts are estimates, where other CPUs take and give, too.)
  auto taken = [&](Zone& z) -> Page* {
    if constexpr (kLean) {
      return refill(z, order, flags);
    } else {
      const std::uint32_t before = z.buddy.clean_pages();
      Page* const p = refill(z, order, flags);
      const std::uint32_t clean = z.buddy.clean_pages();
      if (p && clean < before && has(flags, gfp::reclaim | gfp::idle))
        release_idle(std::size_t{before - clean} << kPageShift);
      return p;
    }
  };
  for (int round = 0; round < 3; ++round) {
    for (unsigned i = 0; i < last; ++i) {
      Zone& z = zone_at(i);
      if (order < kPcpOrders && !has_parked(z))
        if (Page* const p = pop_or_note(z, order)) return prepare(p, flags, order, where);
      if (Page* const p = taken(z)) return prepare(p, flags, order, where);
      if constexpr (!kLean) {
        // Step by step: with large pages one step does not reach the watermark.
        while (has(flags, gfp::wake) && grow(z, order))
          if (Page* const p = taken(z)) return prepare(p, flags, order, where);
      }
    }
    if (!has(flags, gfp::reclaim)) break;
    // What other CPUs keep is better used than lacking; then what the floors above keep.
    if (round == 1 && !ask_shrinkers()) break;
    if (round < 2) drain_all_pages();
  }
  internal::bump(home->counters.failures);
  return nullptr;
}

// Always true, so that callers can tail-call it.
template <Kernel K, LockPolicy L>
[[gnu::noinline]] bool BasicPageAllocator<K, L>::free_slow(Zone& z, Page* page,
                                                           unsigned order) noexcept
  requires(!internal::kLeanOf<K>)
{
  const Index p = index(page);
  {
    Guard g(z.lock, irq_save);
    unpark_locked(z, kUnparkedAtOnce);
    give_locked(z, p, order);
  }
  if (has_much(z)) begin_decay();
  return true;
}

// This CPU's list is busy, or the fast path saw no CPU.
template <Kernel K, LockPolicy L>
[[gnu::noinline]] bool BasicPageAllocator<K, L>::free_refused(Zone& z, Page* page,
                                                              unsigned order) noexcept
  requires(!internal::kLeanOf<K>)
{
  switch (push_here<false>(z, page, order)) {
    case Push::done:
      return true;
    case Push::over:
      return drain_over_high(z);
    case Push::refused:
      break;
  }
  if constexpr (kPcp) note_busy(z, true);
  return free_slow(z, page, order);
}

template <Kernel K, LockPolicy L>
BasicPage<K>* BasicPageAllocator<K, L>::alloc_pages_nolock(gfp flags, unsigned order, int node,
                                                           PageRefusal* why, Place where) noexcept {
  Zone* const home = first_zone(node);
  auto refuse = [&](PageRefusal r) -> Page* {
    internal::bump(home->counters.refusals[static_cast<unsigned>(r)]);
    if (why) *why = r;
    return nullptr;
  };
  constexpr gfp kTaken = gfp::zero | gfp::comp | gfp::nowarn | gfp::thisnode;
  if (K::kConfig.debug && (flags & ~kTaken) != gfp::none)
    report(Finding::wrong_gfp, "alloc_pages_nolock", nullptr, nullptr, where);
  if (order >= kPcpOrders || !has_node(node)) return refuse(PageRefusal::order);
  if (!L::may_try()) return refuse(PageRefusal::gate);
  if constexpr (!kLean)
    if (attention_.load(internal::kRelaxed) && fails_now(order))
      return refuse(PageRefusal::injected);
  PageRefusal reason = PageRefusal::no_memory;
  const unsigned last = has(flags, gfp::thisnode) ? 1 : nodes();
  for (unsigned i = 0; i < last; ++i) {
    Zone& z = zone_[(static_cast<unsigned>(home - zone_) + i) % nodes()];
    bool pcp_busy = !kPcp;
    if (Page* const p = pop_or_note(z, order, &pcp_busy)) return prepare(p, flags, order, where);
    if (!ready_.load(internal::kRelaxed)) break;
    {
      TryGuard g(z.lock, irq_save);
      if (g) {
        z.lock.assert_held();
        unpark_locked(z, kUnparkedByNolock);
        if (Page* const p = take_locked(z, order, z.min)) return prepare(p, flags, order, where);
        continue;
      }
    }
    if constexpr (!kLean) note_busy(z, false);
    reason = pcp_busy ? PageRefusal::zone_held_no_pcp : PageRefusal::zone_held;
  }
  return refuse(reason);
}

// Always true.
template <Kernel K, LockPolicy L>
[[gnu::always_inline]] inline bool BasicPageAllocator<K, L>::park(Zone& z, Page* page,
                                                                  unsigned order) noexcept {
  page->set(PageState::parked, order);
  internal::bump(z.counters.parked, std::uintptr_t{1} << order);
  internal::bump(z.counters.parked_total);
  z.parked.push(index(page), next_of());
  return true;
}

template <Kernel K, LockPolicy L>
bool BasicPageAllocator<K, L>::free_pages_nolock(Page* page, unsigned order, Place where) noexcept {
  if constexpr (kLean) {
    return free_lean(page, order, false, where);
  } else {
    if (!is_ours(page) || !page->is(PageState::used, order)) [[unlikely]]
      return bad_free(page, "free_pages_nolock", where);
    Zone& z = zone_of(*page);
    retire(page, order, where);
    if (L::may_try()) {
      const bool isolated =
          z.isolated_blocks.load(internal::kRelaxed) && block_isolated(z, index(page));
      if (order < kPcpOrders && !isolated) {
        const Push done = push_here<false>(z, page, order);
        if (done == Push::over) return drain_by_nolock(z, order);
        if (done == Push::done) return true;
        if constexpr (kPcp) note_busy(z, true);
      }
      // The gate stands here, at the lock: a block that no pcp takes comes this way, too.
      TryGuard g(z.lock, irq_save);
      if (g) {
        z.lock.assert_held();
        give_locked(z, index(page), order);
        unpark_locked(z, kUnparkedByNolock);
        return true;
      }
      note_busy(z, false);
    }
    return park(z, page, order);
  }
}

template <Kernel K, LockPolicy L>
bool BasicPageAllocator<K, L>::free_at(void* at, unsigned order, Place where) noexcept {
  Page* const page = page_of(at);
  if (!page || address(page) != at) {
    report(Finding::foreign_pointer, "free_at", nullptr, at, where);
    return false;
  }
  return free_pages(page, order, where);
}

}  // namespace nestlock
