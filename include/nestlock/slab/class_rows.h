// What the fast paths of kmalloc() and kfree() touch of the classes, side by side for all of them: a CPU has
// its sheaves in a page of memory or so, and finds them by the class's number, without a look at the cache.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>

#include "nestlock/lock/percpu.h"
#include "nestlock/slab/cpu_sheaves.h"

namespace nestlock::internal {

// By a page's tag: the class's index + 1; what is 0's is nobody's, and stays empty.
template <Kernel K, LockPolicy L, unsigned kClasses>
struct ClassRows {
  using Slots = PerCpuAt<K, CpuSheaves<K, L>>;
  struct Row {
    SheavesSlot<K, L> of[std::bit_ceil(kClasses + 1)];
  };
  // See BasicKmemCache::attention().
  typename K::Port::template Atomic<std::uint32_t> attention[kClasses + 1]{};
  // Slots::base() of each, for who knows no class beforehand: a load where they are computed by three steps.
  // Zeros before set_up(), when no page has a tag.
  std::uintptr_t base[kClasses + 1]{};
  Row row[K::Port::kMaxCpus];

  static constexpr int kShift = std::countr_zero(sizeof(Row));
  [[gnu::always_inline]] Slots slots(std::size_t tag) noexcept {
    return {&row[0].of[tag].value, kShift};
  }
  [[gnu::always_inline]] Slots slots_looked_up(std::size_t tag) noexcept {
    std::uintptr_t at = base[tag];
    asm("" : "+r"(at));  // or g++ looks anew for each member
    if (!at) __builtin_unreachable();
    return {at, kShift};
  }
};

}  // namespace nestlock::internal
