// Registration, in the library as it is built: what is refused and how debug configurations say so,
// chaining, unregistering, and the uniprocessor's forwarding.
#include <setjmp.h>
#include <sys/mman.h>

#include <cstdlib>
#include <thread>

#include "nestlock/nestlock.h"
#include "test/port/port_testing.h"

namespace nestlock::port_testing {
namespace {

using signals::Error;
using Values = std::vector<int>;

class PortSignalsTest : public PortTest {
 protected:
  void SetUp() override {
    port = &kCallsOf<BuiltPort>;
    PortTest::SetUp();
  }
};

int spare() { return SIGRTMIN + 8; }  // registered by no fixture

// ---- what is refused ----------------------------------------------------------------------------

struct Refusal {
  int signo;
  bool as_irq, as_nmi;  // whether refused
  Error why;
};

TEST_F(PortSignalsTest, WhatCannotBeAnIrqOrAnNmiIsRefusedAndReportedInDebug) {
  const Refusal all[] = {
      {0, true, true, Error::not_a_signal},
      {-1, true, true, Error::not_a_signal},
      {65, true, true, Error::not_a_signal},
      {32, true, true, Error::not_a_signal},
      {SIGRTMIN - 1, true, true, Error::not_a_signal},  // the C library's own
      {SIGKILL, true, true, Error::unmaskable},
      {SIGSTOP, true, true, Error::unmaskable},
      {SIGSEGV, true, false, Error::fault},
      {SIGBUS, true, false, Error::fault},
      {SIGFPE, true, false, Error::fault},
      {SIGILL, true, false, Error::fault},
      {SIGTRAP, true, false, Error::fault},
      {SIGSYS, true, false, Error::fault},
      {irq(0), true, true, Error::taken},
      {nmi(), true, true, Error::taken},
  };
  for (const Refusal& r : all) {
    for (const bool as_irq : {true, false}) {
      if (!(as_irq ? r.as_irq : r.as_nmi)) continue;
      Findings findings;
      const RawHandler before = r.signo >= 1 && r.signo <= 64 ? installed(r.signo) : nullptr;
      const Error e =
          as_irq ? signals::register_irq(r.signo, on_irq) : signals::register_nmi(r.signo, on_nmi);
      EXPECT_EQ(e, r.why) << "signal " << r.signo << ": " << signals::name_of(e);
      EXPECT_EQ(findings.size(), kBuiltConfig.debug ? 1u : 0u) << r.signo;
      if (findings.size()) {
        EXPECT_EQ(findings[0].finding, Finding::bad_signal);
        EXPECT_FALSE(findings[0].fatal);
        EXPECT_STREQ(findings[0].call, as_irq ? "register_irq" : "register_nmi");
        EXPECT_STREQ(findings[0].detail, signals::name_of(r.why));
        EXPECT_EQ(findings[0].config, kBuiltConfig);
      }
      if (r.signo >= 1 && r.signo <= 64) {
        EXPECT_EQ(installed(r.signo), before);
      }
    }
  }
  EXPECT_NE(std::string(signals::name_of(Error::refused)), "");
}

TEST_F(PortSignalsTest, AFaultMayBeAnNmi) {
  static void* page;
  leave_out(page);
  page = mmap(nullptr, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(page, MAP_FAILED);
  struct sigaction sanitizers{};
  sigaction(SIGSEGV, nullptr, &sanitizers);
  ASSERT_TRUE(install_raw(SIGSEGV, old_kind(SIG_DFL), 0, 0));  // else it is called after ours
  ASSERT_EQ(signals::register_nmi(SIGSEGV, on_nmi), Error::none);
  in_nmi = [](int, siginfo_t* info, void*) {
    if (info->si_addr != page) _exit(3);
    mprotect(page, 4096, PROT_READ | PROT_WRITE);
  };
  {
    const IrqSection section;
    *static_cast<volatile char*>(page) = 1;
  }
  EXPECT_EQ(nmis.size(), 1u);
  EXPECT_EQ(signals::unregister(SIGSEGV), Error::none);
  sigaction(SIGSEGV, &sanitizers, nullptr);
  munmap(page, 4096);
}

TEST_F(PortSignalsTest, UnregisteringWhatIsNotRegisteredIsRefused) {
  Findings findings;
  EXPECT_EQ(signals::unregister(spare()), Error::not_taken);
  EXPECT_EQ(signals::unregister(0), Error::not_a_signal);
  EXPECT_EQ(signals::unregister(65), Error::not_a_signal);
  EXPECT_EQ(findings.size(), kBuiltConfig.debug ? 3u : 0u);
}

// ---- classes, chaining, unregistering -----------------------------------------------------------

TEST_F(PortSignalsTest, EachHandlerBlocksItsClass) {
  const Mask irq_mask = irq_class(), nmi_mask = bit(nmi()) | bit(kPlainNmi);
  Mask mask = 0;
  EXPECT_NE(installed(irq(0), &mask), nullptr);
  EXPECT_EQ(mask, irq_mask);
  EXPECT_EQ(installed(nmi(), &mask), installed(irq(0)));
  EXPECT_EQ(mask, irq_mask | nmi_mask);
  ASSERT_EQ(signals::register_irq(spare(), on_irq), Error::none);
  installed(irq(0), &mask);
  EXPECT_EQ(mask, irq_mask | bit(spare()));  // the old ones learn of the new one
  ASSERT_EQ(signals::unregister(spare()), Error::none);
  installed(irq(0), &mask);
  EXPECT_EQ(mask, irq_mask);
}

std::vector<int> chained;

TEST_F(PortSignalsTest, APreviousHandlerIsCalledAfterOurs) {
  chained.reserve(8);
  leave_out(chained);
  hosted::tsan_unchecked(chained.data(), 8 * sizeof chained[0]);
  // Also when the irq was held back, with the same siginfo.
  chained.clear();
  ASSERT_TRUE(install_raw(
      spare(),
      [](int signo, siginfo_t* info, void* context) {
        EXPECT_EQ(signo, spare());
        EXPECT_NE(context, nullptr);
        EXPECT_EQ(hosted::context(), Context::hardirq);
        chained.push_back(info->si_value.sival_int);
        chained.push_back(static_cast<int>(irqs.size()));
      },
      SA_SIGINFO, 0));
  const RawHandler before = installed(spare());
  ASSERT_EQ(signals::register_irq(spare(), on_irq), Error::none);
  arrive(spare(), 5);
  EXPECT_EQ(chained, (Values{5, 1}));
  {
    const IrqSection section;
    arrive(spare(), 6);
  }
  EXPECT_EQ(chained, (Values{5, 1, 6, 2}));
  ASSERT_EQ(signals::unregister(spare()), Error::none);
  EXPECT_EQ(installed(spare()), before);
  chained.clear();
}

TEST_F(PortSignalsTest, APreviousHandlerOfTheOldKindIsCalledToo) {
  chained.clear();
  ASSERT_TRUE(install_raw(spare(), old_kind([](int signo) { chained.push_back(signo); }), 0, 0));
  ASSERT_EQ(signals::register_irq(spare(), on_irq), Error::none);
  arrive(spare());
  EXPECT_EQ(chained, Values{spare()});
  EXPECT_EQ(irqs.size(), 1u);
  ASSERT_EQ(signals::unregister(spare()), Error::none);
}

TEST_F(PortSignalsTest, UnregisteringPutsTheOldActionBackAndDropsWhatIsHeldBack) {
  ASSERT_TRUE(install_raw(spare(), old_kind(SIG_IGN), 0, 0));
  ASSERT_EQ(signals::register_irq(spare(), on_irq), Error::none);
  {
    const IrqSection section;
    arrive(spare(), 1);
    arrive(irq(0), 2);  // queues behind it in the kernel
    ASSERT_EQ(signals::unregister(spare()), Error::none);
  }
  EXPECT_EQ(irqs.values(), Values{2});
  EXPECT_EQ(installed(spare()), old_kind(SIG_IGN));
  EXPECT_EQ(real_mask() & bit(spare()), 0u);
  ASSERT_EQ(signals::register_irq(spare(), on_irq), Error::none);  // and once more
  arrive(spare(), 3);
  EXPECT_EQ(irqs.values(), (Values{2, 3}));
  ASSERT_EQ(signals::unregister(spare()), Error::none);
}

// What is called after ours may change while another thread's handler is about to call it.
TEST_F(PortSignalsTest, RegisteringAnewBesideAHandlerChainsToTheOldOrTheNew) {
  if (!kBuiltConfig.smp) return;
  static constinit std::atomic<unsigned> old_ones{0}, new_ones{0}, ours{0};
  old_ones = new_ones = ours = 0;
  const RawHandler previous[] = {[](int, siginfo_t*, void*) { ++old_ones; },
                                 old_kind([](int) { ++new_ones; })};
  const int flags[] = {SA_SIGINFO, 0};
  ASSERT_TRUE(install_raw(spare(), previous[0], flags[0], 0));
  std::atomic<bool> stop{false};
  std::thread handled([&] {
    while (!stop) arrive(spare());
  });
  for (unsigned turn = 0; turn < 2000 || !old_ones || !new_ones || !ours; ++turn) {
    ASSERT_TRUE(install_raw(spare(), previous[turn % 2], flags[turn % 2], 0));
    ASSERT_EQ(signals::register_irq(spare(), [](int, siginfo_t*, void*) { ++ours; }), Error::none);
    ASSERT_EQ(signals::unregister(spare()), Error::none);
  }
  stop = true;
  handled.join();
}

// The handlers of another thread run with the mask that they were installed with: the class may
// grow under them. Here the handler itself registers.
TEST_F(PortSignalsTest, AClassThatGrowsUnderARunningHandlerIsMaskedThere) {
  in_irq = [](int signo, siginfo_t*, void*) {
    if (signo != irq(0)) return;
    EXPECT_EQ(signals::register_irq(spare(), on_irq), Error::none);
    arrive(spare(), 2);
    EXPECT_EQ(irqs.size(), 1u) << "an irq in an irq";
  };
  arrive(irq(0), 1);
  EXPECT_EQ(irqs.values(), (Values{1, 2}));
  in_irq = nullptr;
  ASSERT_EQ(signals::unregister(spare()), Error::none);
}

TEST_F(PortSignalsTest, StatsCountWhatHappened) {
  in_irq = [](int, siginfo_t*, void*) { signals::raise_softirq(0); };
  const signals::Stats a = signals::stats();
  arrive(irq(0));
  {
    const IrqSection section;
    arrive(irq(0));
  }
  arrive(nmi());
  const signals::Stats b = signals::stats();
  EXPECT_EQ(b.irqs - a.irqs, 2u);
  EXPECT_EQ(b.nmis - a.nmis, 1u);
  EXPECT_EQ(b.softirqs - a.softirqs, 2u);
  EXPECT_EQ(b.held_back - a.held_back, 1u);
  EXPECT_EQ(b.requeued - a.requeued, 0u);
  EXPECT_EQ(b.lost - a.lost, 0u);
}

// ---- the uniprocessor's one thread --------------------------------------------------------------

TEST_F(PortSignalsTest, InUniprocessorConfigurationsSignalsGoToTheOneThread) {
  static pid_t ran_in;
  leave_out(ran_in);
  ran_in = 0;
  in_irq = [](int, siginfo_t* info, void*) {
    ran_in = thread_id();
    EXPECT_EQ(info->si_uid, getuid());
  };
  const signals::Stats before = signals::stats();
  const pid_t main_thread = thread_id();
  pid_t other = 0;
  // Blocked here, so that the kernel must choose the other thread; then it comes back.
  real_mask(SIG_BLOCK, bit(irq(0)));
  std::thread([&] {
    real_mask(SIG_UNBLOCK, bit(irq(0)));
    other = thread_id();
    sigval v{};
    v.sival_int = 42;
    sigqueue(getpid(), irq(0), v);
    EXPECT_EQ(irqs.size(), kBuiltConfig.smp ? 1u : 0u);
  }).join();
  real_mask(SIG_UNBLOCK, bit(irq(0)));
  EXPECT_EQ(irqs.values(), Values{42});
  EXPECT_EQ(ran_in, kBuiltConfig.smp ? other : main_thread);
  EXPECT_EQ(signals::stats().forwarded - before.forwarded, kBuiltConfig.smp ? 0u : 1u);
}

// kill() carries no value; the kernel lets nobody send on its behalf, so the code changes.
TEST_F(PortSignalsTest, AForwardedKillArrivesToo) {
  in_irq = [](int, siginfo_t* info, void*) { EXPECT_EQ(info->si_pid, getpid()); };
  real_mask(SIG_BLOCK, bit(kPlainIrq));
  std::thread([] {
    real_mask(SIG_UNBLOCK, bit(kPlainIrq));
    kill(getpid(), kPlainIrq);
  }).join();
  real_mask(SIG_UNBLOCK, bit(kPlainIrq));
  ASSERT_EQ(irqs.size(), 1u);
  EXPECT_EQ(irqs[0].code, kBuiltConfig.smp ? SI_USER : SI_QUEUE);
}

// ---- handlers left by a jump --------------------------------------------------------------------

// To ThreadSanitizer a handler is a fibre, which no jump leaves.
#if !NESTLOCK_WITH_TSAN
sigjmp_buf outside;

// The next call of a lock, from outside what lies below the handler's frame, shows it.
void expect_abandoned(const Findings& findings, Context in) {
  TrySpinLock lock;
  if (kBuiltConfig.debug) {
    EXPECT_TRUE(lock.try_lock());
    EXPECT_TRUE(lock.is_locked());
    lock.unlock();
    ASSERT_EQ(findings.all(), std::vector{Finding::holder_abandoned});
    EXPECT_FALSE(findings[0].fatal);
    EXPECT_EQ(findings[0].context, Context::task);  // repaired before it is told
  } else {
    EXPECT_EQ(findings.size(), 0u);
    EXPECT_EQ(BuiltPort::context(), in);  // nobody notices
    quieten();
  }
}

TEST_F(PortSignalsTest, LeavingAnIrqHandlerByAJumpIsReportedAndRepairedInDebug) {
  Findings findings;
  in_irq = [](int, siginfo_t*, void*) { siglongjmp(outside, 1); };
  if (sigsetjmp(outside, 1) == 0) arrive(irq(0));
  expect_abandoned(findings, Context::hardirq);
  in_irq = nullptr;
  arrive(irq(0), 2);
  EXPECT_EQ(irqs.size(), 2u);
}

TEST_F(PortSignalsTest, LeavingANestOfHandlersIsReportedForEach) {
  if (!kBuiltConfig.debug) return;
  Findings findings;
  in_irq = [](int, siginfo_t*, void*) {
    port->preempt_disable();
    arrive(nmi());
  };
  in_nmi = [](int, siginfo_t*, void*) {
    port->preempt_disable();
    siglongjmp(outside, 1);
  };
  if (sigsetjmp(outside, 1) == 0) arrive(irq(0));
  port->check_abandoned();
  EXPECT_EQ(findings.size(), 2u);
  EXPECT_EQ(port->preempt_count(), 0u);
}

TEST_F(PortSignalsTest, LeavingAReplayedHandlerIsReported) {
  if (!kBuiltConfig.debug) return;
  Findings findings;
  in_irq = [](int, siginfo_t*, void*) { siglongjmp(outside, 1); };
  if (sigsetjmp(outside, 1) == 0) {
    const auto s = port->irq_save();
    arrive(irq(0));
    port->irq_restore(s);
  }
  port->check_abandoned();
  EXPECT_EQ(findings.all(), std::vector{Finding::holder_abandoned});
  hosted::self().added = 0;
}

#endif

// What is not abandoned: locks in handlers, on whatever stack these run.
TEST_F(PortSignalsTest, HandlersOnAnAlternateStackAreNotTakenForAbandoned) {
  // Above every thread's stack, below the main thread's: mapped before the thread is made.
  constexpr std::size_t kSize = 1 << 16;
  void* const high =
      mmap(nullptr, kSize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(high, MAP_FAILED);
  // To ThreadSanitizer the probe is whom it interrupts, and its frames lie on one stack for all of
  // them: on this, or on one CPU on what the tool gave the main thread for its own handlers.
  stack_t mains{};
  sigaltstack(nullptr, &mains);
  hosted::tsan_unchecked(high, kSize);
  if (mains.ss_sp) hosted::tsan_unchecked(mains.ss_sp, mains.ss_size);
  Findings findings;
  static constinit TrySpinLock lock;
  static int taken;
  leave_out(taken);
  taken = 0;
  // On one CPU the main thread runs what the other one sends. Each is waited for: the nmi would
  // interrupt the irq's handler while that holds the lock, and would be refused, and rightly so.
  static constinit std::atomic<unsigned> ended{0};
  ended = 0;
  in_irq = in_nmi = [](int, siginfo_t*, void*) {
    // On RT refused here; what matters is that nothing is reported but that.
    if (!kBuiltConfig.preempt_rt && lock.try_lock()) {
      ++taken;
      lock.unlock();
    }
    BuiltPort::check_abandoned();
    arrive(probe());
    ++ended;
  };
  ASSERT_TRUE(install_raw(
      probe(), [](int, siginfo_t*, void*) { BuiltPort::check_abandoned(); },
      SA_SIGINFO | SA_ONSTACK | SA_NODEFER, 0));
  const auto wait_for = [](unsigned handlers) {
    while (ended < handlers) sched_yield();
  };
  const auto all_ways = [&wait_for] {
    const unsigned before = ended;
    arrive(irq(0)), wait_for(before + 1);
    arrive(nmi()), wait_for(before + 2);
    {
      const IrqSection section;  // replayed on the stack of the restore
      arrive(irq(0));
    }
    wait_for(before + 3);
  };
  std::thread([&] {
    all_ways();
    stack_t stack{}, none{};
    stack.ss_sp = high, stack.ss_size = kSize;
    sigaltstack(&stack, nullptr);
    all_ways();
    none.ss_flags = SS_DISABLE;
    sigaltstack(&none, nullptr);
  }).join();
  EXPECT_EQ(findings.size(), 0u);
  EXPECT_EQ(taken, kBuiltConfig.preempt_rt ? 0 : 6);
  munmap(high, kSize);
}

}  // namespace
}  // namespace nestlock::port_testing
