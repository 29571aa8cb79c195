// FLAGS: -DNESTLOCK_CONFIG=up -DNESTLOCK_DEBUG=1
// CONTROL: -DNESTLOCK_CONFIG=up_debug
// EXPECT: NESTLOCK_DEBUG belongs to the flags
#include "nestlock/config/config.h"
