// The page and slab floors that the benchmarks time: one of each configuration and policy, over
// memory of their own.
#pragma once

#include <sys/mman.h>

#include <cstdlib>

#include "nestlock/slab.h"

namespace bench {

template <nestlock::Config kC>
using Kernel = nestlock::KernelOf<kC, nestlock::HostedPort<kC>>;
using Up = Kernel<nestlock::configs::up>;
using Smp = Kernel<nestlock::configs::smp>;

inline void* more_memory(std::size_t size) {
  void* const m = mmap(nullptr, size, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (m == MAP_FAILED) std::abort();
  return m;
}

// Of a static address, so that a call needs no look whether it is there yet.
template <class K, class Policy = nestlock::policy::PerLockByte<K>>
struct ThePages {
  using Pages = nestlock::BasicPageAllocator<K, Policy>;
  static inline constinit Pages pages;
  static Pages& set_up() {
    constexpr std::size_t kSize = std::size_t{256} << 20;
    static const bool done = [] {
      void* const descriptors = more_memory(Pages::descriptor_bytes(kSize));
      return pages.set_up(
                 {.start = more_memory(kSize), .size = kSize, .descriptors = descriptors}) ==
             nestlock::PageSetup::ok;
    }();
    if (!done) std::abort();
    return pages;
  }
};

// With the classes that system_slab() has.
template <class K>
struct TheSlabs {
  using Slabs =
      nestlock::BasicSlabAllocator<K, nestlock::policy::PerLockByte<K>, nestlock::FineClasses>;
  static inline constinit Slabs slabs;
  static Slabs& set_up() {
    static const bool done = slabs.set_up(ThePages<K>::set_up());
    if (!done) std::abort();
    return slabs;
  }
};

}  // namespace bench
