#include "nestlock/system_slab.h"

#include <pthread.h>

#include "nestlock/port/hosted_once.h"

namespace nestlock {

template class BasicSlabAllocator<LibraryKernel, policy::PerLockByte<LibraryKernel>, FineClasses>;

namespace {

slab no_flags() noexcept { return slab::none; }

// After system_pages(), before the ordinary constructors.
[[gnu::constructor(102)]] void set_up_slabs_early() { internal::set_up_system_slab(no_flags); }

}  // namespace

constinit SystemSlabAllocator internal::system_slab_object;

// Offline hooks run in the reverse order of their registration: the sheaves go home before the pages do.
bool internal::set_up_system_slab(slab (*flags)() noexcept) noexcept {
  if (!set_up_system_pages()) return false;
  static constinit hosted::Once once;
  return once.run([flags]() noexcept {
    system_slab_object.set_up(system_pages(), flags());
    static constinit hosted::OfflineHook hook{
        [](hosted::OfflineHook&, unsigned) noexcept { system_slab_object.flush_cpu(); }, nullptr,
        [](hosted::OfflineHook&, unsigned cpu) noexcept { system_slab_object.cpu_lost(cpu); }};
    hosted::on_cpu_offline(hook);
    pthread_atfork([] { system_slab_object.before_fork(); },
                   [] { system_slab_object.after_fork(false); },
                   [] { system_slab_object.after_fork(true); });
  });
}

SystemSlabAllocator& system_slab() noexcept { return internal::system_slab_object; }

}  // namespace nestlock

nestlock::Floor nestlock_interrupted() noexcept { return nestlock::system_slab().interrupted(); }
