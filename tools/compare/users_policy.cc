#include "tools/compare/users_policy.h"

#include "tools/compare/users_lock.h"
#include "tools/shared/floors_on.h"

#ifdef NESTLOCK_TOOLS_USERS_LOCK

namespace nestlock {

NESTLOCK_TOOLS_FLOORS(tools::Users<tools::OneCpu>)

namespace tools {
std::optional<Policy> users_policy() { return policy_on<OneCpu, Users<OneCpu>>({}, {}); }
}  // namespace tools

}  // namespace nestlock

#else

std::optional<nestlock::tools::Policy> nestlock::tools::users_policy() { return {}; }

#endif
