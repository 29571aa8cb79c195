// Pages: ours in `up` and `smp`, with irqs off in two ways, beside the system and the mallocs.
#include <signal.h>
#include <sys/mman.h>

#include "nestlock/testing/unpromised_policies.h"
#include "nestlock_allocators.h"
#include "workloads.h"

namespace bench {
namespace {

using nestlock::gfp;
using nestlock::kPageSize;

// Irqs off around the per-CPU pages by two system calls, as user space does without a port.
struct RealMask {
  using ForSleeping = RealMask;
  template <nestlock::Port P>
  struct State {
    sigset_t old;
  };
  template <nestlock::Port P>
  static State<P> enter() noexcept {
    static const sigset_t all = [] {
      sigset_t s;
      sigfillset(&s);
      return s;
    }();
    State<P> s;
    pthread_sigmask(SIG_BLOCK, &all, &s.old);
    return s;
  }
  template <nestlock::Port P>
  static void leave(const State<P>& s) noexcept {
    pthread_sigmask(SIG_SETMASK, &s.old, nullptr);
  }
};

template <nestlock::Kernel K>
struct RealIrqsOff : nestlock::testing::IrqsOff<K> {
  using PcpTag = RealMask;
};

template <class Pages>
constexpr unsigned order_of(std::size_t size) {
  unsigned order = 0;
  while ((kPageSize << order) < size) ++order;
  return order;
}

template <class K, class P = nestlock::policy::PerLockByte<K>>
void* take(std::size_t size) {
  auto& pages = ThePages<K, P>::pages;
  auto* const p = pages.alloc_pages(gfp::nowait, order_of<decltype(pages)>(size));
  return p ? pages.address(p) : nullptr;
}
template <class K, class P = nestlock::policy::PerLockByte<K>, unsigned kOrder = 0>
void give(void* at) {
  auto& pages = ThePages<K, P>::pages;
  pages.free_pages(pages.page_of(at), kOrder);
}

void* map(std::size_t size) {
  void* const p = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  return p == MAP_FAILED ? nullptr : p;
}
void unmap(void* p) { munmap(p, kPageSize); }

void add(const Allocator& a, const RunOptions& options) {
  const auto name = [&](const char* load) { return std::string("4 KiB/") + a.name + "/" + load; };
  const char* const loads[] = {"pair", "two threads, a pair", "to another CPU"};
  if (!a.alloc) {
    for (int i = 0; i < (options.parked_thread ? 3 : 1); ++i)
      add_absent(name(loads[i]), a.why_absent);
    return;
  }
  add_row(name(loads[0]), [a](benchmark::State& s) {
    for (auto _ : s) pair(a, kPageSize);
  });
  if (a.one_cpu || !options.parked_thread) return;
  add_timed(name(loads[1]),
            [a, ms = options.round_ms / 4] { return two_threads(a, kPageSize, ms); });
  add_timed(name(loads[2]), [a] { return ProducerConsumer::run(a, kPageSize); });
}

// A row of one CPU: the pair of take() and give() on K and P.
template <class K, class P>
Allocator one_cpu(const char* name) {
  ThePages<K, P>::set_up();
  return {name, take<K, P>, give<K, P>, true};
}

}  // namespace

void add_pages(const RunOptions& options) {
  using nestlock::policy::PerLockByte;
  ThePages<Smp>::set_up();
  add(one_cpu<Up, PerLockByte<Up>>("nestlock up"), options);
  add({"nestlock smp", take<Smp>, give<Smp>}, options);
  add(one_cpu<Up, nestlock::testing::IrqsOff<Up>>("irqs off, our lazy mask, up"), options);
  add(one_cpu<Up, RealIrqsOff<Up>>("irqs off, pthread_sigmask, up"), options);
  add({"mmap + munmap", map, unmap}, options);
  for (const Allocator& a : allocators())
    if (std::string(a.name).find("nestlock") == std::string::npos) add(a, options);
}

}  // namespace bench
