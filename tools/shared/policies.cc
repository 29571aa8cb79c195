#include <sys/mman.h>

#include <cstdint>
#include <cstdlib>

#include "tools/shared/floors_on.h"

namespace nestlock::tools {

char* run_memory() {
  static char* const memory = [] {
    void* const m =
        mmap(nullptr, 2 * kRunMemory, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (m == MAP_FAILED) std::abort();
    const auto at = (reinterpret_cast<std::uintptr_t>(m) + kRunMemory - 1) & ~(kRunMemory - 1);
    return reinterpret_cast<char*>(at);
  }();
  return memory;
}

std::span<const Policy> policies() {
  static const Policy all[] = {stateless(),       irqs_off(),     refused_in_nmi(),
                               per_lock_atomic(), class_atomic(), per_lock_byte()};
  return all;
}

}  // namespace nestlock::tools
