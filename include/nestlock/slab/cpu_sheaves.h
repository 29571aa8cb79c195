// What a CPU has of a cache: two sheaves.
#pragma once

#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "nestlock/page/lock_policies.h"
#include "nestlock/page/stats.h"
#include "nestlock/slab/types.h"

namespace nestlock::internal {

// A word that others may change while it is compared, where either value does. Plain, for GCC compares no atomic in one
// instruction; it is aligned, so it is read at once. An atomic where a tool is to see it, or a simulator to stop at it.
template <class T>
struct PlainWord {
  T value;
  T load(std::memory_order) const noexcept { return value; }
  void store(T v, std::memory_order) noexcept { value = v; }
};
template <Kernel K, class T>
using CompareOnly =
    std::conditional_t<kWithTsan || (K::kConfig.smp && !kStandardAtomics<typename K::Port, T>),
                       typename K::Port::template Atomic<T>, PlainWord<T>>;

template <Kernel K, LockPolicy L>
struct CpuSheaves {
  template <class T>
  using Atomic = typename K::Port::template Atomic<T>;
  static constexpr std::ptrdiff_t kMostObjects = 126;  // of a sheaf

  // Allocations that may pass between two looks at the clock; and where the last two found the same millisecond, so that
  // it is a load of many in a short time.
  static constexpr std::uint8_t kUnlooked = 8, kUnlookedInBurst = 128;

  typename L::Local lock;
  // So many allocations may pass without a look whether memory is to go back to the system.
  std::uint8_t unlooked = 0;
  // What the clock said at the last look, of its milliseconds the low bits.
  std::uint8_t looked_at = 0;
  // Whether main and spare last exchanged objects because main was empty, not full.
  bool main_was_empty = false;
  // Bits that are 0 in the address of each object that the fast path of a free may put into main: see
  // BasicKmemCache::unfree_bits_. A copy, beside what that path reads.
  std::uint32_t unfree = 0;
  // Of main its objects are in [bottom, top), its room is [top, limit): beside the lock, so that the
  // fast paths touch no sheaf but for the object. Guarded by lock; `top` and `bottom` are read by
  // statistics without it.
  Atomic<void**> top{nullptr};
  CompareOnly<K, void**> bottom{nullptr};
  // (Another CPU sets it, and `bottom`, while a fast path may be here and compare it, and nothing else: see reach_inl.h.)
  CompareOnly<K, void**> limit{nullptr};
  void set_room(void** from, void** to) noexcept {
    bottom.store(from, kRelaxed);
    limit.store(to, kRelaxed);
  }
  // What `bottom` is where both fast paths are to be turned away, with no limit: no top lies above it.
  static void** shut() noexcept { return reinterpret_cast<void**>(~std::uintptr_t{7}); }
  // Its `size` is out of date but in MainOut. Null: nobody is here, and the CPU may not be noted with the cache
  // (CachePlace). (Not the address of a sheaf from the beginning: in a library each would be a relocation,
  // and touch its page when a program starts.)
  Sheaf* main = nullptr;
  Sheaf* spare = nullptr;  // full, empty or between
  // Objects popped; and how many more came into main, and were popped, than were pushed. So the fast
  // path of a free counts nothing, and frees() says how many there were.
  Atomic<std::uintptr_t> allocs{0}, moved{0};

  std::uintptr_t in_main() const noexcept {
    const auto n = top.load(kRelaxed) - bottom.load(kRelaxed);
    return n > 0 && n <= kMostObjects ? static_cast<std::uintptr_t>(n) : 0;
  }
  // Of another CPU a snapshot: while its main is exchanged off by a sheaf's objects.
  std::uintptr_t frees() const noexcept {
    return allocs.load(kRelaxed) + in_main() - moved.load(kRelaxed);
  }
};

// The CPUs' of one cache: with a power of two between them.
template <Kernel K, LockPolicy L>
struct alignas(std::bit_ceil(sizeof(CpuSheaves<K, L>) < 64 ? 64 : sizeof(CpuSheaves<K, L>)))
    SheavesSlot {
  CpuSheaves<K, L> value;
};

// While it lives main is like any other sheaf, and may be exchanged. The CPU's lock is held, which is the
// caller's; or main is not null.
template <Kernel K, LockPolicy L>
class MainOut {
 public:
  template <class Place>
  MainOut(CpuSheaves<K, L>& c, Place place, std::uint32_t unfree) noexcept
      : c_(c), before_(c.allocs.load(kRelaxed) + c.in_main()) {
    if (!c.main) {
      place.is_used_on(claimed_cpu<typename K::Port>());
      c.unfree = unfree;
      c.main_was_empty = false;
      c.main = &no_sheaf;
    }
    if (c.main != &no_sheaf) c.main->size = static_cast<std::uint32_t>(c.in_main());
  }
  ~MainOut() {
    void** const bottom = c_.main->object();
    c_.set_room(bottom, bottom + c_.main->capacity);
    c_.top.store(bottom + c_.main->size, kRelaxed);
    const std::uintptr_t now = c_.allocs.load(kRelaxed) + c_.main->size;
    bump_locked(c_.moved, now - before_ - pushed_);
  }
  MainOut(const MainOut&) = delete;
  MainOut& operator=(const MainOut&) = delete;
  // What the user takes, and what he gives: main has an object, or room.
  void* pop() noexcept {
    bump_locked(c_.allocs);
    return c_.main->object()[--c_.main->size];
  }
  void push(void* object) noexcept {
    ++pushed_;
    c_.main->object()[c_.main->size++] = object;
  }

 private:
  CpuSheaves<K, L>& c_;
  std::uintptr_t before_, pushed_ = 0;
};

}  // namespace nestlock::internal
