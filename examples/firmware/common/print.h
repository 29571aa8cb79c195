// Lines of the form `name: number` on the machine's console.
#pragma once

#include <cstdint>

#include "machine.h"

namespace firmware {

inline void print(const char* name, std::uint32_t value) {
  char digits[11], *at = digits + sizeof digits;
  *--at = '\0';
  do *--at = static_cast<char>('0' + value % 10);
  while (value /= 10);
  machine::put(name);
  machine::put(": ");
  machine::put(at);
  machine::put("\n");
}

}  // namespace firmware
