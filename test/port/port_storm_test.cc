// A storm of signals from another thread and from timers: each is delivered once, in order and with
// its value, none in a masked section, none inside an nmi; and locks held by what they interrupt
// refuse.
#include <sched.h>
#include <sys/time.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <thread>

#include "nestlock/nestlock.h"
#include "test/port/port_testing.h"

namespace nestlock::port_testing {
namespace {

using Clock = std::chrono::steady_clock;

// Counted by handlers on the main thread; read by all.
struct Counts {
  std::atomic<std::uint64_t> handled{0}, plain{0}, nmis{0}, softirqs{0}, sections{0}, held_back{0};
  // Errors.
  std::atomic<std::uint64_t> masked{0}, nested{0}, out_of_order{0}, errno_lost{0}, lock_lied{0};
  // How often a handler really found what the test is about.
  std::atomic<std::uint64_t> found_held{0}, found_free{0};
};
Counts counts;

void add(std::atomic<std::uint64_t>& c) { c.fetch_add(1, kRelaxed); }

// The eight kernels' locks, each taken by the sections and tried by all handlers. What a handler
// must be told follows from `holding`, which the section sets between its two calls.
template <Config kC>
struct Locks {
  using K = KernelOf<kC, HostedPort<kC>>;
  BasicTrySpinLock<K> spin;
  BasicLocalTryLock<K> local;
  std::atomic<int> holding{0};

  void section() {
    spin.lock();
    local.lock();
    holding.store(1, kRelaxed);
    hosted::fence();
    for (int i = 0; i < 20; ++i) in_section.load(kRelaxed);
    hosted::fence();
    holding.store(0, kRelaxed);
    local.unlock();
    spin.unlock();
  }
  void try_both(std::atomic<std::uint64_t>& held, std::atomic<std::uint64_t>& free) {
    if (kC.preempt_rt && hosted::context() >= Context::hardirq) return;  // not allowed there
    const bool must_refuse = holding.load(kRelaxed);
    const bool a = spin.try_lock();
    const bool b = local.try_lock();
    if (must_refuse && (a || b)) add(counts.lock_lied);
    if (!a || !b) add(held);
    if (a && b) add(free);
    if (b) local.unlock();
    if (a) spin.unlock();
  }
};

struct AllLocks {
  Locks<configs::up> up;
  Locks<configs::up_debug> up_debug;
  Locks<configs::up_rt> up_rt;
  Locks<configs::smp> smp;
  Locks<configs::smp_debug> smp_debug;
  Locks<configs::smp_rt_debug> smp_rt_debug;

  template <class F>
  void each(F f) {
    f(up), f(up_debug), f(up_rt), f(smp), f(smp_debug), f(smp_rt_debug);
  }
};
AllLocks locks;

void try_all_locks() {
  locks.each([](auto& l) { l.try_both(counts.found_held, counts.found_free); });
}

int last[65];
thread_local int nmis_running, irqs_running;

void storm_irq(int signo, siginfo_t* info, void*) {
  if (in_section.load(kRelaxed)) add(counts.masked);
  if (hosted::context() != Context::hardirq || irqs_running++) add(counts.nested);
  const std::uint32_t s = port->irq_save();
  errno = 99;
  port->irq_restore(s);
  if (signo >= SIGRTMIN) {
    if (info->si_value.sival_int != ++last[signo] || info->si_code != SI_QUEUE)
      add(counts.out_of_order);
    add(counts.handled);
  } else {
    add(counts.plain);
  }
  try_all_locks();
  if (signo == irq(3)) signals::raise_softirq(0);
  --irqs_running;
}

void storm_nmi(int, siginfo_t*, void*) {
  if (hosted::context() != Context::nmi || nmis_running++) add(counts.nested);
  add(counts.nmis);
  const std::uint32_t s = port->irq_save();
  errno = 98;
  port->irq_restore(s);
  try_all_locks();
  --nmis_running;
}

void storm_softirq() {
  static std::atomic<int> running;
  if (hosted::context() != Context::softirq || running.fetch_add(1, kRelaxed)) add(counts.nested);
  add(counts.softirqs);
  const std::uint32_t s = port->irq_save();
  port->irq_restore(s);
  try_all_locks();
  running.fetch_sub(1, kRelaxed);
}

// While `enough` says no, every 16th section stays until it has held something back.
template <class Enough>
void one_section(std::uint64_t i, Enough enough) {
  port = kAllPorts[i % std::size(kAllPorts)];
  errno = 7;
  {
    const IrqSection section;
    for (unsigned k = 0; k < i % 61; ++k) port->irq_restore(port->irq_save());
    if (i % 16 == 0)
      while (!self().held.load(kRelaxed) && !enough()) sched_yield();
    if (self().held.load(kRelaxed)) add(counts.held_back);
  }
  locks.each([](auto& l) { l.section(); });
  if (errno != 7) add(counts.errno_lost);
  add(counts.sections);
}

class PortStormTest : public PortTest {
 protected:
  void SetUp() override {
    PortTest::SetUp();
    ASSERT_EQ(signals::register_irq(SIGALRM, storm_irq), signals::Error::none);
    in_irq = storm_irq, in_nmi = storm_nmi, in_softirq[0] = storm_softirq;
  }
  void TearDown() override {
    in_irq = nullptr, in_nmi = nullptr, in_softirq[0] = nullptr;
    EXPECT_EQ(signals::unregister(SIGALRM), signals::Error::none);
    PortTest::TearDown();
  }
  void expect_all_well() {
    EXPECT_EQ(counts.masked, 0u);
    EXPECT_EQ(counts.nested, 0u);
    EXPECT_EQ(counts.out_of_order, 0u);
    EXPECT_EQ(counts.errno_lost, 0u);
    EXPECT_EQ(counts.lock_lied, 0u);
    EXPECT_GT(counts.found_held, 0u) << "no handler found a lock held: nothing was shown";
    EXPECT_GT(counts.found_free, 0u);
    EXPECT_GT(counts.held_back, 0u) << "no irq was held back: nothing was shown";
    auto n = [](const std::atomic<std::uint64_t>& c) { return static_cast<unsigned long>(c); };
    std::printf(
        "%lu sections, %lu of them held something back; %lu queued irqs, %lu others, %lu nmis, "
        "%lu softirqs\nlocks tried by handlers: %lu times held, %lu times free\n",
        n(counts.sections), n(counts.held_back), n(counts.handled), n(counts.plain), n(counts.nmis),
        n(counts.softirqs), n(counts.found_held), n(counts.found_free));
  }
};

#if !NESTLOCK_WITH_TSAN

// Microseconds from one signal of a timer to the next: 50, but four times what a handler takes where that is
// more (an emulator), or handlers would run and nothing else.
suseconds_t timer_period() {
  constexpr int kSignals = 200;
  const auto begin = Clock::now();
  for (int i = 0; i < kSignals; ++i) arrive(SIGALRM);
  const std::chrono::duration<double, std::micro> took = Clock::now() - begin;
  return std::max<suseconds_t>(50, static_cast<suseconds_t>(4 * took.count() / kSignals));
}

TEST_F(PortStormTest, EverySignalArrivesOnceAndNoneWhereItMustNot) {
  const pid_t target = thread_id();
  std::atomic<bool> masked{false}, done{false};
  std::uint64_t total = 0;
  // In a uniprocessor configuration this thread is a stranger: it only makes system calls. The timers' signals
  // are for whichever thread takes them, so they do not begin before it takes none.
  std::thread sender([&] {
    real_mask(SIG_BLOCK, ~Mask{0});
    masked = true;
    int sent[4] = {};
    const auto begin = Clock::now();
    const auto goes_on = [&] {
      const auto took = Clock::now() - begin;
      const bool seen = counts.sections >= 100 && counts.held_back >= 10 && counts.found_held >= 10;
      return took < std::chrono::seconds(2) || (!seen && took < std::chrono::minutes(1));
    };
    for (std::uint64_t i = 0; i % 64 != 0 || goes_on(); ++i) {
      // A storm without a pause lets handlers run and nothing else: one section ends before the next 64 signals.
      if (i % 64 == 0) {
        const std::uint64_t before = counts.sections;
        while (counts.sections == before && goes_on()) sched_yield();
      }
      // In flight: few, then many.
      unsigned turns = 0;
      while (i - counts.handled.load(kRelaxed) > (i & 512 ? 40 : 1 + (i & 3))) {
        if (++turns < 20'000)
          hosted::pause();
        else
          sched_yield();
      }
      while (!queue_to(target, irq(i % 4), ++sent[i % 4])) --sent[i % 4], sched_yield();
      if (i % 37 == 0) queue_to(target, nmi(), 0);
      if (i % 41 == 0) syscall(SYS_tgkill, getpid(), target, kPlainNmi);
      if (i % 64 == 0) syscall(SYS_tgkill, getpid(), target, kPlainIrq);
      total = i + 1;
    }
    done = true;
  });
  while (!masked) sched_yield();
  const suseconds_t period = timer_period();
  const itimerval often{{0, period}, {0, period}}, never{};
  setitimer(ITIMER_REAL, &often, nullptr);
  setitimer(ITIMER_PROF, &often, nullptr);  // SIGPROF
  for (std::uint64_t i = 0; !done; ++i) one_section(i, [&] { return done.load(); });
  setitimer(ITIMER_REAL, &never, nullptr);
  setitimer(ITIMER_PROF, &never, nullptr);
  sender.join();
  EXPECT_EQ(counts.handled, total);
  EXPECT_GT(counts.nmis, 0u);
  EXPECT_GT(counts.softirqs, 0u);
  EXPECT_GT(counts.plain, 0u);
  expect_all_well();
}

// `sti; hlt`: between looking and sleeping no wake-up is lost, or this hangs.
TEST_F(PortStormTest, WaitIrqLosesNoWakeUp) {
  constexpr std::uint64_t kRounds = 20'000;
  static std::atomic<std::uint64_t> seen;
  seen = 0;
  in_irq = [](int, siginfo_t*, void*) { seen.fetch_add(1); };
  const pid_t target = thread_id();
  std::thread sender([&] {
    real_mask(SIG_BLOCK, ~Mask{0});
    for (std::uint64_t i = 0; i < kRounds; ++i) {
      while (seen.load() < i) sched_yield();
      queue_to(target, irq(i % 2), 0);
    }
  });
  for (std::uint64_t want = 1; want <= kRounds; ++want) {
    const IrqSection section;
    while (seen.load() < want) {
      in_section = 0;
      signals::wait_irq();
    }
  }
  sender.join();
  EXPECT_EQ(seen, kRounds);
}

#else

// Under TSan a signal that comes by itself could interrupt the runtime and wait for what it holds.
// So they come by system call, in the sections of masks and locks.
TEST_F(PortStormTest, SignalsRaisedInSectionsArriveOnceAndNoneWhereItMustNot) {
  leave_out(port, nmis_running, irqs_running, last);
  int sent[4] = {};
  std::uint64_t total = 0;
  auto send = [&](std::uint64_t i) {
    arrive(irq(i % 4), ++sent[i % 4]);
    if (i % 7 == 0) arrive(nmi());
    if (i % 11 == 0) arrive(kPlainIrq);
    if (i % 13 == 0) arrive(kPlainNmi);
    ++total;
  };
  for (std::uint64_t i = 0; i < 2000; ++i) {
    one_section(i, [] { return true; });  // no signal comes by itself
    {
      const IrqSection section;
      send(i);
      if (self().held.load(kRelaxed)) add(counts.held_back);
    }
    locks.each([&](auto& l) {
      l.spin.lock();
      l.local.lock();
      l.holding.store(1, kRelaxed);
      send(++i);
      l.holding.store(0, kRelaxed);
      l.local.unlock();
      l.spin.unlock();
    });
    send(++i);
  }
  EXPECT_EQ(counts.handled, total);
  expect_all_well();
}

#endif

}  // namespace
}  // namespace nestlock::port_testing
