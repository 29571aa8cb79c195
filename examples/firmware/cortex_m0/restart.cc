#include "nestlock_bare.h"

// r0: the word, r1: expected, r2: desired. The load's operands are still there when it is restarted.
// The address of a store that has been done is behind the end.
extern "C" [[gnu::naked, gnu::used]] bool restartable_compare_exchange(std::uint32_t*,
                                                                       std::uint32_t,
                                                                       std::uint32_t) noexcept {
  asm volatile(
      ".global restartable_begin, restartable_end\n"
      "restartable_begin:\n"
      "ldr r3, [r0]\n"
      "cmp r3, r1\n"
      "bne 1f\n"
      "str r2, [r0]\n"
      "restartable_end:\n"
      "movs r0, #1\n"
      "bx lr\n"
      "1: movs r0, #0\n"
      "bx lr");
}
