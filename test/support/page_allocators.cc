#include "page_allocators.h"

#include "kernels.h"
#include "nestlock/testing/proposed_policies.h"
#include "nestlock/testing/unpromised_policies.h"
#include "page_allocators_impl.h"

namespace nestlock::test_support {

std::vector<PagesCase> all_pages() {
  std::vector<PagesCase> all;
  for_each_kernel([&]<class K>() { all.push_back(kPages<K>); }, AllKernels{});
  return all;
}

std::vector<PagesCase> policies_on_one_cpu(bool debug) {
  using K = HostedKernel<configs::up>;
  using D = HostedKernel<configs::up_debug>;
  if (debug)
    return {kPages<D>, kPages<D, policy::PerLockAtomic<D>>, kPages<D, policy::ClassAtomic<D>>};
  return {kPages<K>,
          kPages<K, policy::PerLockAtomic<K>>,
          kPages<K, policy::ClassAtomic<K>>,
          kPages<K, testing::Stateless<K>>,
          kPages<K, testing::IrqsOff<K>>,
          kPages<K, testing::RefusedInNmi<K>>};
}

std::unique_ptr<AnyPages> make_pages(Config config) {
  for (const PagesCase& c : all_pages())
    if (c.config == config) return c.make();
  return nullptr;
}

}  // namespace nestlock::test_support
