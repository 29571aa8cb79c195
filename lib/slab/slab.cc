#include "nestlock/slab.h"

namespace nestlock {

template class BasicKmemCache<LibraryKernel>;
template class BasicSlabAllocator<LibraryKernel>;

}  // namespace nestlock
