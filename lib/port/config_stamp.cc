#include "nestlock/config/config.h"

// One stamp a library: see NESTLOCK_LINK_STAMP.
extern "C" {
extern const char NESTLOCK_LINK_STAMP;
const char NESTLOCK_LINK_STAMP = 0;
}
