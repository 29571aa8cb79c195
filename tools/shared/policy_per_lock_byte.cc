// Ours.
#include "nestlock/page/lock_policies.h"
#include "tools/shared/floors_on.h"

namespace nestlock {

NESTLOCK_TOOLS_FLOORS(policy::PerLockByte<tools::OneCpu>)

tools::Policy tools::per_lock_byte() {
  return policy_on<OneCpu, policy::PerLockByte<OneCpu>>({}, {});
}

}  // namespace nestlock
