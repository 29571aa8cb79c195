#include "kernels.h"
#include "lock_hooks.h"
#include "page_allocators_impl.h"

namespace nestlock::test_support {
LockHook& lock_hook() {
  thread_local LockHook hook;
  return hook;
}

std::vector<PagesCase> observed_pages() {
  std::vector<PagesCase> all;
  for_each_kernel(
      [&]<class K>() {
        using Observed = KernelOf<K::kConfig, typename K::Port, Hooked>;
        all.push_back(kPages<Observed>);
      },
      AllKernels{});
  return all;
}

}  // namespace nestlock::test_support
