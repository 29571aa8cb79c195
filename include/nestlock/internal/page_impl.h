// The bodies of page.h. Included by it; explicit instantiation is in lib/page.
#pragma once

#include <cstring>

#include "nestlock/guard.h"
#include "nestlock/page.h"

namespace nestlock {

namespace internal {
// In debug a free block of up to kPcpOrders starts each page with this, larger ones their first.
inline constexpr unsigned char kPagePoison = 0x6b;
inline constexpr std::size_t kPoisonBytes = 128;
struct PagePoison {
  constexpr PagePoison() {
    for (unsigned char& b : bytes) b = kPagePoison;
  }
  unsigned char bytes[kPoisonBytes]{};
};
inline constexpr PagePoison kPoison;

// The first byte that is no poison any more; null if all are.
inline const unsigned char* poison_overwritten(const unsigned char* at) noexcept {
  if (std::memcmp(at, kPoison.bytes, kPoisonBytes) == 0) [[likely]]
    return nullptr;
  while (*at == kPagePoison) ++at;
  return at;
}
}  // namespace internal

// ---- this CPU's pages ---------------------------------------------------------------------------

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

// ---- the zone -----------------------------------------------------------------------------------

template <Kernel K, LockPolicy L>
std::uint32_t BasicPageAllocator<K, L>::mark_for(const Zone& z, gfp flags) const noexcept {
  if (has(flags, gfp::memalloc)) return 0;
  return has(flags, gfp::high) ? z.min / 2 : z.min;
}

template <Kernel K, LockPolicy L>
BasicPage<K>* BasicPageAllocator<K, L>::take_locked(Zone& z, unsigned order,
                                                    std::uint32_t mark) noexcept {
  if (z.buddy.free_pages() < mark + (1u << order)) return nullptr;
  const Index p = z.buddy.take(order);
  if (p == kNil) return nullptr;
  internal::bump_locked(z.counters.zone_allocs);
  return all_ + p;
}

template <Kernel K, LockPolicy L>
void BasicPageAllocator<K, L>::give_locked(Zone& z, Index p, unsigned order) noexcept {
  internal::bump_locked(z.counters.zone_frees);
  z.buddy.give(p, order, z.isolated_blocks.load(internal::kRelaxed) && block_isolated(z, p));
}

template <Kernel K, LockPolicy L>
void BasicPageAllocator<K, L>::give_chain(Zone& z, Index chain) noexcept {
  Guard g(z.lock, irq_save);
  internal::bump_locked(z.counters.drains);
  while (chain != kNil) {
    const Index p = chain;
    chain = all_[p].next;
    give_locked(z, p, all_[p].order());
  }
}

template <Kernel K, LockPolicy L>
void BasicPageAllocator<K, L>::unpark_locked(Zone& z) noexcept {
  if (z.parked.empty()) [[likely]]
    return;
  std::uintptr_t blocks = 0;
  for (Index p = z.parked.take_all(); p != kNil; ++blocks) {
    const Index next = all_[p].next;
    const unsigned order = all_[p].order();
    z.counters.parked.fetch_sub(std::uintptr_t{1} << order, internal::kRelaxed);
    give_locked(z, p, order);
    p = next;
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
  Index chain = kNil;
  std::uint32_t got = 0;
  {
    Guard g(z.lock, irq_save);
    unpark_locked(z);
    first = take_locked(z, order, mark_for(z, flags));
    if (!first || order >= kPcpOrders || !kPcp || z.pcp_off.load(internal::kRelaxed)) return first;
    // The reserve between min and low is not for caches.
    const std::uint32_t batch = z.pcp_batch.load(internal::kRelaxed) >> order;
    for (; got < batch; ++got) {
      Page* const p = take_locked(z, order, z.low);
      if (!p) break;
      p->set(PageState::cached, order);
      p->next = chain;
      chain = index(p);
    }
    internal::bump_locked(z.counters.refills);
  }
  if (chain == kNil) return first;
  {
    auto pcp = z.pcp.template try_lock_here<&Pcp::lock>(typename L::PcpTag{});
    if (pcp) {
      Index last = chain;
      while (all_[last].next != kNil) last = all_[last].next;
      all_[last].next = pcp->list[order];
      pcp->list[order] = chain;
      pcp->count.store(pcp->count.load(internal::kRelaxed) + (got << order), internal::kRelaxed);
      return first;
    }
  }
  note_busy(z, true);
  give_chain(z, chain);
  return first;
}

// ---- allocation and free ------------------------------------------------------------------------

template <Kernel K, LockPolicy L>
BasicPage<K>* BasicPageAllocator<K, L>::alloc_slow(gfp flags, unsigned order, int node,
                                                   Place where) noexcept {
  if (order > kMaxOrder || !has_node(node)) return nullptr;
  if (attention_.load(internal::kRelaxed)) {
    if (attention_.load(internal::kRelaxed) & kNotSetUp) return nullptr;
    // zero, comp and thisnode are about the result, not about what may be done to get it.
    constexpr gfp kResult = gfp::zero | gfp::comp | gfp::thisnode;
    flags = flags & (static_cast<gfp>(allowed_.load(internal::kRelaxed)) | kResult);
    if (fails_now(order)) return internal::bump(first_zone(node)->counters.failures), nullptr;
  }
  Zone* const home = first_zone(node);
  const unsigned last = has(flags, gfp::thisnode) ? 1 : nodes_;
  auto zone_at = [&](unsigned i) -> Zone& {
    return zone_[(static_cast<unsigned>(home - zone_) + i) % nodes_];
  };
  for (int round = 0; round < 3; ++round) {
    for (unsigned i = 0; i < last; ++i) {
      Zone& z = zone_at(i);
      if (order < kPcpOrders && z.parked.empty())
        if (Page* const p = pop_here(z, order)) return prepare(p, flags, order, where);
      if (Page* const p = refill(z, order, flags)) return prepare(p, flags, order, where);
      if (has(flags, gfp::wake) && grow(z, order))
        if (Page* const p = refill(z, order, flags)) return prepare(p, flags, order, where);
    }
    if (!has(flags, gfp::reclaim)) break;
    if (round == 0) drain_all_pages();  // what other CPUs keep is better used than lacking
  }
  internal::bump(home->counters.failures);
  return nullptr;
}

template <Kernel K, LockPolicy L>
void BasicPageAllocator<K, L>::free_slow(Zone& z, Page* page, unsigned order) noexcept {
  const Index p = index(page);
  Guard g(z.lock, irq_save);
  unpark_locked(z);
  give_locked(z, p, order);
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
  if (attention_.load(internal::kRelaxed)) {
    if (attention_.load(internal::kRelaxed) & kNotSetUp) return refuse(PageRefusal::no_memory);
    if (fails_now(order)) return refuse(PageRefusal::injected);
  }
  PageRefusal reason = PageRefusal::no_memory;
  const unsigned last = has(flags, gfp::thisnode) ? 1 : nodes_;
  for (unsigned i = 0; i < last; ++i) {
    Zone& z = zone_[(static_cast<unsigned>(home - zone_) + i) % nodes_];
    bool pcp_busy = !kPcp;
    if (Page* const p = pop_here(z, order, &pcp_busy)) return prepare(p, flags, order, where);
    {
      TryGuard g(z.lock, irq_save);
      if (g) {
        z.lock.assert_held();
        if (Page* const p = take_locked(z, order, z.min)) return prepare(p, flags, order, where);
        continue;
      }
    }
    note_busy(z, false);
    reason = pcp_busy ? PageRefusal::zone_held_no_pcp : PageRefusal::zone_held;
  }
  return refuse(reason);
}

template <Kernel K, LockPolicy L>
bool BasicPageAllocator<K, L>::free_pages_nolock(Page* page, unsigned order, Place where) noexcept {
  if (!check_free(page, order, "free_pages_nolock", where)) [[unlikely]]
    return false;
  Zone& z = zone_of(*page);
  retire(page, order, where);
  if (L::may_try()) {
    if (order < kPcpOrders && push_here(z, page, order, /*nolock=*/true)) return true;
    // The gate stands here, at the lock: a block that no pcp takes comes this way, too.
    TryGuard g(z.lock, irq_save);
    if (g) {
      z.lock.assert_held();
      give_locked(z, index(page), order);
      return true;
    }
    note_busy(z, false);
  }
  page->set(PageState::parked, order);
  internal::bump(z.counters.parked, std::uintptr_t{1} << order);
  internal::bump(z.counters.parked_total);
  z.parked.push(index(page), next_of());
  return true;
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

// ---- what happens to a page on its way in and out -----------------------------------------------

template <Kernel K, LockPolicy L>
inline BasicPage<K>* BasicPageAllocator<K, L>::prepare(Page* p, gfp flags, unsigned order,
                                                       Place where) noexcept {
  p->set(PageState::used, order);
  if constexpr (K::kConfig.debug) {
    // All of its pages: one that was freed by itself carries its poison into a larger block.
    for (Index i = 0; i < (1u << order); ++i) {
      if (!p[i].poisoned) continue;
      const auto* const at = static_cast<const unsigned char*>(address(p + i));
      if (const unsigned char* const bad = internal::poison_overwritten(at))
        report(Finding::use_after_free, "alloc_pages", p + i, bad, where);
      p[i].poisoned = false;
    }
    p->history.allocated = where;
  }
  if (has(flags, gfp::comp)) {
    for (Index i = 1; i < (1u << order); ++i) {
      p[i].next = index(p);
      p[i].set(PageState::tail, 0);
    }
  }
  if (has(flags, gfp::zero)) std::memset(address(p), 0, kPageSize << order);
  return p;
}

template <Kernel K, LockPolicy L>
inline bool BasicPageAllocator<K, L>::check_free(Page* page, unsigned order, const char* call,
                                                 Place where) noexcept {
  if (page && static_cast<std::uintptr_t>(page - all_) < pages_ && page->is(PageState::used, order))
      [[likely]]
    return true;
  if (!page || static_cast<std::uintptr_t>(page - all_) >= pages_) {
    report(Finding::foreign_pointer, call, nullptr, page, where);
  } else {
    internal::bump(zone_of(*page).counters.bad_frees);
    const PageState s = page->state();
    const Finding f = s == PageState::used   ? Finding::wrong_order
                      : s == PageState::tail ? Finding::foreign_pointer
                                             : Finding::double_free;
    report(f, call, page, address(page), where);
  }
  return false;
}

template <Kernel K, LockPolicy L>
inline void BasicPageAllocator<K, L>::retire(Page* page, unsigned order, Place where) noexcept {
  if (order && page[1].state() == PageState::tail)
    for (Index i = 1; i < (1u << order); ++i) page[i].set(PageState::absent, 0);
  if constexpr (K::kConfig.debug) {
    page->history.freed = where;
    page->history.freed_in = K::Port::context();
    const unsigned poisoned = order < kPcpOrders ? 1u << order : 1;
    for (unsigned i = 0; i < poisoned; ++i) {
      std::memcpy(address(page + i), internal::kPoison.bytes, internal::kPoisonBytes);
      page[i].poisoned = true;
      page[i].history = page->history;
    }
  }
}

template <Kernel K, LockPolicy L>
void BasicPageAllocator<K, L>::report(Finding f, const char* call, const Page* page, const void* at,
                                      Place where) noexcept {
  if constexpr (K::kConfig.debug) {
    Report r;
    r.finding = f;
    r.config = K::kConfig;
    r.context = K::Port::context();
    r.cpu = K::Port::cpu_id();
    r.type = "PageAllocator";
    r.call = call;
    r.lock = at;
    r.here = where;
    if (page) {
      r.born_at = page->history.allocated;
      r.taken_at = page->history.freed;
      r.taken_in = page->history.freed_in;
    }
    K::Port::report(r);
  }
}

template <Kernel K, LockPolicy L>
void BasicPageAllocator<K, L>::note_busy(Zone& z, bool pcp) noexcept {
  const auto c = static_cast<unsigned>(K::Port::context());
  internal::bump(pcp ? z.counters.pcp_busy[c] : z.counters.zone_busy[c]);
}

template <Kernel K, LockPolicy L>
bool BasicPageAllocator<K, L>::fails_now(unsigned order) noexcept {
  const std::uint32_t k = fail_every_.load(internal::kRelaxed);
  if (!k || !(fail_orders_.load(internal::kRelaxed) >> order & 1)) return false;
  return (fail_turn_.fetch_add(1, internal::kRelaxed) + 1) % k == 0;
}

// ---- memory -------------------------------------------------------------------------------------

template <Kernel K, LockPolicy L>
PageSetup BasicPageAllocator<K, L>::set_up(const PageMemory& m) noexcept {
  if (!(attention_.load(internal::kRelaxed) & kNotSetUp)) return PageSetup::already;
  if (m.nodes < 1 || m.nodes > kMaxNodes) return PageSetup::bad_nodes;
  const auto start = reinterpret_cast<std::uintptr_t>(m.start);
  std::uintptr_t begin = (start + kPageSize - 1) >> kPageShift;
  const std::uintptr_t end = (start + m.size) >> kPageShift;
  if (!m.start || end <= begin) return PageSetup::too_small;
  void* descriptors = m.descriptors;
  if (!descriptors) {
    const std::size_t need =
        ((end - begin) * sizeof(Page) + sizeof(Page) + kPageSize - 1) >> kPageShift;
    if (need >= end - begin) return PageSetup::too_small;
    descriptors = reinterpret_cast<void*>(begin << kPageShift);
    if (m.commit && !m.commit(descriptors, need << kPageShift)) return PageSetup::commit_failed;
    std::memset(descriptors, 0, need << kPageShift);
    begin += need;
  }
  const std::uintptr_t aligned =
      (reinterpret_cast<std::uintptr_t>(descriptors) + alignof(Page) - 1) & ~(alignof(Page) - 1);
  if (end - begin < m.nodes || end - begin > kNil - (2u << kMaxOrder)) return PageSetup::too_small;
  // Zero-filled is a valid absent page, except that its links are 0 and not kNil: both are only
  // looked at on a list. So a reserved range of any size is not touched here.
  all_ = reinterpret_cast<Page*>(aligned);
  first_pfn_ = begin;
  pages_ = end - begin;
  nodes_ = m.nodes;
  commit_ = m.commit;
  std::uintptr_t at = 0;
  for (unsigned n = 0; n < nodes_; ++n) {
    Zone& z = zone_[n];
    z.begin = static_cast<Index>(at);
    at = n + 1 == nodes_ ? pages_ : at + pages_ / nodes_;
    z.end = static_cast<Index>(at);
    const std::uint32_t size = z.end - z.begin;
    z.min = size / 256 < 256 ? size / 256 : 256;
    z.low = z.min + z.min / 4;
    z.high = z.min + z.min / 2;
    const std::uint32_t batch = size / 256 < 4 ? 4 : size / 256 < 63 ? size / 256 : 63;
    z.pcp_batch.store(batch, internal::kRelaxed);
    z.pcp_high.store(6 * batch, internal::kRelaxed);
    z.buddy.set_up(all_, first_pfn_, z.begin, z.end);
    z.committed.store(commit_ ? z.begin : z.end, internal::kRelaxed);
    if (!commit_) add_memory(z, z.begin, z.end);
  }
  // release: pairs with nothing stronger than the caller's own hand-over of the allocator.
  attention_.fetch_and(~std::uint32_t{kNotSetUp}, std::memory_order_release);
  return PageSetup::ok;
}

// Usable pages into the buddy, as the largest aligned blocks.
template <Kernel K, LockPolicy L>
void BasicPageAllocator<K, L>::add_memory(Zone& z, Index begin, Index end) noexcept {
  for (Index p = begin; p < end; ++p) all_[p].zone_id = static_cast<std::uint8_t>(&z - zone_);
  Guard g(z.lock, irq_save);
  for (Index p = begin; p < end;) {
    unsigned order = kMaxOrder;
    while (((first_pfn_ + p) & ((std::uintptr_t{1} << order) - 1)) || end - p < (1u << order))
      --order;
    z.buddy.give(p, order, z.isolated_blocks.load(internal::kRelaxed) && block_isolated(z, p));
    p += 1u << order;
  }
}

// Commits the next 2 MiB, or what a larger block needs. False: none left, or out of memory. A range
// whose commit failed is put back if nobody claimed the next one meanwhile, else it stays unused.
template <Kernel K, LockPolicy L>
bool BasicPageAllocator<K, L>::grow(Zone& z, unsigned order) noexcept {
  if (!commit_) return false;
  constexpr std::uint32_t kStep = (std::uint32_t{2} << 20) >> kPageShift;
  std::uint32_t at = z.committed.load(internal::kRelaxed), upto;
  do {
    if (at >= z.end) return false;
    std::uint32_t want = (1u << order) > kStep ? 1u << order : kStep;
    // up to the next boundary of that size, so that whole blocks come together
    want += static_cast<std::uint32_t>(-(first_pfn_ + at) & (want - 1));
    upto = z.end - at < want ? z.end : at + want;
    // relaxed: the claim orders nothing; the zone lock publishes the memory.
  } while (!z.committed.compare_exchange_weak(at, upto, internal::kRelaxed, internal::kRelaxed));
  if (!commit_(address(all_ + at), std::size_t{upto - at} << kPageShift)) {
    const Index pages = upto - at;
    if (!z.committed.compare_exchange_strong(upto, at, internal::kRelaxed, internal::kRelaxed))
      z.unusable.fetch_add(pages, internal::kRelaxed);
    return false;
  }
  add_memory(z, at, upto);
  return true;
}

// ---- upkeep -------------------------------------------------------------------------------------

template <Kernel K, LockPolicy L>
void BasicPageAllocator<K, L>::drain_cpu(unsigned cpu) noexcept {
  if (cpu >= decltype(Zone::pcp)::size()) return;
  for (unsigned n = 0; n < nodes_; ++n) {
    Zone& z = zone_[n];
    Pcp& pcp = z.pcp.on(cpu);
    while (pcp.count.load(internal::kRelaxed)) {
      Index chain = kNil;
      with_pcp(pcp,
               [&](Pcp& locked) { chain = detach(locked, z.pcp_batch.load(internal::kRelaxed)); });
      if (chain == kNil) break;
      give_chain(z, chain);
    }
  }
}

template <Kernel K, LockPolicy L>
void BasicPageAllocator<K, L>::drain_all_pages() noexcept {
  for (unsigned cpu = 0; cpu < decltype(Zone::pcp)::size(); ++cpu) drain_cpu(cpu);
  unpark_all();
}

template <Kernel K, LockPolicy L>
void BasicPageAllocator<K, L>::unpark_all() noexcept {
  for (unsigned n = 0; n < nodes_; ++n) {
    Guard g(zone_[n].lock, irq_save);
    unpark_locked(zone_[n]);
  }
}

template <Kernel K, LockPolicy L>
void BasicPageAllocator<K, L>::isolate_block(Page* p, bool isolated) noexcept {
  if (!p || index(p) >= pages_) return;
  unsigned node = 0;
  while (index(p) >= zone_[node].end) ++node;  // zone_id is set when a page's memory is added
  Zone& z = zone_[node];
  const Index block = block_of(index(p), z);
  {
    Guard g(z.lock, irq_save);
    Page& first = all_[block];
    if ((first.isolation.load(internal::kRelaxed) != 0) == isolated) return;
    first.isolation.store(isolated, internal::kRelaxed);
    const std::uint32_t n = z.isolated_blocks.load(internal::kRelaxed);
    z.isolated_blocks.store(isolated ? n + 1 : n - 1, internal::kRelaxed);
    z.buddy.move(block, block_end(index(p), z), isolated);
  }
  if (isolated) drain_all_pages();  // its pages in caches go home to the isolated list
}

template <Kernel K, LockPolicy L>
void BasicPageAllocator<K, L>::pcp_disable(unsigned node) noexcept {
  Zone& z = zone_[node];
  z.pcp_off.fetch_add(1, internal::kRelaxed);
  z.pcp_high.store(0, internal::kRelaxed);
  drain_all_pages();
}

template <Kernel K, LockPolicy L>
void BasicPageAllocator<K, L>::pcp_enable(unsigned node) noexcept {
  Zone& z = zone_[node];
  if (z.pcp_off.fetch_sub(1, internal::kRelaxed) == 1)
    z.pcp_high.store(6 * z.pcp_batch.load(internal::kRelaxed), internal::kRelaxed);
}

template <Kernel K, LockPolicy L>
void BasicPageAllocator<K, L>::set_allowed(gfp mask) noexcept {
  allowed_.store(static_cast<std::uint32_t>(mask), internal::kRelaxed);
  if ((kGfpAll & ~mask) == gfp::none)
    attention_.fetch_and(~std::uint32_t{kRestricted}, internal::kRelaxed);
  else
    attention_.fetch_or(kRestricted, internal::kRelaxed);
}

template <Kernel K, LockPolicy L>
void BasicPageAllocator<K, L>::fail_every(std::uint32_t k, std::uint32_t orders) noexcept {
  fail_orders_.store(orders, internal::kRelaxed);
  fail_every_.store(k, internal::kRelaxed);
  if (k)
    attention_.fetch_or(kFailing, internal::kRelaxed);
  else
    attention_.fetch_and(~std::uint32_t{kFailing}, internal::kRelaxed);
}

// ---- to look at ---------------------------------------------------------------------------------

template <Kernel K, LockPolicy L>
PageStats BasicPageAllocator<K, L>::stats(unsigned node) const noexcept {
  PageStats s{};
  if (node >= nodes_) return s;
  const Zone& z = zone_[node];
  const auto& c = z.counters;
  auto now = [](const auto& counter) { return std::uintptr_t{counter.load(internal::kRelaxed)}; };
  s.present = z.end - z.begin, s.committed = now(z.committed) - z.begin - now(z.unusable);
  s.free = z.buddy.free_pages(), s.isolated = z.buddy.isolated_pages();
  s.parked = now(c.parked);
  s.min = z.min, s.low = z.low, s.high = z.high;
  for (unsigned cpu = 0; cpu < decltype(Zone::pcp)::size(); ++cpu) {
    const Pcp& pcp = z.pcp.on(cpu);
    s.cached += now(pcp.count), s.pcp_allocs += now(pcp.allocs), s.pcp_frees += now(pcp.frees);
  }
  s.zone_allocs = now(c.zone_allocs), s.zone_frees = now(c.zone_frees);
  s.refills = now(c.refills), s.drains = now(c.drains);
  s.parked_total = now(c.parked_total), s.unparked = now(c.unparked);
  s.failures = now(c.failures), s.bad_frees = now(c.bad_frees);
  for (unsigned i = 0; i < kPageRefusals; ++i) s.refusals[i] = now(c.refusals[i]);
  for (unsigned i = 0; i < 4; ++i)
    s.pcp_busy[i] = now(c.pcp_busy[i]), s.zone_busy[i] = now(c.zone_busy[i]);
  return s;
}

template <Kernel K, LockPolicy L>
bool BasicPageAllocator<K, L>::consistent() noexcept {
  for (unsigned n = 0; n < nodes_; ++n) {
    Zone& z = zone_[n];
    Guard g(z.lock, irq_save);
    if (!z.buddy.consistent()) return false;
    // Every committed page is the head of, or inside, exactly one block.
    std::uintptr_t count[6] = {};
    const Index upto = z.committed.load(internal::kRelaxed);
    for (Index p = z.begin; p < upto;) {
      const PageState s = all_[p].state();
      if (s == PageState::tail || (s != PageState::absent && all_[p].zone_id != n)) return false;
      const unsigned order = all_[p].order();
      if (order > kMaxOrder || upto - p < (1u << order)) return false;
      count[static_cast<unsigned>(s)] += 1u << order;
      p += 1u << order;
    }
    const PageStats s = stats(n);
    if (count[static_cast<unsigned>(PageState::absent)] != z.unusable.load(internal::kRelaxed) ||
        count[static_cast<unsigned>(PageState::buddy)] != s.free + s.isolated ||
        count[static_cast<unsigned>(PageState::cached)] != s.cached ||
        count[static_cast<unsigned>(PageState::parked)] != s.parked)
      return false;
    // And a CPU's lists hold what its count says.
    for (unsigned cpu = 0; cpu < decltype(Zone::pcp)::size(); ++cpu) {
      const Pcp& pcp = z.pcp.on(cpu);
      std::uint32_t pages = 0;
      for (unsigned order = 0; order < kPcpOrders; ++order)
        for (Index p = pcp.list[order]; p != kNil; p = all_[p].next) {
          if (p < z.begin || p >= z.end || !all_[p].is(PageState::cached, order)) return false;
          if ((pages += 1u << order) > s.cached) return false;
        }
      if (pages != pcp.count.load(internal::kRelaxed)) return false;
    }
  }
  return true;
}

}  // namespace nestlock

#include "nestlock/internal/page_text.h"
