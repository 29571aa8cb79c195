// Memory that is kept for nolock calls. Included by page.h.
#pragma once

#include "nestlock/lock/guard.h"
#include "nestlock/page.h"

namespace nestlock {

// Ordinary calls leave `kept` pages more than the watermark (mark_for()); memory goes back to the system down
// to as many (release_some()).
template <Kernel K, LockPolicy L>
bool BasicPageAllocator<K, L>::reserve(std::size_t bytes) noexcept
  requires(!internal::kLeanOf<K>)
{
  const std::size_t all = (bytes >> kPageShift) + (bytes % kPageSize ? 1 : 0);
  const auto share = [&](unsigned n) { return all / nodes() + (n < all % nodes() ? 1 : 0); };
  for (unsigned n = 0; n < nodes(); ++n)
    if (share(n) > zone_[n].end - zone_[n].begin) return false;
  bool there = true;
  drain_all_pages();
  for (unsigned n = 0; n < nodes(); ++n) {
    Zone& z = zone_[n];
    const auto pages = static_cast<std::uint32_t>(share(n));
    z.kept_for_nolock.store(pages, internal::kRelaxed);
    // One look decides both: what an interruption takes in between would make the answer false, though
    // there is more to commit.
    bool enough = false;
    while (!(enough = z.buddy.free_pages() >= z.min + pages) && grow(z, 0)) {
    }
    there &= enough;
    touch(z, pages);
  }
  return there;
}

// Each page's first touch is a fault; better here than in a handler. Each is written as it was, for it may
// be poisoned.
template <Kernel K, LockPolicy L>
void BasicPageAllocator<K, L>::touch(Zone& z, std::uint32_t pages) noexcept
  requires(!internal::kLeanOf<K>)
{
  Index chain = 0;
  for (std::uint32_t had = 0; had < pages; ++had) {
    Page* p = nullptr;
    {
      Guard g(z.lock, irq_save);
      p = take_locked(z, 0, 0);
    }
    if (!p) break;
    auto* const byte = static_cast<volatile unsigned char*>(address(p));
    internal::asan_unpoison(address(p), kPageSize);
    *byte = *byte;
    p->set(PageState::cached, 0);
    p->next = chain;
    chain = number(p);
  }
  if (chain) give_chain(z, chain);
}

}  // namespace nestlock
