// The allocators of all eight kernels on the library's own locks as lib/ has compiled them, where the
// build links those (//test/support:built_kernels): who includes this does not compile them again.
// A plain compiler line compiles them, as ever.
#pragma once

#include "nestlock/page.h"
#include "nestlock/slab.h"
#include "test/support/kernels.h"

#ifdef NESTLOCK_TEST_BUILT_KERNELS
#define NESTLOCK_TEST_BUILT(config)                                                      \
  extern template class BasicPageAllocator<test_support::HostedKernel<configs::config>>; \
  extern template class BasicKmemCache<test_support::HostedKernel<configs::config>>;     \
  extern template class BasicSlabAllocator<test_support::HostedKernel<configs::config>>;

namespace nestlock {

NESTLOCK_TEST_BUILT(up)
NESTLOCK_TEST_BUILT(up_debug)
NESTLOCK_TEST_BUILT(up_rt)
NESTLOCK_TEST_BUILT(up_rt_debug)
NESTLOCK_TEST_BUILT(smp)
NESTLOCK_TEST_BUILT(smp_debug)
NESTLOCK_TEST_BUILT(smp_rt)
NESTLOCK_TEST_BUILT(smp_rt_debug)

}  // namespace nestlock

#undef NESTLOCK_TEST_BUILT
#endif
