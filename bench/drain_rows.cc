// Emptying another CPU's pages while it allocates: by its lock, by a signal, with a barrier on its
// CPU; what it costs the one who drains and the owner.
//
// Only the first is how the library does it. The other two are what an owner without a locked
// instruction would need: a cross call, in which it drains its own pages; or a barrier that all
// running threads pass (membarrier), after which the drainer may look at the owner's plain stores.
#include <linux/membarrier.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "nestlock/signals.h"
#include "nestlock_allocators.h"
#include "workloads.h"

namespace bench {
namespace {

using nestlock::gfp;
using Clock = std::chrono::steady_clock;
using Ns = std::chrono::duration<double, std::nano>;

// Under a signal's drain the owner masks irqs around its pages: else the handler could find them
// locked by the very code that it interrupted.
struct Masked : nestlock::policy::PerLockByte<Smp> {
  using PcpTag = nestlock::IrqSave;
};
using Plain = nestlock::policy::PerLockByte<Smp>;
template <class Policy>
auto& pages = ThePages<Smp, Policy>::pages;
constexpr int kSignal = SIGUSR1;

// A thread that allocates and frees pages on the first CPU, and counts.
class Owner {
 public:
  template <class Pages>
  explicit Owner(Pages& pages) : thread_([this, &pages] { run(pages); }) {
    while (!pairs_.load()) sched_yield();
  }
  ~Owner() {
    stop_.store(true);
    thread_.join();
  }
  unsigned cpu() const { return cpu_; }
  pid_t tid() const { return tid_; }
  std::uint64_t pairs() const { return pairs_.load(std::memory_order_relaxed); }

 private:
  template <class Pages>
  void run(Pages& pages) {
    pin_to_nth_cpu(0);
    cpu_ = Smp::Port::cpu_id();
    tid_ = static_cast<pid_t>(syscall(SYS_gettid));
    for (std::uint64_t n = 0; !stop_.load(std::memory_order_relaxed);) {
      auto* const p = pages.alloc_pages(gfp::nowait, 0);
      pages.free_pages(p, 0);
      pairs_.store(++n, std::memory_order_release);
    }
  }
  unsigned cpu_ = 0;
  pid_t tid_ = 0;
  std::atomic<std::uint64_t> pairs_{0};
  std::atomic<bool> stop_{false};
  std::thread thread_;
};

void by_nothing(const Owner&) {}
void by_lock(const Owner& o) { pages<Plain>.drain_cpu(o.cpu()); }

std::atomic<unsigned> answered{0};
void by_signal(const Owner& o) {
  [[maybe_unused]] static const auto registered =
      nestlock::signals::register_irq(kSignal, [](int, siginfo_t*, void*) {
        pages<Masked>.drain_cpu(Smp::Port::cpu_id());
        answered.fetch_add(1);
      });
  const unsigned before = answered.load();
  syscall(SYS_tgkill, getpid(), o.tid(), kSignal);
  for (int turns = 0; answered.load(std::memory_order_acquire) == before;)
    if (++turns > 2000) sched_yield(), turns = 0;
}

void by_barrier(const Owner& o) {
  [[maybe_unused]] static const auto registered =
      syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0);
  syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0);
  pages<Plain>.drain_cpu(o.cpu());
}

struct Cost {
  double drain, pair;  // ns: of a drain, of the owner's pair meanwhile
};

// Drains every kPause for the time of a round.
template <class Policy>
Cost measure(void (*drain)(const Owner&), int round_ms) {
  constexpr auto kPause = std::chrono::microseconds(20);
  Owner owner(pages<Policy>);
  const std::uint64_t before = owner.pairs();
  const auto start = Clock::now(), end = start + std::chrono::milliseconds(round_ms);
  Ns draining{0};
  std::uint64_t drains = 0;
  for (auto now = start; now < end; ++drains) {
    const auto from = Clock::now();
    drain(owner);
    now = Clock::now();
    draining += now - from;
    for (const auto until = now + kPause; now < until;) now = Clock::now();
  }
  const Ns time = Clock::now() - start;
  return {draining.count() / static_cast<double>(drains),
          time.count() / static_cast<double>(owner.pairs() - before + 1)};
}

}  // namespace

void add_drains(const RunOptions& options) {
  if (!options.parked_thread) return;
  ThePages<Smp, Plain>::set_up();
  ThePages<Smp, Masked>::set_up();
  struct {
    const char* name;
    Cost (*measure)(void (*drain)(const Owner&), int round_ms);
    void (*drain)(const Owner&);
  } const ways[] = {{"nothing", measure<Plain>, by_nothing},
                    {"its lock", measure<Plain>, by_lock},
                    {"nothing, irqs masked", measure<Masked>, by_nothing},
                    {"a signal, irqs masked", measure<Masked>, by_signal},
                    {"membarrier and its lock", measure<Plain>, by_barrier}};
  for (const auto& way : ways)
    for (const bool of_drainer : {true, false})
      add_timed(std::string("drained by/") + way.name + "/" +
                    (of_drainer ? "a drain" : "the owner's pair"),
                [=, ms = options.round_ms / 4] {
                  const Cost c = way.measure(way.drain, ms);
                  return of_drainer ? c.drain : c.pair;
                });
}

}  // namespace bench
