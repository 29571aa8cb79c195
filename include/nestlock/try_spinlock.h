// The public path of nestlock/lock/try_spinlock.h.
#pragma once

#include "nestlock/lock/try_spinlock.h"
