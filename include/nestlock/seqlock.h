// The public path of nestlock/lock/seqlock.h.
#pragma once

#include "nestlock/lock/seqlock.h"
