#include "nestlock/page.h"

namespace nestlock {

template class BasicPageAllocator<BuiltKernel>;

}  // namespace nestlock
