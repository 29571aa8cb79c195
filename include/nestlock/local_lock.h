// The public path of nestlock/lock/local_lock.h.
#pragma once

#include "nestlock/lock/local_lock.h"
