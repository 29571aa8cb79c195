// What mainline did for years.
#include "nestlock/testing/unpromised_policies.h"
#include "tools/shared/floors_on.h"

namespace nestlock {

NESTLOCK_TOOLS_FLOORS(testing::IrqsOff<tools::OneCpu>)

tools::Policy tools::irqs_off() {
  return policy_on<OneCpu, testing::IrqsOff<OneCpu>>({false, true, true}, {});
}

}  // namespace nestlock
