// Handlers in a real process: system calls that they interrupt, faults in them, other people's, and what
// unregistering takes with it.
#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <thread>

#include "test/port/process_testing.h"

namespace nestlock::port_testing {
namespace {

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

}  // namespace
}  // namespace nestlock::port_testing
