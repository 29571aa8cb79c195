// Which CPUs have sheaves of which created caches, a bit for each: so whoever empties a CPU's sheaves looks
// at one word for as many caches as it has bits, and at no cache that the CPU did not use.
#pragma once

#include <cstdint>

#include "nestlock/lock/words.h"

namespace nestlock::internal {

template <Kernel K, class Cache>
struct CacheGroup {
  using Bits = std::uintptr_t;
  static constexpr unsigned kCaches = sizeof(Bits) * 8;
  struct Links {
    CacheGroup *next = nullptr, *prev = nullptr;
  };

  // All but `used` is guarded by the lock of the allocator's list of caches. `next` of `all` is also read
  // without it, by who has said there that he goes through the groups.
  Links all, with_room;
  Bits taken = 0;           // places that are a cache's
  Cache* cache[kCaches]{};  // null also while its cache is about to be destroyed
  // Set by its CPU, under its lock of the cache's sheaves, before it has one; cleared when it is flushed.
  // So it may be set where there is none, never the other way.
  // relaxed, and single steps: of a word the CPU's own contexts set bits, and destroy() clears them.
  typename K::Port::template Atomic<Bits> used[K::Port::kMaxCpus]{};

  template <Links CacheGroup::* kLinks>
  void link(CacheGroup*& first) noexcept {
    this->*kLinks = {first, nullptr};
    if (first) (first->*kLinks).prev = this;
    first = this;
  }
  template <Links CacheGroup::* kLinks>
  void unlink(CacheGroup*& first) noexcept {
    const Links l = this->*kLinks;
    (l.prev ? (l.prev->*kLinks).next : first) = l.next;
    if (l.next) (l.next->*kLinks).prev = l.prev;
  }
};

// An allocator's, guarded by its lock. The lean form has none.
template <Kernel K>
struct NoCacheGroups {};
template <Kernel K, class Cache>
struct CacheGroups {
  using Group = CacheGroup<K, Cache>;
  Group *all = nullptr, *with_room = nullptr;
  unsigned walks = 0;  // who is on his way through them
  bool some_empty = false;

  // Those that are nobody's any more, off the lists and linked by with_room; none while somebody may stand on
  // one.
  Group* take_empty() noexcept {
    Group* gone = nullptr;
    if (walks || !some_empty) return gone;
    for (Group *at = with_room, *next; at; at = next) {
      next = at->with_room.next;
      if (at->taken) continue;
      at->template unlink<&Group::all>(all);
      at->template unlink<&Group::with_room>(with_room);
      at->with_room.next = gone;
      gone = at;
    }
    some_empty = false;
    return gone;
  }
};

// A cache's place in a group. None: kmalloc's caches, through which everybody goes.
template <Kernel K, class Cache>
struct CachePlace {
  using Group = CacheGroup<K, Cache>;
  Group* group = nullptr;
  unsigned index = 0;

  typename Group::Bits bit() const noexcept { return typename Group::Bits{1} << index; }
  void is_used_on(unsigned cpu) noexcept {
    if (group) group->used[cpu].fetch_or(bit(), kRelaxed);
  }
  bool was_used_on(unsigned cpu) const noexcept {
    return !group || group->used[cpu].load(kRelaxed) & bit();
  }
  void is_unused_on(unsigned cpu) noexcept {
    if (group && (group->used[cpu].load(kRelaxed) & bit()))
      group->used[cpu].fetch_and(~bit(), kRelaxed);
  }
};

}  // namespace nestlock::internal
