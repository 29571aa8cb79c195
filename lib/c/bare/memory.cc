// Bare port: the program's own allocators, which hosted stand in lib/page/system_pages.cc and
// lib/slab/system_slab.cc, over memory that the program gives by nestlock_memory_init(). Of the hosted port nothing:
// who compiles every file of lib/ has the other ones.
#include "nestlock/c/pages.h"
#include "nestlock/system_slab.h"

#if !NESTLOCK_INTERNAL_HOSTED

namespace nestlock {
namespace {

constinit PageAllocator pages;
constinit SystemSlabAllocator slabs;

}  // namespace

PageAllocator& system_pages() noexcept { return pages; }
SystemSlabAllocator& system_slab() noexcept { return slabs; }

}  // namespace nestlock

nestlock::Floor nestlock_interrupted() noexcept { return nestlock::slabs.interrupted(); }

bool nestlock_memory_init(void* start, std::size_t size) noexcept {
  return nestlock::pages.set_up({.start = start, .size = size}) == nestlock::PageSetup::ok &&
         nestlock::slabs.set_up(nestlock::pages);
}

#endif
