// The public path of nestlock/lock/guard.h.
#pragma once

#include "nestlock/lock/guard.h"
