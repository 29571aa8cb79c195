// Handlers that do not return: cancellation, jumps out of them, threads that end there; and what a debug
// configuration sees of it.
#include <pthread.h>
#include <setjmp.h>

#include <thread>

#include "nestlock/nestlock.h"
#include "test/port/process_testing.h"

namespace nestlock::port_testing {
namespace {

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

// ---- debug knows contexts -----------------------------------------------------------------------

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

}  // namespace
}  // namespace nestlock::port_testing
