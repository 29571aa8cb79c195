// The public path of nestlock/lock/shared_try_spinlock.h.
#pragma once

#include "nestlock/lock/shared_try_spinlock.h"
