// The public path of nestlock/lock/recursive_lock.h.
#pragma once

#include "nestlock/lock/recursive_lock.h"
