// One word for all locks of a class.
#include "nestlock/page/lock_policies.h"
#include "nestlock/testing/proposed_policies.h"
#include "tools/shared/floors_on.h"

namespace nestlock {

NESTLOCK_TOOLS_FLOORS(policy::ClassAtomic<tools::OneCpu>)

tools::Policy tools::class_atomic() {
  return policy_on<OneCpu, policy::ClassAtomic<OneCpu>>({}, {});
}

}  // namespace nestlock
