// buddyinfo and zoneinfo: the page floor's state as text. Any context; a snapshot.
#pragma once

#include "nestlock/config/text.h"
#include "nestlock/page.h"

namespace nestlock {

template <Kernel K, LockPolicy L>
std::size_t BasicPageAllocator<K, L>::buddyinfo(char* out, std::size_t size) const noexcept
  requires(!internal::kLeanOf<K>)
{
  internal::Text t(out, size);
  for (unsigned n = 0; n < nodes(); ++n) {
    t.put("Node ").number(n).put(", free blocks of order 0..").number(kMaxOrder).put(":");
    for (unsigned order = 0; order <= kMaxOrder; ++order) t.number(zone_[n].buddy.blocks(order), 7);
    t.put("\n");
  }
  return t.length();
}

template <Kernel K, LockPolicy L>
std::size_t BasicPageAllocator<K, L>::zoneinfo(char* out, std::size_t size) const noexcept
  requires(!internal::kLeanOf<K>)
{
  internal::Text t(out, size);
  for (unsigned n = 0; n < nodes(); ++n) {
    const PageStats s = stats(n);
    t.put("Node ").number(n).put("\n");
    auto row = [&](const char* name, std::uintptr_t v) {
      t.put("  ").put(name, 16).number(v, 12).put("\n");
    };
    row("present", s.present), row("committed", s.committed), row("free", s.free);
    row("isolated", s.isolated), row("cached", s.cached), row("parked", s.parked);
    row("clean", s.clean), row("released", s.released);
    row("min", s.min), row("low", s.low), row("high", s.high);
    row("pcp_allocs", s.pcp_allocs), row("pcp_frees", s.pcp_frees);
    row("zone_allocs", s.zone_allocs), row("zone_frees", s.zone_frees);
    row("refills", s.refills), row("drains", s.drains);
    row("parked_total", s.parked_total), row("unparked", s.unparked);
    row("failures", s.failures), row("bad_frees", s.bad_frees);
    for (unsigned i = 1; i < kPageRefusals; ++i)
      t.put("  nolock refused, ")
          .put(name_of(static_cast<PageRefusal>(i)), 26)
          .number(s.refusals[i], 10)
          .put("\n");
    for (Context c : kContexts) {
      const auto i = static_cast<unsigned>(c);
      t.put("  busy from ").put(name_of(c), 8).put(" pcp ").number(s.pcp_busy[i], 10);
      t.put(" zone ").number(s.zone_busy[i], 10).put("\n");
    }
    for (unsigned cpu = 0; cpu < internal::cpus_seen<typename K::Port>(); ++cpu)
      if (const std::uint32_t c = cached(n, cpu))
        t.put("  cpu ").number(cpu, 4).put(" cached ").number(c, 8).put("\n");
  }
  return t.length();
}

}  // namespace nestlock
