// The least program on Nestlock: a main loop and a timer's handler share a lock and an allocator. Copy it into
// your board's folder under a name of its own.
#include "machine.h"
#include "nestlock/slab.h"
#include "print.h"

namespace {

alignas(nestlock::kPageSize) unsigned char memory[8 * 1024];
constinit nestlock::PageAllocator pages;
constinit nestlock::SlabAllocator slabs;

constinit nestlock::TrySpinLock lock;
std::uint32_t shared = 0;                                       // guarded by it
std::uint32_t ticks = 0, refused = 0, without_memory = 0;       // the handler's
constinit nestlock::BuiltPort::Atomic<void*> message{nullptr};  // from the handler to the main loop

}  // namespace

// May come at any instruction of main(), in the middle of a locked section or an allocation, too.
void machine::interrupt(Source source, std::uintptr_t) {
  if (source != Source::timer) end(3);
  ++ticks;
  if (nestlock::TryGuard held(lock); held)
    ++shared;
  else
    ++refused;
  if (!message.load()) {
    message.store(slabs.kmalloc_nolock(24, nestlock::gfp::none));
    without_memory += !message.load();
  }
  timer(900 + ticks % 64);  // the next, at another instruction each time
}

int main() {
  if (pages.set_up({.start = memory, .size = sizeof memory}) != nestlock::PageSetup::ok) return 2;
  if (!slabs.set_up(pages)) return 2;
  machine::timer(1000);
  std::uint32_t messages = 0, rounds = 0;
  for (; messages < 500; ++rounds) {
    void* const own = slabs.kmalloc(40, nestlock::gfp::kernel);
    if (nestlock::Guard held(lock); own) ++shared;
    if (!slabs.kfree(own)) return 3;
    if (void* const received = message.exchange(nullptr)) messages += slabs.kfree(received);
  }
  machine::timer(0);
  firmware::print("rounds of the main loop", rounds);
  firmware::print("timer interrupts", ticks);
  firmware::print("  in which the lock was refused", refused);
  firmware::print("  in which there was no memory", without_memory);
  firmware::print("messages from the handler", messages);
  const bool right = shared == rounds + ticks - refused;
  firmware::print("corruption", !right);
  return right ? 0 : 3;
}
