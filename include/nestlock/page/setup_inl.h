// Set-up, memory, drains, isolation, statistics. Included by page.h.
#pragma once

#include <cstring>

#include "nestlock/lock/guard.h"
#include "nestlock/page.h"

namespace nestlock {

template <Kernel K, LockPolicy L>
PageSetup BasicPageAllocator<K, L>::set_up(const PageMemory& m) noexcept {
  if (ready_.load(internal::kRelaxed)) return PageSetup::already;
  if (m.nodes < 1 || m.nodes > (m.commit_descriptors ? 1 : kMaxNodes)) return PageSetup::bad_nodes;
  if (m.commit_descriptors && (!m.commit || !m.descriptors)) return PageSetup::too_small;
  if (kLean && (m.commit || m.release)) return PageSetup::commit_failed;
  const auto start = reinterpret_cast<std::uintptr_t>(m.start);
  std::uintptr_t begin = (start + kPageSize - 1) >> kPageShift;
  const std::uintptr_t end = (start + m.size) >> kPageShift;
  if (!m.start || end <= begin) return PageSetup::too_small;
  void* descriptors = m.descriptors;
  if (!descriptors) {
    const std::size_t need =
        ((end - begin) * kDescriptorBytes + sizeof(Page) + kPageSize - 1) >> kPageShift;
    if (need >= end - begin) return PageSetup::too_small;
    descriptors = reinterpret_cast<void*>(begin << kPageShift);
    if (!kLean && m.commit && !m.commit(descriptors, need << kPageShift))
      return PageSetup::commit_failed;
    internal::asan_unpoison(descriptors, need << kPageShift);
    std::memset(descriptors, 0, need << kPageShift);
    begin += need;
  }
  const std::uintptr_t aligned =
      (reinterpret_cast<std::uintptr_t>(descriptors) + alignof(Page) - 1) & ~(alignof(Page) - 1);
  if (end - begin < m.nodes || end - begin > kNil - (2u << kMaxOrder)) return PageSetup::too_small;
  // Zero-filled is a valid absent page, except that its links are 0 and not kNil: both are only
  // looked at on a list. So a reserved range of any size is not touched here.
  const auto tags = reinterpret_cast<std::uint8_t*>(aligned) + (end - begin) * sizeof(Page);
  all_ = reinterpret_cast<Page*>(aligned);
  first_pfn_ = begin;
  pages_ = end - begin;
  if constexpr (kLean) {
    described_.store(pages_, internal::kRelaxed);
  } else {
    before_ = reinterpret_cast<Page*>(aligned - sizeof(Page));
    tags_ = tags;
    nodes_ = m.nodes;
    commit_ = m.commit;
    commit_descriptors_ = m.commit_descriptors;
    described_.store(commit_descriptors_ ? 0 : pages_, internal::kRelaxed);
    release_ = m.release;
    now_ = m.now;
    if (now_) decay_next_.store(static_cast<std::uintptr_t>(now_()), internal::kRelaxed);
  }
  std::uintptr_t at = 0;
  for (unsigned n = 0; n < nodes(); ++n) {
    Zone& z = zone_[n];
    z.begin = static_cast<std::uint32_t>(at);
    at = n + 1 == nodes() ? pages_ : at + pages_ / nodes();
    z.end = static_cast<std::uint32_t>(at);
    const std::uint32_t size = z.end - z.begin;
    // 1/256 of the zone, at most 1 MiB (and 4 pages, where a page is that large).
    constexpr std::uint32_t kMost = (1u << 20 >> kPageShift) < 4 ? 4 : 1u << 20 >> kPageShift;
    z.min = size / 256 < kMost ? size / 256 : kMost;
    z.low = z.min + z.min / 4;
    z.high = z.min + z.min / 2;
    const std::uint32_t part = size / 256 < kLeastBatch ? kLeastBatch : size / 256;
    const std::uint32_t batch = part < kMostBatch ? part : kMostBatch;
    z.pcp_batch.store(batch, internal::kRelaxed);
    z.pcp_high.store(kHighOf * batch, internal::kRelaxed);
    z.buddy.set_up(all_, first_pfn_, z.begin, z.end);
    if constexpr (!kLean) z.committed.store(commit_ ? z.begin : z.end, internal::kRelaxed);
    if (kLean || !commit_) add_memory(z, z.begin, z.end);
  }
  // release: pairs with nothing stronger than the caller's own hand-over of the allocator.
  ready_.store(1, std::memory_order_release);
  return PageSetup::ok;
}

// Usable pages into the buddy, as the largest aligned blocks.
template <Kernel K, LockPolicy L>
void BasicPageAllocator<K, L>::add_memory(Zone& z, Index begin, Index end) noexcept {
  // (Of the first zone they have it: what nobody uses of its descriptors is not touched.)
  if constexpr (!kLean)
    if (&z != zone_)
      for (Index p = begin; p < end; ++p) all_[p].zone_id = static_cast<std::uint8_t>(&z - zone_);
  internal::asan_unpoison(address(all_ + begin), std::size_t{end - begin} << kPageShift);
  Guard g(z.lock, irq_save);
  for (Index p = begin; p < end;) {
    unsigned order = kMaxOrder;
    while (((first_pfn_ + p) & ((std::uintptr_t{1} << order) - 1)) || end - p < (1u << order))
      --order;
    // Clean, if it is committed just now; what was usable from the beginning may have been used.
    z.buddy.give(p, order, z.isolated_blocks.load(internal::kRelaxed) && block_isolated(z, p),
                 !kLean && commit_);
    p += 1u << order;
  }
}

// The descriptors and tags of all pages up to `end` can be used, or there is no memory for them. In growing steps, and
// for whole blocks: a page's neighbours in the buddy can be looked at, whether committed or not.
template <Kernel K, LockPolicy L>
bool BasicPageAllocator<K, L>::describe(const Zone& z, Index end) noexcept
  requires(!internal::kLeanOf<K>)
{
  // relaxed, all three: by the time that a thread has read the number the system has done its part.
  const auto from = static_cast<Index>(described_.load(internal::kRelaxed));
  if (end <= from || !commit_descriptors_) [[likely]]
    return true;
  constexpr std::uint32_t kLargest = (std::uint32_t{64} << 20) >> kPageShift;
  const Index step = from < kLargest ? from : kLargest;
  if (end - from < step) end = z.end - from < step ? z.end : from + step;
  end = block_end(end - 1, z);
  if (!commit_descriptors_(all_ + from, (end - from) * sizeof(Page))) return false;
  // The tags by 64 KiB: whole pages of any system's.
  const auto tagged = [this](std::uintptr_t pages) {
    const std::uintptr_t up = (pages + 0xffff) & ~std::uintptr_t{0xffff};
    return up < pages_ ? up : pages_;
  };
  if (const auto more = tagged(end) - tagged(from);
      more && !commit_descriptors_(tags_ + tagged(from), more))
    return false;
  Guard g(zone_[0].lock, irq_save);  // two at once have done the same; the further end stays
  if (described_.load(internal::kRelaxed) < end) described_.store(end, internal::kRelaxed);
  return true;
}

// A range whose commit failed before: its first page's descriptor is on the list and has its length.
template <Kernel K, LockPolicy L>
bool BasicPageAllocator<K, L>::take_failed(Zone& z, Index& begin, Index& end) noexcept
  requires(!internal::kLeanOf<K>)
{
  if (z.failed.empty()) [[likely]]
    return false;
  begin = z.failed.take_all();
  if (begin == kNil) return false;  // another CPU was faster
  for (Index rest = all_[begin].next; rest != kNil;) {
    const Index next = all_[rest].next;
    z.failed.push(rest, next_of());
    rest = next;
  }
  end = begin + static_cast<Index>(all_[begin].owner_count);
  return true;
}

// Commits up to the next 2 MiB, or what a larger block needs; a range whose commit failed before first. False:
// none left, or out of memory. A range whose commit fails is put back if nobody claimed the next one
// meanwhile, else it is kept for a later call.
template <Kernel K, LockPolicy L>
bool BasicPageAllocator<K, L>::grow(Zone& z, unsigned order) noexcept
  requires(!internal::kLeanOf<K>)
{
  if (!commit_) return false;
  constexpr std::uint32_t kStep = (std::uint32_t{2} << 20) >> kPageShift;
  std::uint32_t at = 0, upto = 0;
  const bool again = take_failed(z, at, upto);
  if (!again) at = z.committed.load(internal::kRelaxed);
  if (!again) do {
      if (at >= z.end) return false;
      std::uint32_t want = (1u << order) > kStep ? 1u << order : kStep;
      // up to the next boundary of that size, so that whole blocks come together
      want += static_cast<std::uint32_t>(-(first_pfn_ + at) & (want - 1));
      // At first a little less: a small program is to stay below 8 MiB, the usual limit of what may be locked.
      if (at == z.begin && want == kStep && want > 1u << order) want -= kStep / 4;
      upto = z.end - at < want ? z.end : at + want;
      if (!describe(z, upto)) return false;
      // relaxed: the claim orders nothing; the zone lock publishes the memory.
    } while (!z.committed.compare_exchange_weak(at, upto, internal::kRelaxed, internal::kRelaxed));
  const Index pages = upto - at;
  if (!commit_(address(all_ + at), std::size_t{pages} << kPageShift)) {
    if (!again) {
      if (z.committed.compare_exchange_strong(upto, at, internal::kRelaxed, internal::kRelaxed))
        return false;
      z.unusable.fetch_add(pages, internal::kRelaxed);
      all_[at].owner_count = pages;
    }
    z.failed.push(at, next_of());
    return false;
  }
  if (again) {
    all_[at].owner_count = 0;
    z.unusable.fetch_sub(pages, internal::kRelaxed);
  }
  add_memory(z, at, upto);
  return true;
}

template <Kernel K, LockPolicy L>
void BasicPageAllocator<K, L>::drain_cpu(unsigned cpu) noexcept {
  if (cpu >= decltype(Zone::pcp)::size()) return;
  if (K::kConfig.debug && K::Port::context() != Context::task)
    report(Finding::wrong_context, "drain_cpu", nullptr, nullptr, Place::here());
  for (unsigned n = 0; n < nodes(); ++n) {
    Zone& z = zone_[n];
    Pcp& pcp = z.pcp.on(cpu);
    while (pcp.count()) {
      Index chain = 0;
      with_pcp(pcp,
               [&](Pcp& locked) { chain = detach(locked, z.pcp_batch.load(internal::kRelaxed)); });
      if (!chain) break;
      give_chain(z, chain);
    }
  }
}

template <Kernel K, LockPolicy L>
void BasicPageAllocator<K, L>::drain_all_pages() noexcept {
  // (Not of those that nobody ever had: each that is looked at costs a start a part of a page fault.)
  const unsigned cpus = internal::cpus_seen<typename K::Port>();
  for (unsigned cpu = 0; cpu < cpus; ++cpu) drain_cpu(cpu);
  unpark_all();
}

template <Kernel K, LockPolicy L>
void BasicPageAllocator<K, L>::unpark_all() noexcept {
  for (unsigned n = 0; n < nodes(); ++n) {
    // Once the rest of an earlier call, and once what was parked since; no more, for what interrupts this
    // may park as fast as it puts back.
    for (int i = 0; i < 2; ++i) {
      for (bool more = true; more;) {
        Guard g(zone_[n].lock, irq_save);
        unpark_locked(zone_[n], kUnparkedAtOnce);
        more = zone_[n].backlog != 0;
      }
    }
  }
}

template <Kernel K, LockPolicy L>
bool BasicPageAllocator<K, L>::unpark() noexcept {
  bool none = true;
  for (unsigned n = 0; n < nodes(); ++n) {
    if (L::may_try()) {
      TryGuard g(zone_[n].lock, irq_save);
      if (g) {
        zone_[n].lock.assert_held();
        unpark_locked(zone_[n], kUnparkedAtOnce);
      }
    }
    none = none && !has_parked(zone_[n]);
  }
  return none;
}

template <Kernel K, LockPolicy L>
bool BasicPageAllocator<K, L>::add_shrinker(Shrinker& s) noexcept {
  for (auto& slot : shrinkers_) {
    Shrinker* none = nullptr;
    // release: who finds it sees what it points to. relaxed if taken: then it is not looked at.
    if (slot.compare_exchange_strong(none, &s, std::memory_order_release, internal::kRelaxed))
      return true;
  }
  return false;
}

// Who asks the shrinkers counts itself and then reads the slots; here the slot is emptied and then the
// count is read. All four are sequentially consistent, so that one of the two sees the other.
template <Kernel K, LockPolicy L>
bool BasicPageAllocator<K, L>::remove_shrinker(Shrinker& s) noexcept {
  bool found = false;
  for (auto& slot : shrinkers_) {
    if (slot.load(internal::kRelaxed) != &s) continue;
    slot.store(nullptr, std::memory_order_seq_cst);
    found = true;
  }
  unsigned turns = 0;
  while (shrinking_.load(std::memory_order_seq_cst)) internal::wait_turn<typename K::Port>(turns);
  return found;
}

template <Kernel K, LockPolicy L>
bool BasicPageAllocator<K, L>::ask_shrinkers() noexcept {
  bool gave = false;
  shrinking_.fetch_add(1, std::memory_order_seq_cst);
  for (auto& slot : shrinkers_)
    if (Shrinker* const s = slot.load(std::memory_order_seq_cst)) gave |= s->shrink(*s);
  // release: pairs with remove_shrinker(), after which the shrinker may go.
  shrinking_.fetch_sub(1, std::memory_order_release);
  return gave;
}

template <Kernel K, LockPolicy L>
void BasicPageAllocator<K, L>::isolate_block(Page* p, bool isolated) noexcept
  requires(!internal::kLeanOf<K>)
{
  if (!p || index(p) >= pages_) return;
  unsigned node = 0;
  while (index(p) >= zone_[node].end) ++node;  // zone_id is set when a page's memory is added
  Zone& z = zone_[node];
  const Index block = block_of(index(p), z);
  if (!describe(z, block + 1)) return;  // nobody could get its pages either
  {
    Guard g(z.lock, irq_save);
    Page& first = all_[block];
    if ((first.isolation.load(internal::kRelaxed) != 0) == isolated) return;
    first.isolation.store(isolated, internal::kRelaxed);
    const std::uint32_t n = z.isolated_blocks.load(internal::kRelaxed);
    z.isolated_blocks.store(isolated ? n + 1 : n - 1, internal::kRelaxed);
    isolated ? attention_.fetch_add(kIsolatedOne, internal::kRelaxed)
             : attention_.fetch_sub(kIsolatedOne, internal::kRelaxed);
    z.buddy.move(block, block_end(index(p), z), isolated);
  }
  if (isolated) drain_all_pages();  // its pages in caches go home to the isolated list
}

template <Kernel K, LockPolicy L>
void BasicPageAllocator<K, L>::set_allowed(gfp mask) noexcept
  requires(!internal::kLeanOf<K>)
{
  const gfp denied = kGfpAll & ~mask;
  controls_.denied.store(static_cast<std::uint32_t>(denied), internal::kRelaxed);
  if (denied == gfp::none)
    attention_.fetch_and(~std::uint32_t{kRestricted}, internal::kRelaxed);
  else
    attention_.fetch_or(kRestricted, internal::kRelaxed);
}

template <Kernel K, LockPolicy L>
void BasicPageAllocator<K, L>::fail_every(std::uint32_t k, std::uint32_t orders) noexcept
  requires(!internal::kLeanOf<K>)
{
  controls_.fail_orders.store(orders, internal::kRelaxed);
  controls_.fail_every.store(k, internal::kRelaxed);
  if (k)
    attention_.fetch_or(kFailing, internal::kRelaxed);
  else
    attention_.fetch_and(~std::uint32_t{kFailing}, internal::kRelaxed);
}

template <Kernel K, LockPolicy L>
PageStats BasicPageAllocator<K, L>::stats(unsigned node) const noexcept {
  PageStats s{};
  if (node >= nodes()) return s;
  const Zone& z = zone_[node];
  const auto& c = z.counters;
  auto now = [](const auto& counter) { return std::uintptr_t{counter.load(internal::kRelaxed)}; };
  s.present = z.end - z.begin, s.committed = z.usable_end() - z.begin - now(z.unusable);
  s.free = z.buddy.free_pages(), s.isolated = z.buddy.isolated_pages();
  s.parked = now(c.parked);
  s.clean = z.buddy.clean_pages(), s.released = now(c.released);
  s.min = z.min, s.low = z.low, s.high = z.high;
  const unsigned cpus = internal::cpus_seen<typename K::Port>();
  for (unsigned cpu = 0; cpu < cpus; ++cpu) {
    const Pcp& pcp = z.pcp.on(cpu);
    s.cached += pcp.count();
    s.pcp_allocs += now(pcp.out) - now(pcp.drained), s.pcp_frees += now(pcp.in) - now(pcp.refilled);
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
  for (unsigned n = 0; n < nodes(); ++n) {
    Zone& z = zone_[n];
    Guard g(z.lock, irq_save);
    if (!z.buddy.consistent()) return false;
    // Every committed page is the head of, or inside, exactly one block.
    std::uintptr_t count[6] = {};
    const Index upto = z.usable_end();
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
        for (Index at = pcp.list[order]; at; at = numbered(at)->next) {
          if (at <= z.begin || at > z.end || !numbered(at)->is(PageState::cached, order))
            return false;
          if ((pages += 1u << order) > s.cached) return false;
        }
      if (pages != pcp.count()) return false;
    }
  }
  return true;
}

}  // namespace nestlock
