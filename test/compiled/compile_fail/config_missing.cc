// FLAGS:
// CONTROL: -DNESTLOCK_CONFIG=up
// EXPECT: Nestlock: choose a configuration: depend on @nestlock//:nestlock.<name>
#include "nestlock/config/config.h"
