// The SMP lock kept on UP.
#include "nestlock/page/lock_policies.h"
#include "nestlock/testing/proposed_policies.h"
#include "tools/shared/floors_on.h"

namespace nestlock {

NESTLOCK_TOOLS_FLOORS(policy::PerLockAtomic<tools::OneCpu>)

tools::Policy tools::per_lock_atomic() {
  return policy_on<OneCpu, policy::PerLockAtomic<OneCpu>>({}, {});
}

}  // namespace nestlock
