// The public path of nestlock/lock/pi_mutex.h.
#pragma once

#include "nestlock/lock/pi_mutex.h"
