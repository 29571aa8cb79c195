// The public path of nestlock/lock/raw_spinlock.h.
#pragma once

#include "nestlock/lock/raw_spinlock.h"
