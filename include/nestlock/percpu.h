// The public path of nestlock/lock/percpu.h.
#pragma once

#include "nestlock/lock/percpu.h"
