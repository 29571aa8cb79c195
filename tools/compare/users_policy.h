// The policy of the lock that --lock named when this program was built, if it did.
#pragma once

#include <optional>

#include "tools/shared/floors.h"

namespace nestlock::tools {

std::optional<Policy> users_policy();

}  // namespace nestlock::tools
