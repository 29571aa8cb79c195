#include "nestlock/system_slab.h"

namespace nestlock {
namespace {

constinit SlabAllocator slabs;

// After system_pages(), before the ordinary constructors. Hooks run in the reverse order of their
// registration: the sheaves go home before the pages do.
[[gnu::constructor(102)]] void set_up_system_slab() {
  slabs.set_up(system_pages());
  static constinit hosted::OfflineHook hook{
      [](hosted::OfflineHook&, unsigned) noexcept { slabs.flush_cpu(); }, nullptr};
  hosted::on_cpu_offline(hook);
}

}  // namespace

SlabAllocator& system_slab() noexcept { return slabs; }

}  // namespace nestlock

nestlock::Floor nestlock_interrupted() noexcept { return nestlock::system_slab().interrupted(); }
