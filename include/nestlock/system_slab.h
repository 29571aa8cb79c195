// Hosted: the process's own slab allocator, over system_pages(). Needs lib/slab.
#pragma once

#include "nestlock/slab.h"
#include "nestlock/system_pages.h"

namespace nestlock {

// Set up when the program starts, after system_pages(). Any context. What a CPU has in its sheaves
// goes to the barn when its thread exits.
SlabAllocator& system_slab() noexcept;

}  // namespace nestlock

// Which floor of system_slab() and system_pages() a signal handler interrupted: Floor::none, page
// or slab. Any context, registered with the library or not; see BasicSlabAllocator::interrupted().
extern "C" nestlock::Floor nestlock_interrupted() noexcept;
