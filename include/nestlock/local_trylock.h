// The public path of nestlock/lock/local_trylock.h.
#pragma once

#include "nestlock/lock/local_trylock.h"
