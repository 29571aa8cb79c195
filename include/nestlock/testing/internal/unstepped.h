// Instructions after which the processor does not trap at once: that boundary no step can see.
#pragma once

#include <cstdint>

#include "nestlock/testing/internal/runner.h"

namespace nestlock::testing::internal {

// What stands at a boundary that was seen, by name; null: the next boundary is seen, too. (Each
// iteration of a `rep` instruction is seen, and so are pushf, popf and the vDSO's code.)
#if NESTLOCK_INTERNAL_CAN_STEP
NESTLOCK_UNSEEN inline const char* unstepped(const void* address) noexcept {
  const auto* p = static_cast<const unsigned char*>(address);
  if (!p) return nullptr;
  while (*p == 0x66 || (*p & 0xf0) == 0x40) ++p;
  if (p[0] == 0x0f && p[1] == 0x05) return "syscall";
  if (p[0] == 0x8e && (p[1] & 0x38) == 0x10) return "mov ss";  // the next is in its shadow
  return nullptr;
}
#else
inline const char* unstepped(const void*) noexcept { return nullptr; }
#endif

}  // namespace nestlock::testing::internal
