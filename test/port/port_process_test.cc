// The port in a real process: threads that end without a word, forks, and what is left over at an end.
#include <pthread.h>
#include <sched.h>
#include <sys/wait.h>
#include <unistd.h>

#include <thread>

#include "nestlock/nestlock.h"
#include "nestlock/testing/instruction_sweep.h"
#include "test/port/process_testing.h"

namespace nestlock::port_testing {
namespace {

// Threads that claim a CPU each, run `first` and wait.
class Waiting {
 public:
  explicit Waiting(unsigned n, void (*first)() = [] {}) {
    for (unsigned i = 0; i < n; ++i)
      threads_.emplace_back([this, first] {
        Smp::cpu_id();
        first();
        ++up_;
        while (!stop_) sched_yield();
        while (Smp::preempt_count()) Smp::preempt_enable();
      });
    while (up_ < n) sched_yield();
  }
  ~Waiting() {
    stop_ = true;
    for (auto& t : threads_) t.join();
  }

 private:
  std::atomic<unsigned> up_{0};
  std::atomic<bool> stop_{false};
  std::vector<std::thread> threads_;
};

// ---- CPU lifetime -------------------------------------------------------------------------------

TEST_F(PortProcessTest, CpuLifetimeACpuWhoseThreadEndedWithoutAWordIsFound) {
  const unsigned before = cpus_in_use();
  const std::uint32_t key = hosted::process().exit_key.exchange(hosted::internal::kNoKey);
  unsigned lost = Smp::kMaxCpus;
  std::thread([&] { lost = Smp::cpu_id(); }).join();
  hosted::process().exit_key = key;
  ASSERT_LT(lost, Smp::kMaxCpus);
  EXPECT_EQ(cpus_in_use(), before + 1);
  {
    const Waiting others(kHostedMaxCpus - before - 1);
    unsigned found = Smp::kMaxCpus;
    std::thread([&] { found = Smp::cpu_id(); }).join();
    EXPECT_EQ(found, lost);
  }
  EXPECT_EQ(cpus_in_use(), before);
}

TEST_F(PortProcessTest, CpuLifetimeACpuOfALivingThreadIsNotTaken) {
  const Waiting others(kHostedMaxCpus - cpus_in_use());
  std::thread([&] {
    for (unsigned i = 0; i < 2 * Smp::kMaxCpus; ++i) ASSERT_EQ(Smp::cpu_id(), Smp::kMaxCpus);
  }).join();
}

// ---- fork ---------------------------------------------------------------------------------------

TEST_F(PortProcessTest, ForkGivesTheOtherThreadsCpusBack) {
  const Waiting others(3);
  EXPECT_EQ(in_child([] { return static_cast<int>(cpus_in_use()); }), 1);
}

TEST_F(PortProcessTest, ForkKeepsACpuOutThatWasInASection) {
  const Waiting others(2, [] { Smp::preempt_disable(); });
  EXPECT_EQ(in_child([] { return static_cast<int>(cpus_in_use()); }), 3);
}

TEST_F(PortProcessTest, ForkBesideARegistrationLeavesTheChildAbleToRegister) {
  std::atomic<bool> stop{false};
  std::thread registers([&] {
    while (!stop) {
      EXPECT_EQ(signals::register_irq(spare(), on_irq), Error::none);
      EXPECT_EQ(signals::unregister(spare()), Error::none);
    }
  });
  for (int i = 0; i < 50; ++i) {
    EXPECT_EQ(in_child([] {
                alarm(20);  // instead of for ever
                return signals::register_irq(SIGUSR2, on_irq) == Error::none ? 0 : 1;
              }),
              0);
  }
  stop = true;
  registers.join();
}

// A fork in a handler that nobody registered: of the mutex that what it interrupted has, waiting would be for
// ever. The child goes on where that was, and can register.
TEST_F(PortProcessTest, ForkInAHandlerAnywhereInARegistration) {
  if (nestlock::internal::kWithTsan) return;
  if (const char* const why = testing::internal::why_unsupported()) GTEST_SKIP() << why;
  bool child = false, right = false;
  unsigned forks = 0, inside = 0, wrong = 0;
  const testing::SweepResult r = testing::sweep_each(
      [&] { right = false; },
      [&] {
        right = signals::register_irq(spare(), on_irq) == Error::none &&
                signals::unregister_nowait(spare()) == Error::none;
      },
      [&] {
        inside += hosted::self().registering.load();
        const pid_t pid = fork();
        if (pid == 0) {
          alarm(20);  // instead of for ever
          child = true;
          return;
        }
        ++forks;
        int status = 0;
        wrong += waitpid(pid, &status, 0) != pid || status != 0;
      },
      [&] {
        if (child) _exit(right && signals::register_irq(spare(), on_irq) == Error::none ? 0 : 1);
        return right;
      },
      {.boundaries = {.every = 67}, .engine = testing::Engine::trap_flag});
  EXPECT_TRUE(r.ok()) << r.text();
  EXPECT_EQ(wrong, 0u) << "children that ended badly";
  EXPECT_GT(inside, 5u) << "of " << forks;
}

TEST_F(PortProcessTest, ForkTheChildReleasesWhatItsThreadTook) {
  hosted::PiLock lock;
  ASSERT_EQ(lock.lock(), SleepResult::acquired);
  EXPECT_EQ(in_child([&] {
              if (!lock.held_by_caller()) return 1;
              lock.unlock();
              return lock.try_lock() ? 0 : 2;
            }),
            0);
  EXPECT_TRUE(lock.held_by_caller());
  lock.unlock();
}

template <class Lock>
void held_by_a_thread_that_the_child_lacks() {
  static Lock lock;
  std::atomic<int> stage{0};
  std::thread holder([&] {
    lock.lock();
    stage = 1;
    while (stage != 2) sched_yield();
    lock.unlock();
  });
  while (stage != 1) sched_yield();
  EXPECT_EQ(in_child([] {
              alarm(20);
              if (lock.try_lock()) return 1;
              reinit(lock);
              lock.lock();
              const bool held = !lock.try_lock();
              lock.unlock();
              return held && !lock.is_locked() ? 0 : 2;
            }),
            0);
  stage = 2;
  holder.join();
  lock.lock();
  lock.unlock();
}
TEST_F(PortProcessTest, ForkWhatAnotherThreadHeldIsMadeAnew) {
  using Rt = KernelOf<configs::smp_rt, HostedPort<configs::smp_rt>>;
  using Plain = KernelOf<configs::smp, HostedPort<configs::smp>>;
  held_by_a_thread_that_the_child_lacks<BasicSpinLock<Plain>>();
  held_by_a_thread_that_the_child_lacks<BasicRawSpinLock<Plain>>();
  held_by_a_thread_that_the_child_lacks<BasicTrySpinLock<Plain>>();
  held_by_a_thread_that_the_child_lacks<BasicSpinLock<Rt>>();
  held_by_a_thread_that_the_child_lacks<BasicTrySpinLock<Rt>>();
}

// ---- left-over work -----------------------------------------------------------------------------

TEST_F(PortProcessTest, LeftOverWorkASoftirqIsNotLostAtAThreadsEnd) {
  std::thread([] {
    Smp::cpu_id();
    BuiltPort::bh_disable();
    signals::raise_softirq(0);
    EXPECT_EQ(softirqs.size(), 0u);
  }).join();
  EXPECT_EQ(softirqs.size(), 1u);
}

// Of another library, in a later pass of the thread's end.
pthread_key_t late_key;
Mask mask_at_the_end;
TEST_F(PortProcessTest, LeftOverWorkLeavesNoBlockAtAThreadsEnd) {
  if (nestlock::internal::kWithTsan)
    GTEST_SKIP() << "there a thread's signals stay blocked at its end";
  leave_out(mask_at_the_end);
  const auto at_end = [](void* pass) {
    if (static_cast<char*>(pass)[0]++ == 0) {
      pthread_setspecific(late_key, pass);
    } else {
      mask_at_the_end = real_mask();
    }
  };
  ASSERT_EQ(pthread_key_create(&late_key, at_end), 0);
  static char passes;
  for (const bool irq_waits : {false, true}) {
    if (irq_waits && !kBuiltConfig.smp) continue;  // it would be sent on to the one thread
    SCOPED_TRACE(irq_waits);
    passes = 0;
    mask_at_the_end = ~Mask{0};
    Findings findings;
    std::thread([irq_waits] {
      Smp::cpu_id();
      pthread_setspecific(late_key, &passes);
      BuiltPort::bh_disable();
      signals::raise_softirq(0);
      if (irq_waits) (void)BuiltPort::irq_save(), arrive(irq(0));
    }).join();
    EXPECT_EQ(mask_at_the_end & (irq_class() | bit(nmi()) | bit(kPlainNmi)), 0u);
  }
  pthread_key_delete(late_key);
}

// ---- debug knows contexts -----------------------------------------------------------------------

TEST_F(PortProcessTest, DebugAHandlerThatReturnsWithASectionOpenIsReportedAndClosed) {
  if (!kBuiltConfig.debug) return;
  Findings findings;
  static TrySpinLock lock;
  in_irq = [](int, siginfo_t*, void*) {
    EXPECT_TRUE(lock.try_lock());
    (void)BuiltPort::irq_save();
    BuiltPort::bh_disable();
  };
  arrive(irq(0));
  in_irq = nullptr;
  ASSERT_EQ(findings.all(), std::vector(3, Finding::left_open));
  EXPECT_EQ(findings[0].context, Context::hardirq);
  EXPECT_EQ(not_quiet(), "");
  EXPECT_EQ(findings[0].signo, irq(0));
  char text[512];
  to_text(findings[0], text, sizeof text);
  EXPECT_NE(std::string_view(text).find("by the handler of signal " + std::to_string(irq(0))),
            std::string_view::npos)
      << text;
}

TEST_F(PortProcessTest, DebugAThreadThatEndsInsideASectionIsReported) {
  if (!kBuiltConfig.debug) return;
  Findings findings;
  std::thread([] {
    Smp::cpu_id();
    BuiltPort::preempt_disable();
  }).join();
  EXPECT_EQ(findings.all(), std::vector{Finding::left_open});
}

TEST_F(PortProcessTest, DebugAHandlerMayNotReleaseWhatItInterrupted) {
  if (!kBuiltConfig.debug) return;
  Findings findings;
  static TrySpinLock lock;
  in_irq = in_nmi = [](int, siginfo_t*, void*) {
    lock.assert_held();
    lock.unlock();
    EXPECT_TRUE(lock.is_locked());
  };
  lock.lock();
  arrive(irq(0));
  arrive(nmi());
  EXPECT_EQ(findings.all(), std::vector(4, Finding::wrong_owner));
  lock.unlock();
  EXPECT_EQ(findings.size(), 4u);
}

TEST_F(PortProcessTest, DebugALockTakenWithoutACpuIsGivenBackWithOne) {
  if (!kBuiltConfig.debug) return;
  Findings findings;
  static TrySpinLock lock;
  std::atomic<int> step{0};
  std::thread late;
  {
    const Waiting others(kHostedMaxCpus - cpus_in_use());
    late = std::thread([&] {
      lock.lock();
      step = 1;
      while (step != 2) sched_yield();
      lock.unlock();
    });
    while (step != 1) sched_yield();
  }
  step = 2;
  late.join();
  EXPECT_EQ(findings.size(), 0u);
  EXPECT_FALSE(lock.is_locked());
}

// ---- the uniprocessor's one thread --------------------------------------------------------------

// In a forked child, whose one thread is the one that forked; it hands over by ending.
TEST_F(PortProcessTest, UniprocessorTheNextThreadTakesOverFromOneThatEnded) {
  if (kBuiltConfig.smp) return;
  if (nestlock::internal::kWithTsan) GTEST_SKIP() << "TSan starts no thread in a forked child";
  static std::atomic<int> runs;
  static pthread_t one;
  runs = 0;
  in_irq = [](int, siginfo_t*, void*) { ++runs; };
  const auto next = [](void*) -> void* {
    pthread_join(one, nullptr);
    arrive(irq(0));
    _exit(runs == 1 && signals::stats().lost == 0 ? 0 : 1);
  };
  const auto forks = [](void* body) -> void* {
    const pid_t child = fork();
    if (child == 0) {
      one = pthread_self();
      pthread_t other;
      pthread_create(&other, nullptr, reinterpret_cast<void* (*)(void*)>(body), nullptr);
      return nullptr;
    }
    int status = -1;
    waitpid(child, &status, 0);
    return reinterpret_cast<void*>(static_cast<std::intptr_t>(status));
  };
  pthread_t thread;
  void* (*const body)(void*) = next;
  ASSERT_EQ(pthread_create(&thread, nullptr, forks, reinterpret_cast<void*>(body)), 0);
  void* status = nullptr;
  pthread_join(thread, &status);
  EXPECT_EQ(reinterpret_cast<std::intptr_t>(status), 0);
}

}  // namespace
}  // namespace nestlock::port_testing
