// What mainline does now.
#include "nestlock/testing/unpromised_policies.h"
#include "tools/shared/floors_on.h"

namespace nestlock {

NESTLOCK_TOOLS_FLOORS(testing::RefusedInNmi<tools::OneCpu>)

tools::Policy tools::refused_in_nmi() {
  return policy_on<OneCpu, testing::RefusedInNmi<OneCpu>>({false, false, true},
                                                          {false, true, false});
}

}  // namespace nestlock
