// The port in a real process: threads that end without a word, forks, faults in handlers, other
// people's handlers, cancellation.
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <bit>
#include <functional>
#include <thread>

#include "nestlock/nestlock.h"
#include "nestlock/testing/instruction_sweep.h"
#include "test/port/port_testing.h"

namespace nestlock::port_testing {
namespace {

using Smp = HostedPort<configs::smp_debug>;
using signals::Error;
using Values = std::vector<int>;

int spare() { return SIGRTMIN + 8; }  // registered by no fixture

class PortProcessTest : public PortTest {
 protected:
  void SetUp() override {
    port = &kCallsOf<BuiltPort>;
    PortTest::SetUp();
    Smp::cpu_id();
  }
};

unsigned cpus_in_use() {
  unsigned n = 0;
  for (const auto& word : hosted::process().cpus_taken) n += std::popcount(word.load());
  return n;
}

// How a child ends that runs `body`: its status, or the signal that ended it + 1000.
int in_child(const std::function<int()>& body) {
  const pid_t child = fork();
  if (child == 0) _exit(body());
  int status = 0;
  waitpid(child, &status, 0);
  return WIFSIGNALED(status) ? 1000 + WTERMSIG(status) : WEXITSTATUS(status);
}

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

// SA_RESTART is a choice.
TEST_F(PortProcessTest, ASystemCallGoesOnOrEndsAsWasAsked) {
  static int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  for (const auto calls : {signals::Calls::restart, signals::Calls::interrupt}) {
    ASSERT_EQ(signals::register_irq(
                  spare(),
                  [](int, siginfo_t*, void*) { EXPECT_EQ(syscall(SYS_write, ends[1], "x", 1), 1); },
                  calls),
              Error::none);
    std::atomic<bool> soon{false};
    std::thread sender([&soon, to = thread_id()] {
      real_mask(SIG_BLOCK, ~Mask{0});
      while (!soon) sched_yield();
      while (!is_asleep(to)) sched_yield();
      queue_to(to, spare(), 1);
    });
    char c = 0;
    soon = true;
    const long n = syscall(SYS_read, ends[0], &c, 1);
    if (calls == signals::Calls::restart) {
      EXPECT_EQ(n, 1);
    } else {
      EXPECT_EQ(n, -1);
      EXPECT_EQ(errno, EINTR);
      EXPECT_EQ(syscall(SYS_read, ends[0], &c, 1), 1);
    }
    EXPECT_EQ(c, 'x');
    sender.join();
    EXPECT_EQ(signals::unregister(spare()), Error::none);
  }
  close(ends[0]), close(ends[1]);
}

// ---- synchronous faults -------------------------------------------------------------------------

// Repaired by a handler wherever it comes: an nmi's, an irq's, a late exit hook's.
TEST_F(PortProcessTest, FaultsAreNeverMasked) {
  // The tool takes the frames of faults in a handler and in the task, both on the alternate stack, for
  // a race between two threads.
  if (nestlock::internal::kWithTsan) return;
  static char* page;
  leave_out(page);
  page = static_cast<char*>(mmap(nullptr, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  ASSERT_NE(page, MAP_FAILED);
  struct sigaction sanitizers{};
  sigaction(SIGSEGV, nullptr, &sanitizers);
  ASSERT_TRUE(install_raw(SIGSEGV, old_kind(SIG_DFL), 0, 0));
  ASSERT_EQ(
      signals::register_nmi(
          SIGSEGV, [](int, siginfo_t*, void*) { mprotect(page, 4096, PROT_READ | PROT_WRITE); }),
      Error::none);
  static const auto touch = [] {
    mprotect(page, 4096, PROT_NONE);
    *static_cast<volatile char*>(page) = 1;
  };
  in_nmi = in_irq = [](int, siginfo_t*, void*) { touch(); };
  touch();
  arrive(nmi());
  arrive(irq(0));
  {
    const IrqSection section;
    arrive(irq(0));
    arrive(nmi());
    touch();
  }
  EXPECT_EQ(nmis.size(), 2u);
  EXPECT_EQ(irqs.size(), 2u);
  pthread_key_t key;
  ASSERT_EQ(pthread_key_create(&key, [](void*) { touch(); }), 0);
  std::thread([&] {
    Smp::cpu_id();
    pthread_setspecific(key, page);
  }).join();
  pthread_key_delete(key);
  EXPECT_EQ(signals::unregister(SIGSEGV), Error::none);
  sigaction(SIGSEGV, &sanitizers, nullptr);
  munmap(page, 4096);
}

// ---- other people's handlers --------------------------------------------------------------------

TEST_F(PortProcessTest, OtherHandlersANullHandlerIsRefused) {
  Findings findings;
  EXPECT_EQ(signals::register_irq(spare(), nullptr), Error::no_handler);
  EXPECT_EQ(signals::register_nmi(spare(), nullptr), Error::no_handler);
  EXPECT_EQ(findings.size(), kBuiltConfig.debug ? 2u : 0u);
}

std::atomic<int> theirs, originals;
std::atomic<RawHandler> under_theirs;
void their_handler(int signo, siginfo_t* info, void* context) {
  ++theirs;
  if (const RawHandler under = under_theirs) under(signo, info, context);
}
void original_handler(int, siginfo_t*, void*) { ++originals; }
int another() { return SIGRTMIN + 9; }
void expect_calls(int of_both, const Values& ours) {
  EXPECT_EQ(theirs, of_both);
  EXPECT_EQ(originals, of_both);
  EXPECT_EQ(irqs.values(), ours);
}

TEST_F(PortProcessTest, OtherHandlersInstalledAfterOursStay) {
  theirs = originals = 0;
  ASSERT_TRUE(install_raw(spare(), original_handler, SA_SIGINFO, 0));
  ASSERT_EQ(signals::register_irq(spare(), on_irq), Error::none);
  under_theirs = installed(spare());
  ASSERT_TRUE(install_raw(spare(), their_handler, SA_SIGINFO, 0));
  ASSERT_EQ(signals::register_irq(another(), on_irq), Error::none);
  ASSERT_EQ(signals::unregister(another()), Error::none);
  EXPECT_EQ(installed(spare()), their_handler);
  arrive(spare(), 1);
  expect_calls(1, Values{1});
  // Ours is gone, theirs stays and reaches the original by way of us.
  ASSERT_EQ(signals::unregister(spare()), Error::none);
  EXPECT_EQ(installed(spare()), their_handler);
  arrive(spare(), 2);
  expect_calls(2, Values{1});
  // Once more on top of theirs, whose chain comes back to us: each is called once.
  ASSERT_EQ(signals::register_irq(spare(), on_irq), Error::none);
  arrive(spare(), 3);
  expect_calls(3, (Values{1, 3}));
  ASSERT_EQ(signals::unregister(spare()), Error::none);
  EXPECT_EQ(installed(spare()), their_handler);
  arrive(spare(), 4);
  expect_calls(4, (Values{1, 3}));
  ASSERT_TRUE(install_raw(spare(), old_kind(SIG_IGN), 0, 0));
}

TEST_F(PortProcessTest, OtherHandlersUnregisterDropsWhatItHeldBackForGood) {
  static std::atomic<int> news;
  news = 0;
  ASSERT_TRUE(install_raw(spare(), old_kind(SIG_IGN), 0, 0));
  ASSERT_EQ(signals::register_irq(spare(), on_irq), Error::none);
  {
    const IrqSection section;
    arrive(spare());
    ASSERT_EQ(signals::unregister(spare()), Error::none);
    ASSERT_EQ(signals::register_irq(spare(), [](int, siginfo_t*, void*) { ++news; }), Error::none);
  }
  EXPECT_EQ(irqs.size(), 0u);
  EXPECT_EQ(news, 0);
  arrive(spare());
  EXPECT_EQ(news, 1);
  ASSERT_EQ(signals::unregister(spare()), Error::none);
}

// What was sent on to the kernel's queue for want of a slot must not find the default action.
TEST_F(PortProcessTest, OtherHandlersASignalWeQueuedDoesNotEndTheProcess) {
  EXPECT_EQ(in_child([] {
              install_raw(spare(), old_kind(SIG_DFL), 0, 0);
              if (signals::register_irq(spare(), on_irq) != Error::none) return 1;
              const IrqSection section;
              for (int i = 0; i < 8; ++i) {
                real_mask(SIG_UNBLOCK, bit(spare()));  // as a probe's return does
                arrive(spare(), i);
              }
              if (signals::stats().requeued == 0) return 2;
              if (signals::unregister(spare()) != Error::none) return 3;
              real_mask(SIG_UNBLOCK, bit(spare()));
              return 0;
            }),
            0);
}

TEST_F(PortProcessTest, OtherHandlersUnregisterWaitsForThem) {
  static std::atomic<int> step;
  if (!kBuiltConfig.smp) return;  // all signals come to one thread
  for (const bool waits : {true, false}) {
    step = 0;
    ASSERT_EQ(signals::register_irq(spare(),
                                    [](int, siginfo_t*, void*) {
                                      step = 1;
                                      while (step != 2) sched_yield();
                                      for (int i = 0; i < 1000; ++i) sched_yield();
                                      step = 3;
                                    }),
              Error::none);
    std::thread runs([] { arrive(spare()); });
    while (step != 1) sched_yield();
    if (waits) {
      step = 2;
      EXPECT_EQ(signals::unregister(spare()), Error::none);
      EXPECT_EQ(step, 3);
    } else {
      EXPECT_EQ(signals::unregister_nowait(spare()), Error::none);
      EXPECT_EQ(step, 1);
      step = 2;
    }
    runs.join();
  }
}

TEST_F(PortProcessTest, OtherHandlersAHandlerMayUnregisterItself) {
  ASSERT_EQ(signals::register_irq(spare(),
                                  [](int, siginfo_t*, void*) {
                                    EXPECT_EQ(signals::unregister(spare()), Error::none);
                                  }),
            Error::none);
  arrive(spare());
  EXPECT_EQ(signals::unregister(spare()), Error::not_taken);
}

// ---- a replayed irq is the irq: the program's own mask ------------------------------------------

TEST_F(PortProcessTest, ReplayObeysSetSignalMask) {
  sigset_t one, pending;
  sigemptyset(&one), sigaddset(&one, irq(0));
  {
    const IrqSection section;
    arrive(irq(0), 1);
    ASSERT_EQ(signals::set_signal_mask(SIG_BLOCK, &one, nullptr), 0);
  }
  EXPECT_EQ(irqs.size(), 0u);
  sigpending(&pending);
  EXPECT_TRUE(sigismember(&pending, irq(0)));
  ASSERT_EQ(signals::set_signal_mask(SIG_UNBLOCK, &one, nullptr), 0);
  EXPECT_EQ(irqs.values(), Values{1});
}

// ---- cancellation -------------------------------------------------------------------------------

// To ThreadSanitizer a handler is a fibre, which no unwinding leaves.
#if !NESTLOCK_WITH_TSAN
void cancellation_point(int, siginfo_t*, void*) { pthread_testcancel(); }

bool is_cancelled(void* (*body)(void*)) {
  pthread_t thread;
  void* result = nullptr;
  if (pthread_create(&thread, nullptr, body, nullptr) || pthread_join(thread, &result))
    return false;
  return result == PTHREAD_CANCELED;
}

TEST_F(PortProcessTest, CancellationInAHandlerEndsTheThread) {
  if (!kBuiltConfig.smp) return;  // all signals come to one thread
  const unsigned cpus = cpus_in_use();
  in_irq = in_nmi = cancellation_point;
  for (const bool as_nmi : {false, true}) {
    static bool nmi_comes;
    nmi_comes = as_nmi;
    EXPECT_TRUE(is_cancelled([](void*) -> void* {
      Smp::cpu_id();
      pthread_cancel(pthread_self());
      arrive(nmi_comes ? nmi() : irq(0));
      return nullptr;
    }));
  }
  EXPECT_EQ(cpus_in_use(), cpus);
  signals::synchronize(irq(0));  // nobody counts as running still
  signals::synchronize(nmi());
}

TEST_F(PortProcessTest, CancellationIsPutOffWhereAHandlerInterruptedASection) {
  if (!kBuiltConfig.smp) return;  // all signals come to one thread
  in_irq = in_nmi = cancellation_point;
  static bool went_on;
  went_on = false;
  EXPECT_TRUE(is_cancelled([](void*) -> void* {
    pthread_cancel(pthread_self());
    {
      const IrqSection section;
      arrive(irq(0));
      arrive(nmi());
    }
    BuiltPort::preempt_disable();
    arrive(irq(0));
    BuiltPort::preempt_enable();
    went_on = true;
    pthread_testcancel();
    return nullptr;
  }));
  EXPECT_TRUE(went_on);
  EXPECT_EQ(irqs.size(), 2u);
}

TEST_F(PortProcessTest, CancellationDoesNotStrikeInAReport) {
  static bool went_on;
  went_on = false;
  EXPECT_TRUE(is_cancelled([](void*) -> void* {
    pthread_cancel(pthread_self());
    hosted::print_report(Report{});
    went_on = true;
    pthread_testcancel();
    return nullptr;
  }));
  EXPECT_TRUE(went_on);
}

sigjmp_buf outside;
void jump_once(int, siginfo_t*, void*) {
  in_irq = in_nmi = nullptr;
  siglongjmp(outside, 1);
}

TEST_F(PortProcessTest, JumpsTheNextSignalFindsTheLevelLeft) {
  for (const int signo : {irq(0), nmi()}) {
    const Findings findings;
    irqs.clear(), nmis.clear();
    in_irq = in_nmi = jump_once;
    if (!sigsetjmp(outside, 1)) arrive(signo);
    for (int i = 0; i < 10; ++i) arrive(irq(0));
    EXPECT_EQ(irqs.size(), signo == nmi() ? 10u : 11u);
    EXPECT_EQ(findings.size(), kBuiltConfig.debug ? 1u : 0u);
    EXPECT_EQ(not_quiet(), "");
    signals::synchronize(signo);
  }
}

TEST_F(PortProcessTest, JumpsAfterJumpGoesBackAndRunsWhatWasHeldBack) {
  const Findings findings;
  in_irq = [](int, siginfo_t*, void*) {
    in_irq = nullptr;
    real_mask(SIG_UNBLOCK, irq_class());
    arrive(irq(1));  // is held back
    siglongjmp(outside, 1);
  };
  if (!sigsetjmp(outside, 1)) arrive(irq(0));
  EXPECT_EQ(irqs.size(), 1u);
  signals::after_jump();
  EXPECT_EQ(irqs.size(), 2u);
  EXPECT_EQ(not_quiet(), "");
  signals::after_jump();
}

// Of two in the slots: the second comes all the same, and nothing stays blocked for it.
TEST_F(PortProcessTest, JumpsOutOfAReplayLeaveNothingOfItBehind) {
  const Findings findings;
  static int sent;
  leave_out(sent);
  sent = 0;
  in_irq = jump_once;
  install_probe(probe(), [](int, siginfo_t*, void*) { arrive(irq(0), ++sent); });
  if (!sigsetjmp(outside, 1)) {
    const auto state = BuiltPort::irq_save();
    arrive(probe());  // its return opens the class, so that the next one gets a slot, too
    arrive(probe());
    BuiltPort::irq_restore(state);
  }
  EXPECT_EQ(irqs.size(), 1u);
  signals::after_jump();
  EXPECT_EQ(irqs.values(), (std::vector{1, 2}));
  EXPECT_EQ(not_quiet(), "");
}

TEST_F(PortProcessTest, JumpsAHandlerThatIsThereIsNotTakenForLeft) {
  in_irq = [](int, siginfo_t*, void*) {
    arrive(nmi());
    signals::after_jump();
    EXPECT_EQ(hosted::context(), Context::hardirq);
  };
  in_nmi = [](int, siginfo_t*, void*) {
    signals::after_jump();
    EXPECT_EQ(hosted::context(), Context::nmi);
  };
  arrive(irq(0));
}

TEST_F(PortProcessTest, JumpsPthreadExitInAHandlerEndsTheThread) {
  if (!kBuiltConfig.smp) return;  // all signals come to one thread
  in_irq = [](int, siginfo_t*, void*) { pthread_exit(nullptr); };
  const unsigned cpus = cpus_in_use();
  std::atomic<bool> returned{false};
  std::thread([&] {
    Smp::cpu_id();
    arrive(irq(0));
    returned = true;
  }).join();
  EXPECT_FALSE(returned);
  EXPECT_EQ(cpus_in_use(), cpus);
}
#endif

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

#if !NESTLOCK_WITH_TSAN
// Where the stack goes deeper than the handler did addresses do not tell that it was left.
[[gnu::noinline]] void lock_deeper(TrySpinLock& lock, unsigned bytes) {
  auto* const room = static_cast<volatile char*>(__builtin_alloca(bytes));
  room[0] = 1;
  lock.lock();
  lock.unlock();
  room[1] = 1;
}
[[gnu::noinline]] void jump_out_of_the_handler_of(int signo) {
  in_irq = in_nmi = jump_once;
  if (!sigsetjmp(outside, 1)) arrive(signo);
}
TEST_F(PortProcessTest, DebugAHandlerThatWasLeftForDeeperCallsIsSeen) {
  if (!kBuiltConfig.debug) return;
  static TrySpinLock lock;
  for (const unsigned deep : {1u << 8, 1u << 12, 1u << 16}) {
    for (const int signo : {irq(0), nmi()}) {
      Findings findings;
      jump_out_of_the_handler_of(signo);
      EXPECT_NE(hosted::context(), Context::task);
      lock_deeper(lock, deep);
      EXPECT_EQ(findings.all(), std::vector{Finding::holder_abandoned});
      EXPECT_EQ(not_quiet(), "");
      // What it left is over; it has not come back to say so.
      signals::synchronize(signo);
    }
  }
}
TEST_F(PortProcessTest, DebugAHandlerThatOpenedItsMaskIsNotTakenForLeft) {
  if (!kBuiltConfig.debug) return;
  Findings findings;
  static TrySpinLock lock;
  in_irq = in_nmi = [](int signo, siginfo_t*, void*) {
    real_mask(SIG_UNBLOCK, Mask{1} << (signo - 1));
    // On RT a handler is refused.
    if (lock.try_lock()) lock.unlock();
    BuiltPort::check_abandoned();
  };
  arrive(irq(0));
  arrive(nmi());
  {
    const IrqSection section;
    arrive(irq(0));
  }
  EXPECT_EQ(findings.size(), 0u);
}
#endif

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
