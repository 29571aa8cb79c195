#include "nestlock/system_slab.h"

#include <pthread.h>

#include "nestlock/port/hosted_once.h"
#include "nestlock/slab/mapped_blocks.h"

namespace nestlock {

template class BasicSlabAllocator<LibraryKernel, policy::PerLockByte<LibraryKernel>, FineClasses>;

namespace {

slab no_flags() noexcept { return slab::none; }

// Mapped blocks, in which LeakSanitizer finds what they refer to.
void* give(void* block) noexcept {
  if (block) internal::lsan_root(block, mapped_blocks::size_of(block));
  return block;
}
void take(void* block, std::size_t size) noexcept {
  if (size) internal::lsan_no_root(block, size);
}
constexpr LargerBlocks kMapped{[](std::size_t size, std::size_t align) noexcept {
                                 return give(mapped_blocks::allocate(size, align));
                               },
                               [](void* block) noexcept {
                                 take(block, mapped_blocks::size_of(block));
                                 return mapped_blocks::release(block);
                               },
                               [](void* block, std::size_t size) noexcept {
                                 take(block, mapped_blocks::size_of(block));
                                 void* const moved = mapped_blocks::resize(block, size);
                                 give(moved ? moved : block);
                                 return moved;
                               },
                               mapped_blocks::size_of};

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
    system_slab_object.set_larger(&kMapped);
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
