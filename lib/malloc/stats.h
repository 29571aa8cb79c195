#pragma once

#include <cstddef>

namespace nestlock::heap {

// A table of what malloc has, in at most `size` bytes; returns its length. Not in a handler.
std::size_t stats_text(char* out, std::size_t size) noexcept;
// The same to standard error.
void print_stats() noexcept;

}  // namespace nestlock::heap
