// FLAGS: -DNESTLOCK_CONFIG=up_fast
// CONTROL: -DNESTLOCK_CONFIG=up
// EXPECT: up_fast
#include "nestlock/config/config.h"
