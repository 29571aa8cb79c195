// The small types of the slab floor.
#pragma once

#include <cstddef>
#include <cstdint>

#include "nestlock/lock/words.h"
#include "nestlock/page/no_count.h"

namespace nestlock {

// How an allocation behaves, apart from gfp and internal to slab. The kernel's names stand beside.
enum class SlabAlloc : std::uint32_t {
  spinning = 0x00,    // SLAB_ALLOC_DEFAULT: may spin
  nolock = 0x01,      // SLAB_ALLOC_NOLOCK: no spinning lock at all, and no retry of a refused one
  no_recurse = 0x04,  // SLAB_ALLOC_NO_RECURSE: for a sheaf, which must not want a sheaf itself
};
// What each permits.
constexpr bool alloc_flags_allow_sheaves(SlabAlloc f) noexcept {
  return !(static_cast<std::uint32_t>(f) & static_cast<std::uint32_t>(SlabAlloc::no_recurse));
}
constexpr bool alloc_flags_allow_spinning(SlabAlloc f) noexcept {
  return !(static_cast<std::uint32_t>(f) & static_cast<std::uint32_t>(SlabAlloc::nolock));
}

// What is larger than the largest block of pages, where a system has such memory (set_larger()). All of
// them from any context.
struct LargerBlocks {
  void* (*allocate)(std::size_t size, std::size_t align) noexcept;  // zeroed; or null
  bool (*release)(void* block) noexcept;                            // false: no such block
  void* (*resize)(void* block, std::size_t size) noexcept;  // what is new is zero; null: as it was
  std::size_t (*size_of)(const void* block) noexcept;       // 0: no such block
};

// Why a nolock allocation was refused.
enum class SlabRefusal : std::uint8_t {
  none,
  gate,       // this context may not try (RT: hardirq, NMI; a policy's own gate)
  size,       // larger than the largest class
  list_busy,  // the list's lock was held, and a new slab's rest found no place
  no_pages,   // no partial slab, and the page floor refused
  injected,   // fail_every()
};
// How many there are; and their names.
inline constexpr unsigned kSlabRefusals = 6;

// For people.
constexpr const char* name_of(SlabRefusal r) noexcept {
  constexpr const char* names[kSlabRefusals] = {"none",      "gate",     "size",
                                                "list busy", "no pages", "injected"};
  return names[static_cast<unsigned>(r)];
}

// Counts of one cache, since it was created: a snapshot.
struct SlabStats {
  std::uintptr_t fast_allocs, fast_frees;  // through this or that CPU's sheaves
  std::uintptr_t list_allocs, list_frees;  // single objects, by the list
  std::uintptr_t refill_allocs;            // of a sheaf that was filled for it
  std::uintptr_t new_slab_allocs;          // the first object of a new slab
  std::uintptr_t refills, flushes;         // sheaves filled and emptied
  std::uintptr_t spare_swaps;              // of a CPU's two sheaves, or half of one, for each other
  std::uintptr_t barn_gets, barn_puts;     // sheaves from and to the barn
  std::uintptr_t sheaf_allocs;             // sheaves made
  std::uintptr_t reached;                  // sheaves taken from other CPUs
  std::uintptr_t new_slabs;                // made of pages
  std::uintptr_t discarded_slabs;          // given back as pages
  std::uintptr_t orphans;                  // new slabs that found the list busy
  // Objects. Of those deferred the gate refused `gated_frees`; the others found the list busy.
  std::uintptr_t deferred, settled, gated_frees;
  std::uintptr_t
      failures;  // spinning calls that gave null: `injected` by fail_every(), or no pages
  std::uintptr_t injected;
  std::uintptr_t bad_frees;  // refused; those by kfree() of what is of no cache: kmalloc's first
  std::uintptr_t refusals[kSlabRefusals];
  std::uintptr_t local_busy, barn_busy, list_busy;  // refused try_locks
  std::uintptr_t slabs;                             // now

  // Calls that gave an object and calls that took one: they differ by what is out.
  std::uintptr_t allocs() const noexcept {
    return fast_allocs + list_allocs + refill_allocs + new_slab_allocs;
  }
  // (A deferred object passes the list when it is settled.)
  std::uintptr_t frees() const noexcept { return fast_frees + list_frees + deferred - settled; }
};

namespace internal {

template <Kernel K>
struct SlabCounters {
  using Counter = typename K::Port::template Atomic<std::uintptr_t>;
  Counter list_allocs{0}, list_frees{0}, refill_allocs{0}, new_slab_allocs{0}, refills{0},
      flushes{0}, spare_swaps{0}, barn_gets{0}, barn_puts{0}, sheaf_allocs{0}, new_slabs{0},
      discarded_slabs{0}, orphans{0}, deferred{0}, settled{0}, gated_frees{0}, failures{0},
      injected{0}, bad_frees{0}, refusals[kSlabRefusals]{}, local_busy{0}, barn_busy{0},
      list_busy{0}, reached{0};
};

// What the lean form needs to know: how many slabs there are.
template <Kernel K>
struct LeanSlabCounters {
  typename K::Port::template Atomic<std::uintptr_t> new_slabs{0}, discarded_slabs{0};
  static constexpr NoCount list_allocs{}, list_frees{}, refill_allocs{}, new_slab_allocs{},
      refills{}, flushes{}, spare_swaps{}, barn_gets{}, barn_puts{}, sheaf_allocs{}, orphans{},
      deferred{}, settled{}, gated_frees{}, failures{}, injected{}, bad_frees{},
      refusals[kSlabRefusals]{}, local_busy{}, barn_busy{}, list_busy{}, reached{};
};

// Of each object of a debug cache, behind it.
template <Kernel K>
struct SlabTrack {
  enum State : std::uint32_t { kFree = 0x66726565, kOut = 0x6f757421 };
  typename K::Port::template Atomic<std::uint32_t> state{kFree};
  bool is_out() const noexcept { return state.load(kRelaxed) == kOut; }
  std::uint32_t asked = 0;  // bytes, of kmalloc() perhaps fewer than its class has; by its owner
  Context freed_in = Context::task;
  Place allocated, freed;
  // For the floor above, which knows return addresses where this one knows places.
  const void *allocated_by = nullptr, *freed_by = nullptr;
};

struct FreeObject {
  FreeObject* next;
};
// What a slab's free list ends with where objects behind it were never linked: so none of them is touched before it is
// wanted, and the list is null only where no object is free.
inline FreeObject* unlinked_objects() noexcept { return reinterpret_cast<FreeObject*>(1); }

// What slabs did not take back.
struct RefusedFrees {
  void* last = nullptr;
  unsigned many = 0;
  void add(void* object) noexcept { last = object, ++many; }
};

// An array of free objects; its memory is `capacity` pointers longer.
struct Sheaf {
  std::uint32_t size, capacity;
  Sheaf* next;  // in a barn
  void** object() noexcept { return reinterpret_cast<void**>(this + 1); }
};
// Empty and full at once: where a CPU has no sheaf yet both fast paths leave, without a null test.
NESTLOCK_ONE_COPY inline constinit Sheaf no_sheaf{0, 0, nullptr};

}  // namespace internal
}  // namespace nestlock
