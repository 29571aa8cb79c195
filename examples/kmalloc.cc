// kmalloc and gfp in five minutes.
//
// Shows: the calls that may wait and the flags that say how hard they try; the calls for any context;
//        a cache; what a program does when memory fails, tried on purpose; what a bad free does.
// For:   who allocates in handlers. docs/allocators.md is the whole story.
// Build: g++ -std=c++20 -Iinclude -DNESTLOCK_CONFIG=up_debug examples/kmalloc.cc
//            lib/*/*.cc -pthread -o kmalloc
// Prints:
//   60 bytes asked for: an object of 64; grown to 200: an object of 208, contents kept
//   irq handler, kmalloc(gfp::atomic): served
//   nmi handler, kmalloc_nolock(): served
//   nmi handler, 20000 bytes: null, because of: size
//   cache: zeroed, aligned to 64
//   every 2nd made to fail: 5 of 10 null
//   freed twice: the first time taken, the second time refused; 1 report
//   all given back: yes
#include <cstdint>
#include <cstdio>
#include <cstring>

#include "nestlock/nestlock.h"
#include "nestlock/signals.h"
#include "nestlock/system_slab.h"

namespace signals = nestlock::signals;
using nestlock::gfp;

nestlock::SystemSlabAllocator& slab = nestlock::system_slab();
void *from_irq = nullptr, *from_nmi = nullptr, *too_large = nullptr;
nestlock::SlabRefusal why_too_large{};

// irq handlers come only where irqs are on, and every lock that kmalloc() waits for is taken with
// irqs off. So an irq handler may call it (not on PREEMPT_RT, where those locks sleep).
// gfp::atomic: may ask the system for memory and use half of the reserve; drains no other CPU.
void on_irq(int, siginfo_t*, void*) { from_irq = slab.kmalloc(64, gfp::atomic); }

// An nmi handler, or a signal handler that was never registered, comes anywhere, also inside
// kmalloc(). It uses the *_nolock calls: each lock is tried once, and null means "do without".
void on_nmi(int, siginfo_t*, void*) {
  from_nmi = slab.kmalloc_nolock(64, gfp::none);
  too_large = slab.kmalloc_nolock(20000, gfp::none, nestlock::kAnyNode, &why_too_large);
}

int main() {
  if (signals::register_irq(SIGUSR1, on_irq) != signals::Error::none) return 1;
  if (signals::register_nmi(SIGUSR2, on_nmi) != signals::Error::none) return 1;

  // gfp::kernel is for tasks, and the most patient: asks the system for memory, drains other CPUs.
  auto* const text = static_cast<char*>(slab.kmalloc(60, gfp::kernel));
  if (!text) return 1;
  std::strcpy(text, "kept");
  std::printf("60 bytes asked for: an object of %zu; ", slab.ksize(text));
  auto* const grown = static_cast<char*>(slab.krealloc(text, 200, gfp::kernel));
  if (!grown) return 1;  // text would be as it was
  std::printf("grown to 200: an object of %zu, contents %s\n", slab.ksize(grown), grown);
  slab.kfree(grown);

  raise(SIGUSR1);
  std::printf("irq handler, kmalloc(gfp::atomic): %s\n", from_irq ? "served" : "null");
  raise(SIGUSR2);
  std::printf("nmi handler, kmalloc_nolock(): %s\n", from_nmi ? "served" : "null");
  std::printf("nmi handler, 20000 bytes: %s, because of: %s\n", too_large ? "served" : "null",
              name_of(why_too_large));
  slab.kfree(from_irq);
  slab.kfree_nolock(from_nmi);  // either call frees either kind; this one works anywhere

  // A cache, for many objects of one size and alignment.
  nestlock::KmemCache* const cache = slab.create("points", 48, 64);
  if (!cache) return 1;
  auto* const point = static_cast<unsigned char*>(cache->alloc(gfp::kernel | gfp::zero));
  bool zeroed = point != nullptr;
  for (int i = 0; zeroed && i < 48; ++i) zeroed = point[i] == 0;
  std::printf("cache: %s, %s\n", zeroed ? "zeroed" : "NOT ZEROED",
              reinterpret_cast<std::uintptr_t>(point) % 64 == 0 ? "aligned to 64" : "NOT ALIGNED");
  cache->free(point);

  // Would your program survive? Make every 2nd allocation fail, and look.
  cache->fail_every(2);
  int failed = 0;
  for (int i = 0; i < 10; ++i) {
    void* const p = cache->alloc(gfp::kernel | gfp::nowarn);
    if (p) {
      cache->free(p);
    } else {
      ++failed;
    }
  }
  cache->fail_every(0);
  std::printf("every 2nd made to fail: %d of 10 null\n", failed);

  // A debug cache checks each object. Reports go to standard error; here they are counted.
  static int reports = 0;
  nestlock::hosted::set_report_sink([](const nestlock::Report& r) noexcept {
    if (r.finding == nestlock::Finding::double_free) ++reports;
  });
  nestlock::KmemCache* const checked = slab.create("checked", 48, 0, nestlock::slab::debug);
  if (!checked) return 1;
  void* const once = checked->alloc(gfp::kernel);
  const bool first = checked->free(once), second = checked->free(once);
  std::printf("freed twice: the first time %s, the second time %s; %d report\n",
              first ? "taken" : "refused", second ? "taken" : "refused", reports);

  const bool gone = slab.destroy(cache) && slab.destroy(checked);
  std::printf("all given back: %s\n", gone ? "yes" : "no, objects are still out");
}
