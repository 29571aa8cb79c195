// Bare port: the program's own allocators, which hosted stand in lib/page/system_pages.cc and
// lib/slab/system_slab.cc, over memory that the program gives by nestlock_memory_init(). Weak: who compiles every
// file of lib/ for the hosted port has the hosted ones.
#include "nestlock/c/pages.h"
#include "nestlock/system_slab.h"

namespace nestlock {
namespace {

// In a hosted build another's take the place of the functions below, and a second pair would only cost memory.
template <class Allocator>
Allocator& own() noexcept {
  if constexpr (kHosted) {
    __builtin_trap();
  } else {
    static constinit Allocator allocator;
    return allocator;
  }
}

}  // namespace

[[gnu::weak]] PageAllocator& system_pages() noexcept { return own<PageAllocator>(); }
[[gnu::weak]] SystemSlabAllocator& system_slab() noexcept { return own<SystemSlabAllocator>(); }

}  // namespace nestlock

[[gnu::weak]] nestlock::Floor nestlock_interrupted() noexcept {
  return nestlock::own<nestlock::SystemSlabAllocator>().interrupted();
}

bool nestlock_memory_init(void* start, std::size_t size) noexcept {
  auto& pages = nestlock::own<nestlock::PageAllocator>();
  return pages.set_up({.start = start, .size = size}) == nestlock::PageSetup::ok &&
         nestlock::own<nestlock::SystemSlabAllocator>().set_up(pages);
}
