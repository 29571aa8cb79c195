// The six answers to the list's question, in one program.
#include <sys/mman.h>

#include "nestlock/testing/unpromised_policies.h"
#include "tools/shared/floors_on.h"

namespace nestlock {

using OneCpu = KernelOf<configs::up, HostedPort<configs::up>>;

// All of both floors, so that they can be compared by the size of their code.
#define NESTLOCK_TOOLS_FLOORS(...)                        \
  template class BasicPageAllocator<OneCpu, __VA_ARGS__>; \
  template class BasicKmemCache<OneCpu, __VA_ARGS__>;     \
  template class BasicSlabAllocator<OneCpu, __VA_ARGS__>;
NESTLOCK_TOOLS_FLOORS(testing::Stateless<OneCpu>)
NESTLOCK_TOOLS_FLOORS(testing::IrqsOff<OneCpu>)
NESTLOCK_TOOLS_FLOORS(testing::RefusedInNmi<OneCpu>)
NESTLOCK_TOOLS_FLOORS(policy::PerLockAtomic<OneCpu>)
NESTLOCK_TOOLS_FLOORS(policy::ClassAtomic<OneCpu>)
NESTLOCK_TOOLS_FLOORS(policy::PerLockByte<OneCpu>)
#undef NESTLOCK_TOOLS_FLOORS

namespace tools {
namespace {

template <template <class> class P>
Policy policy(const bool (&corrupts)[3], const bool (&refuses)[3]) {
  return policy_on<OneCpu, P<OneCpu>>(P<OneCpu>::kName, corrupts, refuses);
}

}  // namespace

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
  constexpr bool kNone[3] = {};
  static const Policy all[] = {
      //                             irq   NMI   probe: known to corrupt; to refuse everything
      policy<testing::Stateless>({true, true, true}, kNone),
      policy<testing::IrqsOff>({false, true, true}, kNone),
      policy<testing::RefusedInNmi>({false, false, true}, {false, true, false}),
      policy<policy::PerLockAtomic>(kNone, kNone),
      policy<policy::ClassAtomic>(kNone, kNone),
      policy<policy::PerLockByte>(kNone, kNone),
  };
  return all;
}

}  // namespace tools
}  // namespace nestlock
