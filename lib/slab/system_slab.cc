#include "nestlock/system_slab.h"

#include <pthread.h>
#include <signal.h>

#include "nestlock/port/hosted_once.h"
#include "nestlock/slab/mapped_blocks.h"

namespace nestlock {

template class BasicSlabAllocator<LibraryKernel, policy::PerLockByte<LibraryKernel>, FineClasses>;

namespace {

slab no_flags() noexcept { return slab::none; }

// Mapped blocks, in which LeakSanitizer finds what they refer to. The tool has a lock, and a handler may come: so
// none does. (One that comes inside the tool's own search for leaks must not ask for such a block.)
class NoHandlers {
 public:
  NoHandlers() noexcept {
    sigset_t all;
    sigfillset(&all);
    for (const int fault : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS})
      sigdelset(&all, fault);
    pthread_sigmask(SIG_SETMASK, &all, &before_);
  }
  ~NoHandlers() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
  NoHandlers(const NoHandlers&) = delete;
  NoHandlers& operator=(const NoHandlers&) = delete;

 private:
  sigset_t before_;
};
void begin_root(void* block) noexcept {
  if (!internal::has_lsan()) return;
  const NoHandlers none;
  internal::lsan_root(block, mapped_blocks::size_of(block));
}
void end_root(void* block, std::size_t size) noexcept {
  if (!internal::has_lsan()) return;
  const NoHandlers none;
  internal::lsan_no_root(block, size);
}
// A root no more when it is no block any more: of two that free it one is refused, and changes nothing.
constexpr LargerBlocks kMapped{[](std::size_t size, std::size_t align) noexcept {
                                 void* const block = mapped_blocks::allocate(size, align);
                                 if (block) begin_root(block);
                                 return block;
                               },
                               [](void* block) noexcept {
                                 const std::size_t size = mapped_blocks::size_of(block);
                                 if (!mapped_blocks::release(block)) return false;
                                 end_root(block, size);
                                 return true;
                               },
                               [](void* block, std::size_t size) noexcept {
                                 const std::size_t had = mapped_blocks::size_of(block);
                                 void* const moved = mapped_blocks::resize(block, size);
                                 if (moved) end_root(block, had), begin_root(moved);
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
    prefer_small_pages(&system_slab_object, sizeof system_slab_object);
    const bool mine = system_slab_object.set_up(system_pages(), flags());
    if (mine) system_slab_object.set_larger(&kMapped);
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
