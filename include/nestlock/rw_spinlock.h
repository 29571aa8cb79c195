// The public path of nestlock/lock/rw_spinlock.h.
#pragma once

#include "nestlock/lock/rw_spinlock.h"
