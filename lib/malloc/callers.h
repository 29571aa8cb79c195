// NESTLOCK_MALLOC=debug: who allocated and who freed a block, by the return addresses of the calls.
#pragma once

#include <cstddef>

#include "nestlock/config/text.h"

namespace nestlock::heap::callers {

// Asked for by the environment. begin(): once, before the first block.
void begin() noexcept;
bool watched() noexcept;

// Of a block of the slab floor's; nothing of others. freed(): before it is.
void allocated(void* block, const void* caller) noexcept;
void freed(void* block, const void* caller) noexcept;
// Null: nobody knows.
const void* allocated_by(const void* block) noexcept;

// " module+0xOFFSET", as addr2line takes it; an address where there is no module. Any context: the kernel is
// asked, and nothing allocates or locks.
void put(internal::Text& text, const void* code) noexcept;

// What is out, by who allocated it, those with the most bytes first.
std::size_t still_out(char* out, std::size_t size) noexcept;

}  // namespace nestlock::heap::callers
