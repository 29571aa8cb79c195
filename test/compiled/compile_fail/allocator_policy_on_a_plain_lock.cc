// FLAGS: -DNESTLOCK_CONFIG=up
// CONTROL: -DNESTLOCK_CONFIG=up
// EXPECT: LockPolicy
#include "nestlock/page/lock_policies.h"

// The allocators' own gate: a policy with one lock that does not promise.
struct Policy : nestlock::policy::PerLockByte<nestlock::BuiltKernel> {
#ifdef MUST_FAIL
  using Zone = nestlock::SpinLock;
#endif
};
template <nestlock::LockPolicy L>
struct Allocator {};
Allocator<Policy> allocator;
