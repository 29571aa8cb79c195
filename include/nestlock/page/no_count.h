// What stands in the lean form where the other one counts something.
#pragma once

#include <atomic>
#include <cstdint>

namespace nestlock::internal {

// Always nought, and no memory: a static member of what would hold it.
struct NoCount {
  constexpr std::uint32_t load(std::memory_order) const noexcept { return 0; }
};
constexpr void bump(const NoCount&, std::uintptr_t = 1) noexcept {}
constexpr void bump_locked(const NoCount&, std::uintptr_t = 1) noexcept {}

}  // namespace nestlock::internal
