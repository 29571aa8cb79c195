// The public path of nestlock/lock/spinlock.h.
#pragma once

#include "nestlock/lock/spinlock.h"
