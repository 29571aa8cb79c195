#include "nestlock/slab.h"

namespace nestlock {

template class BasicKmemCache<BuiltKernel>;
template class BasicSlabAllocator<BuiltKernel>;

}  // namespace nestlock
