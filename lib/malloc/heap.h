// What malloc's functions are made of: the slab allocator's fast paths here, all else in heap.cc.
//
// Where a block may lie, and how free() knows:
//
//   up to 1 MiB    the slab allocator's range of addresses: the page's descriptor says
//   larger         a mapping of its own: its address is in a table (slab/mapped_blocks.h)
//   in emergency   an array of this library (reserve.h), or a mapping, of whatever size
//
// None of the three looks is at memory that a wrong pointer leads to.
#pragma once

#include <cstddef>
#include <cstdint>

#include "nestlock/system_slab.h"

namespace nestlock::heap {

inline constexpr std::size_t kAlign = 16;                      // of every block
inline constexpr std::size_t kLargest = std::size_t{1} << 20;  // larger ones are mapped

// What the fast paths leave: the first in few instructions while free memory waits for its return to the system.
[[gnu::noinline]] void* allocate_unlooked(std::size_t size, const void* caller) noexcept;
[[gnu::noinline]] void* allocate_slow(std::size_t size, const void* caller) noexcept;
[[gnu::noinline]] void free_slow(void* block, const char* call, const void* caller) noexcept;
[[gnu::noinline]] void free_sized_slow(void* block, std::size_t size, std::size_t align,
                                       const char* call, const void* caller) noexcept;

// The class of each size, of which every one is a multiple of 16 or, above 1 KiB, of 256: so 0 bytes and the
// fewest, too, are served by that of 16, without a test.
struct ClassOf {
  std::uint8_t by_16[1024 / 16 + 1]{}, by_256[SystemSlabAllocator::kLargestClass / 256 + 1]{};
  constexpr ClassOf() {
    for (std::size_t i = 0; i < sizeof by_16; ++i) by_16[i] = of(i ? i * 16 : kAlign);
    for (std::size_t i = 0; i < sizeof by_256; ++i) by_256[i] = of(i ? i * 256 : kAlign);
  }
  static constexpr std::uint8_t of(std::size_t size) {
    return static_cast<std::uint8_t>(SystemSlabAllocator::class_of(size));
  }
};
inline constexpr ClassOf kClassOf{};

// A library to preload has a state of the port of its own, so a thread's CPU is the same from when it is claimed until
// the thread ends: then where that CPU has its sheaves is kept for the thread. Of debug kernels all calls are checked.
inline constexpr bool kKeepsRow = hosted::kOwnState && kBuiltConfig.smp && !kBuiltConfig.debug;
using Row = SystemSlabAllocator::Row;
// Of zeros: nothing is at hand there, and nothing goes in. Its locks are taken in vain.
[[gnu::visibility("hidden")]] inline constinit Row nobody{};
// `nobody` until the thread has a CPU, and when it ends.
[[gnu::visibility("hidden")]] inline constinit thread_local Row* here NESTLOCK_INTERNAL_TLS_MODEL =
    &nobody;

[[gnu::always_inline]] inline void* at_hand(std::size_t i) noexcept {
  if constexpr (kKeepsRow)
    return internal::system_slab_object.kmalloc_at_hand(i, *here);
  else
    return internal::system_slab_object.kmalloc_at_hand(i);
}
[[gnu::always_inline]] inline bool goes_back(void* block) noexcept {
  if constexpr (kKeepsRow)
    return internal::system_slab_object.kfree_at_hand(block, *here);
  else
    return internal::system_slab_object.kfree_at_hand(block);
}

// `caller`: whom NESTLOCK_MALLOC=debug is to name; else it is the code that the function returns to in which
// this stands. Asked for where the fast path is left, or that would load it, too.
#define NESTLOCK_INTERNAL_CALLER __builtin_return_address(0)

[[gnu::always_inline]] inline void* allocate(std::size_t size,
                                             const void* caller = nullptr) noexcept {
  std::size_t i;
  if (size <= 1024) [[likely]]
    i = kClassOf.by_16[(size + 15) / 16];
  else if (size <= SystemSlabAllocator::kLargestClass)
    i = kClassOf.by_256[(size + 255) / 256];
  else
    return allocate_slow(size, caller ? caller : NESTLOCK_INTERNAL_CALLER);
  if (void* const p = at_hand(i)) [[likely]]
    return p;
  return allocate_unlooked(size, caller ? caller : NESTLOCK_INTERNAL_CALLER);
}

// `call` is named if it is no block.
[[gnu::always_inline]] inline void free(void* block, const char* call = "free",
                                        const void* caller = nullptr) noexcept {
  if (goes_back(block)) [[likely]]
    return;
  free_slow(block, call, caller ? caller : NESTLOCK_INTERNAL_CALLER);
}

// free() by a call that says what was asked for, `align` being kAlign where it names none. The page says of what
// class a block is, so nobody needs it: NESTLOCK_MALLOC=debug looks whether it is true.
[[gnu::always_inline]] inline void free_sized(void* block, std::size_t size, std::size_t align,
                                              const char* call,
                                              const void* caller = nullptr) noexcept {
  if (goes_back(block)) [[likely]]
    return;
  free_sized_slow(block, size, align, call, caller ? caller : NESTLOCK_INTERNAL_CALLER);
}

void* allocate_zeroed(std::size_t n, std::size_t size,
                      const void* caller = NESTLOCK_INTERNAL_CALLER) noexcept;
void* reallocate(void* block, std::size_t size,
                 const void* caller = NESTLOCK_INTERNAL_CALLER) noexcept;
void* reallocate_array(void* block, std::size_t n, std::size_t size,
                       const void* caller = NESTLOCK_INTERNAL_CALLER) noexcept;
// A power of two, or null (EINVAL).
void* allocate_aligned(std::size_t align, std::size_t size,
                       const void* caller = NESTLOCK_INTERNAL_CALLER) noexcept;
int posix_memalign(void** block, std::size_t align, std::size_t size,
                   const void* caller = NESTLOCK_INTERNAL_CALLER) noexcept;
// The system's pages, where these are larger than ours (AArch64 has kernels with 16 and with 64 KiB).
std::size_t page_size() noexcept;
// Whole pages of that size, on one.
void* allocate_pages(std::size_t size, const void* caller = NESTLOCK_INTERNAL_CALLER) noexcept;
std::size_t usable_size(const void* block, const char* call) noexcept;
bool trim() noexcept;

// See nestlock_malloc_counts_t.
struct Counts {
  std::size_t committed, in_use, mapped, mapped_blocks, reserve_taken;
};
Counts counts() noexcept;

}  // namespace nestlock::heap
