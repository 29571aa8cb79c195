// The port: that of every Cortex-M. This core has exclusive accesses, so nothing is to be restarted.
#pragma once

#include <cstdint>

#include "cortex_m/port.h"

namespace machine {

inline void restart(std::uint32_t& /*pc*/) {}

}  // namespace machine
