// FLAGS: -DNESTLOCK_CONFIG=up -DNESTLOCK_SMP=0 -DNESTLOCK_PREEMPT_RT=0
// CONTROL: -DNESTLOCK_SMP=0 -DNESTLOCK_PREEMPT_RT=0
// EXPECT: Nestlock: choose the configuration by -DNESTLOCK_CONFIG=<name> or by the flags, not by
// both
#include "nestlock/config/config.h"
