// Hosted: the process's own slab allocator, over system_pages(). Needs lib/slab.
#pragma once

#include "nestlock/slab.h"
#include "nestlock/system_pages.h"

namespace nestlock {

// Set up when the program starts, after system_pages(). Any context. What a CPU has in its sheaves
// goes to the barn when its thread exits.
SlabAllocator& system_slab() noexcept;

namespace internal {
// The same for the floor above: its fast paths compute no address, and its first call may come before
// the constructors. set_up_system_slab(): any context; the first call asks its `flags`. False: this context
// interrupted it on its own thread.
extern constinit SlabAllocator system_slab_object;
bool set_up_system_slab(slab (*flags)() noexcept) noexcept;
}  // namespace internal

}  // namespace nestlock

// Which floor of system_slab() and system_pages() a signal handler interrupted: Floor::none, page
// or slab. Any context, registered with the library or not; see BasicSlabAllocator::interrupted().
extern "C" nestlock::Floor nestlock_interrupted() noexcept;
