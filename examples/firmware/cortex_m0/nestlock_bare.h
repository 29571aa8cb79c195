// The port: that of every Cortex-M, and a ninth function, since this core has no exclusive accesses.
#pragma once

#include <cstdint>

#include "cortex_m/port.h"

extern "C" {
// restart.cc
bool restartable_compare_exchange(std::uint32_t* word, std::uint32_t expected,
                                  std::uint32_t desired) noexcept;
extern const char restartable_begin[], restartable_end[];
}

namespace nestlock_bare {

// If *word is `expected`, makes it `desired`: a load, a comparison and a store.
inline bool compare_exchange(std::uint32_t* word, std::uint32_t expected,
                             std::uint32_t desired) noexcept {
  return restartable_compare_exchange(word, expected, desired);
}

}  // namespace nestlock_bare

namespace machine {

// What makes the three one step: each exception's entry calls this with the address to which it will
// return. If that lies behind the load and before the end of the store, it becomes the load's.
inline void restart(std::uint32_t& pc) {
  const auto begin = reinterpret_cast<std::uintptr_t>(restartable_begin);
  const auto end = reinterpret_cast<std::uintptr_t>(restartable_end);
  if (pc - begin < end - begin) pc = begin;
}

}  // namespace machine
