// FLAGS: -DNESTLOCK_SMP=1
// CONTROL: -DNESTLOCK_SMP=1 -DNESTLOCK_PREEMPT_RT=0
// EXPECT: Nestlock: choose a configuration
#include "nestlock/config/config.h"
