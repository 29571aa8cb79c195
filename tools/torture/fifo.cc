// Two real-time priorities on one processor: a thread that preempts another inside a call, and
// waits for it, waits for ever. Which calls end in bounded steps there, and which do not, is in
// README.md. Each call has a child, and that a watchdog of a third priority; no time is judged but
// "it ended".
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <new>
#include <thread>

#include "nestlock/slab.h"
#include "tools/torture/run.h"

namespace nestlock::torture {
namespace {

constexpr int kLow = 1, kHigh = 2, kWatchdog = 3;  // priorities
// A call of microseconds that has used so much processor time of its own spins for ever; one that
// has not ended after so much of the day's time sleeps for ever.
constexpr double kSpins = 0.5, kSleeps = 20;
constexpr double kMoreToHit = 10;
constexpr unsigned kInUse = 128;  // blocks, objects
enum : int { kEnded = 0, kNotPermitted = 10, kSpun = 11, kSlept = 12 };

// ---- what a child tells -------------------------------------------------------------------------

struct Told {
  std::uint64_t calls = 0, inside = 0, holding = 0;
};

thread_local std::atomic<int>* held_here = nullptr;  // by the low thread
struct AtFifoLocks {
  static void count(int n) noexcept {
    if (std::atomic<int>* const held = held_here)
      held->store(held->load(std::memory_order_relaxed) + n, std::memory_order_relaxed);
  }
  static void acquiring(const LockRef&) noexcept {}
  static void acquired(const LockRef&, bool) noexcept { count(1); }
  static void refused(const LockRef&) noexcept {}
  static void releasing(const LockRef&) noexcept { count(-1); }
};

// ---- the calls ----------------------------------------------------------------------------------

// (What a uniprocessor build does not use may be unused.)

// As bare metal is: who waits for a lock spins.
struct WithoutParking : BuiltPort {
  static constexpr bool kParking = false;
};

template <Kernel K>
struct World {
  template <class L>
  struct OfCpu {
    L lock;
  };
  BasicRawSpinLock<KernelOf<K::kConfig, WithoutParking, typename K::Observer>> never_parks;
  BasicRawSpinLock<K> raw_spin;
  BasicSpinLock<K> spin;
  BasicTrySpinLock<K> try_spin;
  BasicSharedTrySpinLock<K, World> shared_try_spin;
  BasicPerCpu<K, OfCpu<BasicLocalLock<K>>> local;
  BasicPerCpu<K, OfCpu<BasicLocalTryLock<K>>> local_try;
  BasicPageAllocator<K> pages;
  BasicSlabAllocator<K> slabs;

  // Of one thread each: filled, emptied, filled, so that every floor is reached.
  struct Kept {
    BasicPage<K>* page[kInUse] = {};
    unsigned order[kInUse] = {};
    void* object[kInUse] = {};
    unsigned next = 0;
    bool giving = false;
    void step() {
      next = (next + 1) % kInUse;
      if (next == 0) giving = !giving;
    }
  } kept[2];
};

[[maybe_unused]] void dwell(Caller& c) {
  for (unsigned i = c.random(200); i > 0; --i) hosted::pause();
}

template <auto kLock>
void locked(auto& w, Caller& c) NESTLOCK_NO_TSA {
  (w.*kLock).lock();
  dwell(c);
  (w.*kLock).unlock();
}
template <auto kLock>
void tried(auto& w, Caller& c) NESTLOCK_NO_TSA {
  if (!(w.*kLock).try_lock()) return;
  dwell(c);
  (w.*kLock).unlock();
}
template <class K, auto kPerCpu, class L>
void locked_here(World<K>& w, Caller& c) {
  const auto here = (w.*kPerCpu).template lock_here<&World<K>::template OfCpu<L>::lock>();
  dwell(c);
}
template <class K, auto kPerCpu, class L>
void tried_here(World<K>& w, Caller& c) {
  if (const auto here = (w.*kPerCpu).template try_lock_here<&World<K>::template OfCpu<L>::lock>())
    dwell(c);
}

template <class K, bool kNolock>
void page(World<K>& w, Caller& c) {
  auto& k = w.kept[c.thread];
  BasicPage<K>*& p = k.page[k.next];
  unsigned& order = k.order[k.next];
  if (p && k.giving) {
    if (!(kNolock ? w.pages.free_pages_nolock(p, order) : w.pages.free_pages(p, order)))
      trouble("a page was not taken back");
    p = nullptr;
  } else if (!p && !k.giving) {
    order = c.random(kNolock ? 4 : 6);
    p = kNolock ? w.pages.alloc_pages_nolock(gfp::none, order)
                : w.pages.alloc_pages(gfp::nowait, order);
  }
  k.step();
}

template <class K, bool kNolock>
void object(World<K>& w, Caller& c) {
  auto& k = w.kept[c.thread];
  void*& o = k.object[k.next];
  if (o && k.giving) {
    if (!(kNolock ? w.slabs.kfree_nolock(o) : w.slabs.kfree(o)))
      trouble("an object was not taken back");
    o = nullptr;
  } else if (!o && !k.giving) {
    const std::size_t size = 8u << c.random(9);
    o = kNolock ? w.slabs.kmalloc_nolock(size, gfp::none) : w.slabs.kmalloc(size, gfp::nowait);
  }
  k.step();
}

enum class Claim : std::uint8_t { ends, spins };

template <class K>
struct Case {
  const char* name;
  Claim claim;
  void (*low)(World<K>&, Caller&);
  void (*high)(World<K>&, Caller&);
};
template <class K>
constexpr auto cases() {
  using W = World<K>;
  using Local = BasicLocalLock<K>;
  using LocalTry = BasicLocalTryLock<K>;
  constexpr auto never_parks = locked<&W::never_parks, W>;
  constexpr auto raw = locked<&W::raw_spin, W>, spin = locked<&W::spin, W>;
  constexpr auto try_spin = locked<&W::try_spin, W>, shared = tried<&W::shared_try_spin, W>;
  constexpr auto local = locked_here<K, &W::local, Local>;
  constexpr auto local_try = locked_here<K, &W::local_try, LocalTry>;
  constexpr auto pages = page<K, false>, objects = object<K, false>;
  return std::array{
      Case<K>{"RawSpinLock lock, without parking", Claim::spins, never_parks, never_parks},
      Case<K>{"RawSpinLock lock", Claim::ends, raw, raw},
      Case<K>{"RawSpinLock try_lock", Claim::ends, raw, tried<&W::raw_spin, W>},
      Case<K>{"SpinLock lock", Claim::ends, spin, spin},
      Case<K>{"SpinLock try_lock", Claim::ends, spin, tried<&W::spin, W>},
      Case<K>{"TrySpinLock lock", Claim::ends, try_spin, try_spin},
      Case<K>{"TrySpinLock try_lock", Claim::ends, try_spin, tried<&W::try_spin, W>},
      Case<K>{"SharedTrySpinLock try_lock", Claim::ends, shared, shared},
      Case<K>{"LocalLock lock", Claim::ends, local, local},
      Case<K>{"LocalTryLock lock", Claim::ends, local_try, local_try},
      Case<K>{"LocalTryLock try_lock", Claim::ends, local_try,
              tried_here<K, &W::local_try, LocalTry>},
      Case<K>{"alloc_pages free_pages", Claim::ends, pages, pages},
      Case<K>{"alloc_pages_nolock free_pages_nolock", Claim::ends, pages, page<K, true>},
      Case<K>{"kmalloc kfree", Claim::ends, objects, objects},
      Case<K>{"kmalloc_nolock kfree_nolock", Claim::ends, objects, object<K, true>},
  };
}

// ---- a child ------------------------------------------------------------------------------------

bool become(int priority, int cpu) {
  sched_param p{};
  p.sched_priority = priority;
  cpu_set_t one;
  CPU_ZERO(&one);
  if (cpu >= 0) CPU_SET(static_cast<unsigned>(cpu), &one);
  return (cpu < 0 || pthread_setaffinity_np(pthread_self(), sizeof one, &one) == 0) &&
         pthread_setschedparam(pthread_self(), SCHED_FIFO, &p) == 0;
}
[[maybe_unused]] bool permitted() {
  bool yes = false;
  std::thread([&yes] { yes = become(kWatchdog, -1); }).join();
  return yes;
}
[[maybe_unused]] int first_cpu() {
  cpu_set_t all;
  CPU_ZERO(&all);
  sched_getaffinity(0, sizeof all, &all);
  for (unsigned i = 0; i < CPU_SETSIZE; ++i)
    if (CPU_ISSET(i, &all)) return static_cast<int>(i);
  return 0;
}
[[maybe_unused]] double time_of(clockid_t clock) {
  timespec t{};
  clock_gettime(clock, &t);
  return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_nsec) * 1e-9;
}
[[maybe_unused]] void sleep_for(unsigned ns) {
  const timespec t{0, static_cast<long>(ns)};
  nanosleep(&t, nullptr);
}

// The watchdog; never returns.
template <class K>
[[noreturn]] void run_child(World<K>& w, const Case<K>& the, double seconds, Told& told) {
  struct {
    std::atomic<bool> inside{false};
    std::atomic<int> held{0};
  } low;
  std::atomic<std::uint64_t> begun{0}, ended{0};  // calls of the high thread
  std::atomic<bool> stop{false};
  std::atomic<int> ready{0}, gone{0};
  const int cpu = first_cpu();
  // Should even the watchdog fail: the kernel ends what uses so much time without sleeping.
  const rlimit time{10'000'000, 10'000'000};
  setrlimit(RLIMIT_RTTIME, &time);
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (!become(kWatchdog, -1)) _exit(kNotPermitted);

  std::thread low_thread([&] {
    if (!become(kLow, cpu)) _exit(kNotPermitted);
    Caller c{.thread = 0, .state = options.seed};
    held_here = &low.held;
    ready = 1;
    while (!stop) {
      low.inside = true;
      the.low(w, c);
      low.inside = false;
    }
    held_here = nullptr;
    ++gone;
  });
  std::thread high_thread([&] {
    if (!become(kHigh, cpu)) _exit(kNotPermitted);
    while (!ready) sleep_for(100'000);
    Caller c{.thread = 1, .state = options.seed + 1};
    const double end = seconds_now() + seconds;
    for (double now; (now = seconds_now()) < end || (!told.holding && now < end + kMoreToHit);) {
      sleep_for(1000 + c.random(60'000));  // and wakes up somewhere in the low thread's loop
      told.inside += low.inside;
      told.holding += low.held != 0;
      ++begun;
      the.high(w, c);
      ++ended;
      ++told.calls;
    }
    stop = true;
    ++gone;
  });

  clockid_t clock{};
  pthread_getcpuclockid(high_thread.native_handle(), &clock);
  std::uint64_t seen = 0;
  double since = 0, used = 0;
  while (gone < 2) {
    sleep_for(5'000'000);
    const std::uint64_t n = begun;
    if (n == ended || n != seen) {
      seen = n, since = seconds_now(), used = gone ? 0 : time_of(clock);
      continue;
    }
    if (time_of(clock) - used > kSpins) _exit(kSpun);
    if (seconds_now() - since > kSleeps) _exit(kSlept);
  }
  low_thread.join(), high_thread.join();
  _exit(kEnded);
}

// ---- all of them --------------------------------------------------------------------------------

template <class K>
int run_all(double seconds) {
  constexpr std::size_t kBytes = std::size_t{32} << 20;
  static World<K> w;
  if (w.pages.set_up({.start = reserve(kBytes), .size = kBytes}) != PageSetup::ok ||
      !w.slabs.set_up(w.pages))
    trouble("set_up() failed");
  void* const shared =
      mmap(nullptr, sizeof(Told), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (shared == MAP_FAILED) trouble("no memory for the test");

  constexpr auto all = cases<K>();
  unsigned asked = 0, spun = 0;
  Told sum;
  for (const Case<K>& the : all) {
    const bool must_spin = the.claim == Claim::spins;
    Told& told = *new (shared) Told;
    std::fflush(stdout);
    const pid_t child = fork();
    if (child == 0) run_child(w, the, seconds / static_cast<double>(all.size()), told);
    int status = 0;
    waitpid(child, &status, 0);
    if (!WIFEXITED(status)) trouble("%s: it crashed", the.name);
    const int how = WEXITSTATUS(status);
    if (how == kNotPermitted) trouble("%s: SCHED_FIFO is permitted no longer", the.name);
    if (how == kSlept) trouble("%s: it sleeps for ever, after %zu calls", the.name, told.calls);
    if (how == kSpun && !must_spin)
      trouble("%s: it spins for ever, after %zu calls", the.name, told.calls);
    if (how == kEnded && must_spin)
      trouble("%s: the watchdog did not see it spin: it would see nothing", the.name);
    if (how != kEnded && how != kSpun) return 1;  // trouble() in the child has told
    // Who spins for ever has found it held, also between its word and the observer's note of it.
    if (how == kSpun && told.holding == 0) told.holding = 1;
    if (told.holding == 0) trouble("%s: nobody was preempted with a lock held", the.name);
    std::printf(
        "  %-36s %7zu calls, the other preempted inside its own %6zu times, %6zu with a lock "
        "held: %s\n",
        the.name, told.calls, told.inside, told.holding,
        must_spin ? "spins for ever, as it must, and the watchdog saw it" : "each ended");
    ++asked, spun += must_spin;
    sum.calls += told.calls, sum.holding += told.holding;
  }
  std::printf(
      "verify: tool=torture subject=two_priorities_on_one_processor config=%s result=ok seconds=%g "
      "operations=%zu hits=%zu count.calls_that_end=%u\n",
      nestlock::name_of(K::kConfig), seconds, sum.calls, sum.holding, asked - spun);
  return 0;
}

template <class K>
int run_where_there_are_two(double seconds) {
  std::printf("fifo: %s, two priorities on one processor, seed %llu, %g s\n",
              nestlock::name_of(K::kConfig), static_cast<unsigned long long>(options.seed),
              seconds);
  if constexpr (!K::kConfig.smp) {
    std::printf("  nothing to ask: a uniprocessor configuration has one thread\n");
    return 0;
  } else {
    if (internal::kWithTsan) {
      std::printf("  skipped: ThreadSanitizer's own runtime spins for whom it preempted\n");
      return 0;
    }
    if (permitted()) return run_all<K>(seconds);
    std::printf(
        "  skipped: SCHED_FIFO not permitted\n"
        "verify: tool=torture subject=two_priorities_on_one_processor config=%s result=not_run\n",
        nestlock::name_of(K::kConfig));
    return 0;
  }
}

}  // namespace

int fifo(double seconds) {
  return run_where_there_are_two<KernelOf<kBuiltConfig, BuiltPort, AtFifoLocks>>(seconds);
}

}  // namespace nestlock::torture
