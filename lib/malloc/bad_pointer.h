#pragma once

#include <cstddef>

namespace nestlock::heap {

// Ends the process: `block`, which `call` was given, is no block's beginning, or is free.
[[noreturn, gnu::cold]] void bad_pointer(const char* call, const void* block, const char* what,
                                         const void* caller = nullptr) noexcept;

// The same where the block is one, but `call` says that it has `size` bytes. `is` is what it really is.
enum class SizeIs { asked_for, room };
[[noreturn, gnu::cold]] void bad_size(const char* call, const void* block, std::size_t size,
                                      SizeIs what, std::size_t is, const void* caller) noexcept;

}  // namespace nestlock::heap
