// What stands in the lean form where the other one counts something.
#pragma once

#include <atomic>
#include <cstdint>
#include <type_traits>

#include "nestlock/config/config.h"

namespace nestlock::internal {

// kLean, for what is required of a member function: of a plain constant a compiler asks before it knows whether the
// function is called at all.
template <class K>
inline constexpr bool kLeanOf = kLean;

// Always nought, and no memory: a static member of what would hold it.
struct NoCount {
  constexpr std::uint32_t load(std::memory_order) const noexcept { return 0; }
};
constexpr void bump(const NoCount&, std::uintptr_t = 1) noexcept {}
constexpr void bump_locked(const NoCount&, std::uintptr_t = 1) noexcept {}

// A member that the lean form does not have: `[[no_unique_address]] NotLean<T, n> m{...}`. There it reads as nought
// and takes no memory, as long as each of a class has a number of its own.
template <int kNumber>
struct Nothing {
  template <class... Ts>
  constexpr Nothing(Ts...) noexcept {}
  constexpr operator std::uint32_t() const noexcept { return 0; }
  constexpr std::uint32_t load(std::memory_order) const noexcept { return 0; }
};
template <class T, int kNumber>
using NotLean = std::conditional_t<kLean, Nothing<kNumber>, T>;

}  // namespace nestlock::internal
