// Hosted: the process's own slab allocator, over system_pages(). Needs lib/slab.
#pragma once

#include <type_traits>

#include "nestlock/slab.h"
#include "nestlock/system_pages.h"

namespace nestlock {

// kmalloc()'s classes are the fine ones. (On a port without a system, where lib/c/bare or the program
// defines system_slab(), the kernel's: four times fewer caches.)
using SystemSlabAllocator =
    BasicSlabAllocator<LibraryKernel, policy::PerLockByte<LibraryKernel>,
                       std::conditional_t<kHosted, FineClasses, DefaultClasses>>;
extern template class BasicSlabAllocator<LibraryKernel, policy::PerLockByte<LibraryKernel>,
                                         std::conditional_t<kHosted, FineClasses, DefaultClasses>>;
// Set up when the program starts, after system_pages(). Any context. What a CPU has in its sheaves
// goes to the barn when its thread exits.
SystemSlabAllocator& system_slab() noexcept NESTLOCK_INTERNAL_SYMBOL("system_slab");

namespace internal {
// The same for the floor above: its fast paths compute no address, and its first call may come before
// the constructors. set_up_system_slab(): any context; the first call asks its `flags`. False: this
// context interrupted it on its own thread.
extern constinit SystemSlabAllocator system_slab_object
    NESTLOCK_INTERNAL_SYMBOL("system_slab_object");
bool set_up_system_slab(slab (*flags)() noexcept) noexcept
    NESTLOCK_INTERNAL_SYMBOL("set_up_system_slab");
}  // namespace internal

}  // namespace nestlock

// Which floor of system_slab() and system_pages() a signal handler interrupted: Floor::none, page
// or slab. Any context, registered with the library or not; see BasicSlabAllocator::interrupted().
extern "C" nestlock::Floor nestlock_interrupted() noexcept;
