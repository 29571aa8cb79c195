#include "nestlock/page.h"

namespace nestlock {

template class BasicPageAllocator<LibraryKernel>;

}  // namespace nestlock
