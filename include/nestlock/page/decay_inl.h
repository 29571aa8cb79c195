// Memory goes back to the system. Included by page.h.
//
// What is due is told without a time in each block: a zone knows the fewest dirty pages (free, and the
// system may keep memory for them) that there were since the last look. So many were not needed since then,
// and so many go back, the largest blocks first. Two looks are half of the decay time apart.
#pragma once

#include "nestlock/lock/guard.h"
#include "nestlock/page.h"

namespace nestlock {

// Free pages that the system may keep memory for.
template <Kernel K, LockPolicy L>
std::uint32_t BasicPageAllocator<K, L>::dirty_pages(const Zone& z) noexcept {
  return z.buddy.free_pages() - z.buddy.clean_pages();
}

// So many of them stay: a fixed number, a part of what is in use, which in a large program is soon needed again, and what
// is kept for nolock calls. Without the zone's lock an estimate.
template <class Zone>
inline std::uint32_t dirty_that_stay(const Zone& z) noexcept {
  const std::uint32_t all = z.committed.load(internal::kRelaxed) - z.begin,
                      free = z.buddy.free_pages();
  return kDecayKeeps + (free < all ? (all - free) / kDecayKeepsOf : 0) +
         z.kept_for_nolock.load(internal::kRelaxed);
}

template <Kernel K, LockPolicy L>
inline bool BasicPageAllocator<K, L>::has_much(const Zone& z) const noexcept
  requires(!internal::kLeanOf<K>)
{
  return release_ && now_ && dirty_pages(z) > dirty_that_stay(z);
}

template <Kernel K, LockPolicy L>
bool BasicPageAllocator<K, L>::set_decay_hook(DecayHook& hook) noexcept
  requires(!internal::kLeanOf<K>)
{
  DecayHook* none = nullptr;
  return decay_hook_.compare_exchange_strong(none, &hook, std::memory_order_release,
                                             internal::kRelaxed);
}

// Block by block, each out of the buddy while the system takes it: so that no lock is held meanwhile,
// and no more than one block is missing.
template <Kernel K, LockPolicy L>
std::uint32_t BasicPageAllocator<K, L>::release_some(Zone& z, std::uint32_t most,
                                                     unsigned order) noexcept
  requires(!internal::kLeanOf<K>)
{
  std::uint32_t done = 0;
  // What is kept for nolock calls stays: no block goes that is more than the rest.
  const std::uint32_t kept = z.kept_for_nolock.load(internal::kRelaxed), dirty = dirty_pages(z);
  const std::uint32_t spare = dirty > kept ? dirty - kept : 0;
  if (kept && most > spare) most = spare;
  for (bool more = true; more && done < most;) {
    Index p = kNil;
    {
      Guard g(z.lock, irq_save);
      p = z.buddy.take_dirty(order);
    }
    if (p == kNil) break;
    const unsigned has = all_[p].order();
    more = (!kept || (1u << has) <= most - done) && release_(address(all_ + p), kPageSize << has);
    if constexpr (K::kConfig.debug)  // the poison is gone
      for (Index i = 0; more && i < (Index{1} << has); ++i) all_[p + i].poisoned = false;
    Guard g(z.lock, irq_save);
    z.buddy.give(p, has, z.isolated_blocks.load(internal::kRelaxed) && block_isolated(z, p), more);
    if (!more) break;
    done += 1u << has;
    internal::bump_locked(z.counters.released, std::uintptr_t{1} << has);
  }
  return done;
}

// Where the process grows: free memory that did not serve, for its blocks are too small, goes back where it
// is more than an eighth of what is in use; down to a sixteenth, so that it is worth while. Also single pages,
// though each is a system call: the page that the process grows by instead costs a fault, too. But no more of
// them than the growth pays for.
template <Kernel K, LockPolicy L>
void BasicPageAllocator<K, L>::release_idle(std::size_t growth) noexcept
  requires(!internal::kLeanOf<K>)
{
  for (unsigned n = 0; n < nodes(); ++n) {
    Zone& z = zone_[n];
    if (!has_much(z)) continue;
    const std::uint32_t dirty = dirty_pages(z);
    const std::uint32_t used =
        z.committed.load(internal::kRelaxed) - z.begin - z.buddy.free_pages();
    if (dirty <= kDecayKeeps + used / 8) continue;
    const std::uint32_t idle = dirty - kDecayKeeps - used / 16;
    const std::size_t most = growth / kPageSize * 2;
    release_some(z, idle < most ? idle : static_cast<std::uint32_t>(most), 0);
  }
}

template <Kernel K, LockPolicy L>
std::size_t BasicPageAllocator<K, L>::trim() noexcept
  requires(!internal::kLeanOf<K>)
{
  if (!release_) return 0;
  drain_all_pages();
  std::size_t pages = 0;
  for (unsigned n = 0; n < nodes(); ++n) pages += release_some(zone_[n], ~0u, 0);
  return pages << kPageShift;
}

template <Kernel K, LockPolicy L>
void BasicPageAllocator<K, L>::tell_decay(bool waits) noexcept
  requires(!internal::kLeanOf<K>)
{
  // acquire: pairs with set_decay_hook(); we see the hook's fields.
  if (DecayHook* const hook = decay_hook_.load(std::memory_order_acquire))
    hook->change(*hook, waits);
}

// Any context that may spin.
template <Kernel K, LockPolicy L>
[[gnu::noinline]] void BasicPageAllocator<K, L>::begin_decay() noexcept
  requires(!internal::kLeanOf<K>)
{
  if (decaying_.load(internal::kRelaxed) || decaying_.exchange(1, internal::kRelaxed)) return;
  tell_decay(true);
}

template <Kernel K, LockPolicy L>
[[gnu::noinline]] std::size_t BasicPageAllocator<K, L>::decay(bool* was_due,
                                                              std::uintptr_t* at) noexcept
  requires(!internal::kLeanOf<K>)
{
  if (was_due) *was_due = false;
  if (!release_ || !now_) return 0;
  // As wide as a word, so that a 32-bit core has it in one access; only differences count.
  const auto now = static_cast<std::uintptr_t>(now_());
  if (at) *at = now;
  const std::uintptr_t step = (decay_ms_turned_.load(internal::kRelaxed) ^ kDecayMs) / 2;
  std::uintptr_t next = decay_next_.load(internal::kRelaxed);
  // One at a time does what is due. relaxed: the zones have their locks.
  if (static_cast<std::intptr_t>(now - next) < 0 ||
      !decay_next_.compare_exchange_strong(next, now + step, internal::kRelaxed,
                                           internal::kRelaxed))
    return 0;
  if (was_due) *was_due = true;
  std::size_t pages = 0;
  bool much = false, in_parts = false;
  for (unsigned n = 0; n < nodes(); ++n) {
    Zone& z = zone_[n];
    std::uint32_t due = 0;
    {
      Guard g(z.lock, irq_save);
      due = step ? z.dirty_low : dirty_pages(z);
    }
    const std::uint32_t stays = dirty_that_stay(z);
    due = due > stays ? due - stays : 0;
    const std::uint32_t most = due < kDecayAtOnce ? due : kDecayAtOnce;
    const std::uint32_t done = release_some(z, most, kDecayOrder);
    pages += done;
    Guard g(z.lock, irq_save);
    const std::uint32_t dirty = dirty_pages(z);
    // The rest of what is due now stays due; else it is counted anew.
    const bool rest = done >= kDecayAtOnce && due > done;
    z.dirty_low =
        rest ? (z.dirty_low < due + stays - done ? z.dirty_low : due + stays - done) : dirty;
    in_parts |= rest;
    much |= has_much(z) && (done || due == 0);
  }
  if (in_parts) decay_next_.store(now, internal::kRelaxed);
  // (A free that comes in between begins anew; one that was told just before stays told.)
  if (!much && !in_parts && decaying_.exchange(0, internal::kRelaxed)) tell_decay(false);
  return pages << kPageShift;
}

}  // namespace nestlock
