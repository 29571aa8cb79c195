#include "kernels.h"
#include "page_allocators_impl.h"

namespace nestlock::test_support {
namespace {

struct Hooked {
  static void tell(LockEvent event, const LockRef& lock) noexcept {
    LockHook& hook = lock_hook();
    if (!hook) return;
    LockHook running;
    running.swap(hook);  // not again by what it does itself
    running(event, lock);
    running.swap(hook);
  }
  static void acquiring(const LockRef& l) noexcept { tell(LockEvent::acquiring, l); }
  static void acquired(const LockRef& l, bool) noexcept { tell(LockEvent::acquired, l); }
  static void refused(const LockRef& l) noexcept { tell(LockEvent::refused, l); }
  static void releasing(const LockRef& l) noexcept { tell(LockEvent::releasing, l); }
};

}  // namespace

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
