// The public path of nestlock/lock/event.h.
#pragma once

#include "nestlock/lock/event.h"
