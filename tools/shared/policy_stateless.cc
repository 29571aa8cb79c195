// UP as it is: a spin_trylock() that is always true.
#include "nestlock/testing/unpromised_policies.h"
#include "tools/shared/floors_on.h"

namespace nestlock {

NESTLOCK_TOOLS_FLOORS(testing::Stateless<tools::OneCpu>)

tools::Policy tools::stateless() {
  return policy_on<OneCpu, testing::Stateless<OneCpu>>({true, true, true}, {});
}

}  // namespace nestlock
