// Hosted: the process's own page allocator, over a range of addresses. Needs lib/page.
#pragma once

#include "nestlock/page.h"

// Defined by a library of the same configuration and by no other (config.h).
extern "C" const char NESTLOCK_LINK_STAMP;

namespace nestlock {

static_assert(
    !(kHosted && kLean),
    "NESTLOCK_LEAN=1 is for memory that the program gives, and system_pages() is the system's");

// Set up when the program starts (before main, with the first constructors), on a range of
// NESTLOCK_RESERVE_MIB mebibytes (environment; default: four times the machine's memory), at most what
// RLIMIT_AS and RLIMIT_DATA allow, that is mapped in steps of 2 MiB as it is needed (and reserved at once only
// where the system has no place for that); free memory goes back by trim() and decay(). If not even 4 MiB of
// addresses can be had, every allocation is null. Any context. A CPU's cached pages go home when its thread
// exits.
PageAllocator& system_pages() noexcept NESTLOCK_INTERNAL_SYMBOL("system_pages");

namespace internal {
// For a floor whose first call may come before the constructors: sets them up, unless they are. Any
// context. False: this context interrupted it on its own thread.
bool set_up_system_pages() noexcept NESTLOCK_INTERNAL_SYMBOL("set_up_system_pages");
// Whole pages of the system's that hold these bytes are not to become huge ones.
void prefer_small_pages(void* start, std::size_t size) noexcept
    NESTLOCK_INTERNAL_SYMBOL("prefer_small_pages");

[[gnu::used]] inline const char* const system_pages_link_stamp = &NESTLOCK_LINK_STAMP;
}  // namespace internal

}  // namespace nestlock
