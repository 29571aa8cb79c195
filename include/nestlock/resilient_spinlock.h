// The public path of nestlock/lock/resilient_spinlock.h.
#pragma once

#include "nestlock/lock/resilient_spinlock.h"
