// What happens to a page on its way in and out: its state, poison, reports. Included by page.h.
#pragma once

#include <cstring>

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

// Of all its pages: one that was freed by itself carries its poison into a larger block.
template <Kernel K, LockPolicy L>
void BasicPageAllocator<K, L>::check_poison(Page* p, std::uint32_t pages, Place where) noexcept
  requires(!internal::kLeanOf<K> || K::kConfig.debug)
{
  for (Index i = 0; i < pages; ++i) {
    if (!p[i].poisoned) continue;
    const auto* const at = static_cast<const unsigned char*>(address(p + i));
    if (const unsigned char* const bad = internal::poison_overwritten(at))
      report(Finding::use_after_free, "alloc_pages", p + i, bad, where);
    p[i].poisoned = false;
  }
}

template <Kernel K, LockPolicy L>
inline BasicPage<K>* BasicPageAllocator<K, L>::prepare(Page* p, gfp flags, unsigned order,
                                                       Place where) noexcept {
  p->set(PageState::used, order);
  if constexpr (K::kConfig.debug) {
    check_poison(p, 1u << order, where);
    p->history.allocated = where;
  }
  constexpr gfp kMore = gfp::comp | gfp::zero;
  if ((flags & kMore) == gfp::none) [[likely]]
    return p;
  if (has(flags, gfp::comp)) {
    for (Index i = 1; i < (1u << order); ++i) {
      p[i].next = index(p);
      p[i].set(PageState::tail, 0);
    }
  }
  if (has(flags, gfp::zero)) std::memset(address(p), 0, kPageSize << order);
  return p;
}

// One comparison refuses null, too: what lies before the descriptors is far above them.
template <Kernel K, LockPolicy L>
[[gnu::always_inline]] inline bool BasicPageAllocator<K, L>::is_ours(
    const Page* page) const noexcept {
  return reinterpret_cast<std::uintptr_t>(page) - reinterpret_cast<std::uintptr_t>(all_) <
         described_.load(internal::kRelaxed) * sizeof(Page);
}

template <Kernel K, LockPolicy L>
[[gnu::cold, gnu::noinline]] bool BasicPageAllocator<K, L>::bad_free(Page* page, const char* call,
                                                                     Place where) noexcept {
  if (!is_ours(page)) {
    report(Finding::foreign_pointer, call, nullptr, page, where);
    return false;
  }
  internal::bump(zone_of(*page).counters.bad_frees);
  const PageState s = page->state();
  const Finding f = s == PageState::used   ? Finding::wrong_order
                    : s == PageState::tail ? Finding::foreign_pointer
                                           : Finding::double_free;
  report(f, call, page, address(page), where);
  return false;
}

template <Kernel K, LockPolicy L>
inline void BasicPageAllocator<K, L>::retire(Page* page, unsigned order, Place where) noexcept {
  if (order && page[1].state() == PageState::tail)
    for (Index i = 1; i < (1u << order); ++i) page[i].set(PageState::absent, 0);
  if constexpr (!kLean) page->clean = false;
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
void BasicPageAllocator<K, L>::note_busy(Zone& z, bool pcp) noexcept
  requires(!internal::kLeanOf<K>)
{
  const auto c = static_cast<unsigned>(K::Port::context());
  internal::bump(pcp ? z.counters.pcp_busy[c] : z.counters.zone_busy[c]);
}

template <Kernel K, LockPolicy L>
bool BasicPageAllocator<K, L>::fails_now(unsigned order) noexcept
  requires(!internal::kLeanOf<K>)
{
  const std::uint32_t k = controls_.fail_every.load(internal::kRelaxed);
  if (!k || !(controls_.fail_orders.load(internal::kRelaxed) >> order & 1)) return false;
  return (controls_.fail_turn.fetch_add(1, internal::kRelaxed) + 1) % k == 0;
}

template <Kernel K, LockPolicy L>
inline bool BasicPageAllocator<K, L>::interrupted() const noexcept {
  const unsigned cpu = internal::claimed_cpu<typename K::Port>();
  for (unsigned n = 0; n < nodes(); ++n)
    if (zone_[n].lock.is_locked() ||
        (cpu < decltype(Zone::pcp)::size() && zone_[n].pcp.on(cpu).lock.is_locked()))
      return true;
  return false;
}

template <Kernel K, LockPolicy L>
inline auto BasicPageAllocator<K, L>::first_zone(int node) noexcept -> Zone* {
  if (node >= 0) return &zone_[has_node(node) ? static_cast<unsigned>(node) : 0];
  if (nodes() == 1) [[likely]]
    return &zone_[0];
  return &zone_[internal::claimed_cpu<typename K::Port>() % nodes()];
}

template <Kernel K, LockPolicy L>
inline auto BasicPageAllocator<K, L>::zone_of(const Page& p) noexcept -> Zone& {
  if (nodes() == 1) [[likely]]
    return zone_[0];
  return zone_[p.zone_id];
}

}  // namespace nestlock
