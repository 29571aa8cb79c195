#pragma once

namespace nestlock::heap {

// Ends the process: `block`, which `call` was given, is no block's beginning, or is free.
[[noreturn, gnu::cold]] void bad_pointer(const char* call, const void* block, const char* what,
                                         const void* caller = nullptr) noexcept;

}  // namespace nestlock::heap
