// The word of a lock between CPUs: with parking where the port has it, else first come, first served.
#pragma once

#include <type_traits>

#include "nestlock/lock/fifo_word.h"
#include "nestlock/lock/park_word.h"

namespace nestlock::internal {

template <Kernel K>
using SmpWord = std::conditional_t<ParkingPort<typename K::Port>, ParkWord<K>, FifoWord<K>>;

}  // namespace nestlock::internal
