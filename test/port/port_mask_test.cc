// The lazy mask of irqs: what is held back, when and in which order it is replayed, and what of the
// thread's state survives it. The rules R1..R11 are in lib/port/README.md (of R11 port_replay_test has
// more); that they hold after every instruction is port_sweep_test.
#include <pthread.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <ucontext.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <thread>
#include <utility>

#include "test/port/port_testing.h"

namespace nestlock::port_testing {
namespace {

using Values = std::vector<int>;

class PortMaskTest : public EachPortTest {};
INSTANTIATE_TEST_SUITE_P(All, PortMaskTest, each_port, name_of_port);

// ---- R1, R3: held back in a section, run by its restore -----------------------------------------

TEST_P(PortMaskTest, AnIrqRunsAtOnceOutsideASection) {
  arrive(irq(0), 7);
  EXPECT_EQ(irqs.values(), Values{7});
  EXPECT_EQ(irqs[0].context, Context::hardirq);
  EXPECT_EQ(irqs[0].code, SI_QUEUE);
}

TEST_P(PortMaskTest, AnIrqInASectionRunsAtItsRestore) {
  {
    IrqSection section;
    EXPECT_TRUE(port->irqs_disabled());
    arrive(irq(0), 7);
    EXPECT_EQ(irqs.size(), 0u);
  }
  EXPECT_EQ(irqs.values(), Values{7});
  EXPECT_EQ(irqs[0].context, Context::hardirq);
  EXPECT_FALSE(irqs[0].in_section);
  EXPECT_FALSE(port->irqs_disabled());
}

TEST_P(PortMaskTest, AnInnerRestoreDoesNotUnmask) {
  {
    IrqSection outer;
    {
      IrqSection inner;
      arrive(irq(0), 1);
    }
    EXPECT_EQ(irqs.size(), 0u);
    in_section = 1;
    {
      IrqSection second;
    }
    EXPECT_EQ(irqs.size(), 0u);
  }
  EXPECT_EQ(irqs.size(), 1u);
}

TEST_P(PortMaskTest, DisableMasksAndEnableUnmasksAtAnyDepth) {
  port->irq_disable();
  port->irq_disable();
  EXPECT_TRUE(port->irqs_disabled());
  arrive(irq(0), 1);
  EXPECT_EQ(irqs.size(), 0u);
  port->irq_enable();
  EXPECT_EQ(irqs.size(), 1u);
  EXPECT_FALSE(port->irqs_disabled());
  {
    IrqSection section;
    port->irq_enable();
    arrive(irq(0), 2);
    EXPECT_EQ(irqs.size(), 2u);
    port->irq_disable();
  }
  EXPECT_FALSE(port->irqs_disabled());
}

// ---- R2: "enabled, and something is held" counts as masked --------------------------------------

// The state exists only inside irq_restore(), between its store and its look; here it is made.
TEST_P(PortMaskTest, WhatInterruptsARestoreLeavesTheUnmaskingToIt) {
  {
    IrqSection section;
    arrive(irq(0), 1);
    self().soft.store(0, kRelaxed);
    EXPECT_TRUE(port->irqs_disabled());
    {
      IrqSection of_an_unregistered_handler;
    }
    EXPECT_EQ(irqs.size(), 0u);
    EXPECT_TRUE(self().held.load(kRelaxed));
  }
  EXPECT_EQ(irqs.size(), 1u);
}

// ---- R4: slots keep order, value and registers --------------------------------------------------

TEST_P(PortMaskTest, QueuedIrqsKeepTheirOrderThroughAHoldBack) {
  real_mask(SIG_BLOCK, irq_class());
  for (int i = 1; i <= 8; ++i) arrive(irq(0), i);
  {
    IrqSection section;
    real_mask(SIG_UNBLOCK, irq_class());  // the first goes to a slot, the others stay queued
    EXPECT_EQ(irqs.size(), 0u);
  }
  EXPECT_EQ(irqs.values(), (Values{1, 2, 3, 4, 5, 6, 7, 8}));
}

TEST_P(PortMaskTest, DifferentIrqsKeepTheKernelsOrder) {
  real_mask(SIG_BLOCK, irq_class());
  for (int i = 0; i < 12; ++i) arrive(irq(3 - i % 4), i);
  {
    IrqSection section;
    real_mask(SIG_UNBLOCK, irq_class());
  }
  EXPECT_EQ(irqs.size(), 12u);
  EXPECT_EQ(irqs.values(irq(0)), (Values{3, 7, 11}));
  EXPECT_EQ(irqs.values(irq(1)), (Values{2, 6, 10}));
  EXPECT_EQ(irqs.values(irq(2)), (Values{1, 5, 9}));
  EXPECT_EQ(irqs.values(irq(3)), (Values{0, 4, 8}));
}

std::uintptr_t seen_pc;
Mask seen_mask;
[[gnu::noinline]] void raise_in_this_function() { arrive(irq(0), 1); }

#if defined(__x86_64__)
std::uintptr_t pc_of(const ucontext_t& uc) {
  return static_cast<std::uintptr_t>(uc.uc_mcontext.gregs[REG_RIP]);
}
bool has_fp(const ucontext_t& uc) { return uc.uc_mcontext.fpregs != nullptr; }
#elif defined(__aarch64__)
std::uintptr_t pc_of(const ucontext_t& uc) { return uc.uc_mcontext.pc; }
bool has_fp(const ucontext_t& uc) {  // the kernel's first record
  std::uint32_t magic;
  std::memcpy(&magic, uc.uc_mcontext.__reserved, sizeof magic);
  return magic == FPSIMD_MAGIC;
}
#endif

TEST_P(PortMaskTest, AReplayedHandlerSeesWhereTheIrqArrived) {
  static std::uintptr_t direct_pc;
  static bool fp;
  leave_out(direct_pc, fp, seen_pc, seen_mask);
  in_irq = [](int, siginfo_t*, void* context) {
    auto* const uc = static_cast<ucontext_t*>(context);
    seen_pc = pc_of(*uc);
    fp = has_fp(*uc);
    std::memcpy(&seen_mask, &uc->uc_sigmask, sizeof seen_mask);
  };
  raise_in_this_function();
  direct_pc = seen_pc;
  EXPECT_TRUE(fp);
  seen_pc = 0;
  real_mask(SIG_BLOCK, bit(SIGUSR2));
  {
    IrqSection section;
    raise_in_this_function();
  }
  EXPECT_EQ(seen_pc, direct_pc);  // in the system call, not in irq_restore()
  EXPECT_TRUE(fp);                // those of irq_restore(): port_replay_test
  EXPECT_EQ(seen_mask & irq_class(), 0u);
  EXPECT_TRUE(seen_mask & bit(SIGUSR2));
  real_mask(SIG_UNBLOCK, bit(SIGUSR2));
}

// A probe in a section: its return undoes the block that a hold-back put into it, so more than one
// slot is needed; when they are used up the kernel's queue takes the rest.
TEST_P(PortMaskTest, ProbesThatLetMoreIrqsInLoseNone) {
  static int sent;
  leave_out(sent);
  install_probe(probe(), [](int, siginfo_t*, void*) { arrive(irq(0), ++sent); });
  for (const int probes : {1, 4, 5, 9}) {
    sent = 0;
    irqs.clear();
    const auto before = signals::stats();
    {
      IrqSection section;
      for (int i = 0; i < probes; ++i) arrive(probe());
      EXPECT_EQ(irqs.size(), 0u);
    }
    const auto after = signals::stats();
    EXPECT_EQ(irqs.size(), static_cast<unsigned>(probes));
    EXPECT_EQ(after.requeued > before.requeued, probes > 4);
    EXPECT_EQ(after.lost, before.lost);
    EXPECT_EQ(not_quiet(), "");
  }
}

// Holding back must not need the kernel's queue: over the limit that would lose the signal.
TEST_P(PortMaskTest, NothingIsLostWhenTheKernelsQueueIsFull) {
  real_mask(SIG_BLOCK, irq_class());
  arrive(irq(0), 1);
  arrive(irq(0), 2);
  rlimit old{};
  ASSERT_EQ(getrlimit(RLIMIT_SIGPENDING, &old), 0);
  const rlimit none{0, old.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_SIGPENDING, &none), 0);
  EXPECT_FALSE(queue_to(thread_id(), irq(0), 3));
  {
    IrqSection section;
    real_mask(SIG_UNBLOCK, irq_class());
    EXPECT_EQ(irqs.size(), 0u);
  }
  ASSERT_EQ(setrlimit(RLIMIT_SIGPENDING, &old), 0);
  EXPECT_EQ(irqs.values(), (Values{1, 2}));
}

// ---- R5: replay repeats R1, and keeps errno -----------------------------------------------------

TEST_P(PortMaskTest, HandlersAndReplayKeepErrno) {
  in_irq = [](int, siginfo_t*, void*) {
    EXPECT_NE(errno, 99) << "one handler sees another's errno";
    signals::raise_softirq(0);
  };
  errno = 7;
  arrive(irq(0));
  EXPECT_EQ(errno, 7);
  arrive(nmi());
  EXPECT_EQ(errno, 7);
  {
    IrqSection section;
    arrive(irq(0));
    EXPECT_EQ(errno, 7);
  }
  EXPECT_EQ(errno, 7);
  signals::raise_softirq(1);
  EXPECT_EQ(errno, 7);
  EXPECT_EQ(irqs.size(), 2u);
  EXPECT_EQ(nmis.size(), 1u);
  EXPECT_EQ(softirqs.values(), (Values{0, 0, 1}));
}

TEST_P(PortMaskTest, AnIrqDuringReplayIsReplayedToo) {
  // Sent by the handler: the class is blocked while it runs, whichever way it was called.
  in_irq = [](int, siginfo_t* info, void*) {
    const int n = info->si_value.sival_int;
    if (n < 5) arrive(irq(0), n + 1);
    EXPECT_EQ(irqs.size(), static_cast<unsigned>(n)) << "an irq inside an irq";
  };
  {
    IrqSection section;
    arrive(irq(0), 1);
  }
  EXPECT_EQ(irqs.values(), (Values{1, 2, 3, 4, 5}));
}

// ---- R6: nmis come inside sections and never unmask ---------------------------------------------

TEST_P(PortMaskTest, AnNmiRunsInASectionAndItsOwnSectionsUnmaskNothing) {
  in_nmi = [](int, siginfo_t*, void*) {
    const auto s = port->irq_save();
    arrive(irq(0), 2);
    port->irq_restore(s);
    EXPECT_EQ(irqs.size(), 0u);
    EXPECT_TRUE(port->irqs_disabled());
  };
  {
    IrqSection section;
    arrive(irq(0), 1);
    arrive(nmi(), 1);
    EXPECT_EQ(nmis.size(), 1u);
    EXPECT_TRUE(nmis[0].in_section);
    EXPECT_EQ(nmis[0].context, Context::nmi);
    EXPECT_EQ(irqs.size(), 0u);
  }
  EXPECT_EQ(irqs.values(), (Values{1, 2}));
}

TEST_P(PortMaskTest, AnNmiOutsideASectionMasksIrqsWhileItRuns) {
  in_nmi = [](int, siginfo_t*, void*) {
    EXPECT_TRUE(port->irqs_disabled());
    arrive(irq(0), 1);
    EXPECT_EQ(irqs.size(), 0u);
  };
  arrive(nmi());
  EXPECT_EQ(irqs.size(), 1u);
  EXPECT_EQ(irqs[0].context, Context::hardirq);
}

// ---- R7: the program's own blocks stay ----------------------------------------------------------

TEST_P(PortMaskTest, AnIrqThatTheProgramBlockedStaysBlocked) {
  real_mask(SIG_BLOCK, bit(kPlainIrq));
  {
    IrqSection section;
    arrive(irq(0), 1);
    arrive(kPlainIrq);
  }
  EXPECT_EQ(irqs.values(), Values{1});
  EXPECT_EQ(real_mask() & irq_class(), bit(kPlainIrq));
  real_mask(SIG_UNBLOCK, bit(kPlainIrq));
  EXPECT_EQ(irqs.size(), 2u);
}

Mask first_word(const sigset_t& set) {
  Mask m;
  std::memcpy(&m, &set, sizeof m);
  return m;
}

// pthread_sigmask() may not cross a section: here it would read the library's block as the
// program's own and put it back for ever.
TEST_P(PortMaskTest, SetSignalMaskMayCrossASection) {
  sigset_t usr2, before, now;
  sigemptyset(&usr2);
  sigaddset(&usr2, SIGUSR2);
  {
    IrqSection section;
    arrive(irq(0), 1);
    EXPECT_TRUE(real_mask() & bit(irq(0)));
    ASSERT_EQ(signals::set_signal_mask(SIG_BLOCK, &usr2, &before), 0);
    EXPECT_EQ(first_word(before) & (irq_class() | bit(SIGUSR2)), 0u);
  }
  EXPECT_EQ(irqs.size(), 1u);
  ASSERT_EQ(signals::set_signal_mask(SIG_SETMASK, &before, &now), 0);
  EXPECT_EQ(first_word(now) & (irq_class() | bit(SIGUSR2)), bit(SIGUSR2));
  EXPECT_EQ(real_mask() & (irq_class() | bit(SIGUSR2)), 0u);
}

TEST_P(PortMaskTest, SetSignalMaskCanBlockAndUnblockIrqsInASection) {
  sigset_t one;
  sigemptyset(&one);
  sigaddset(&one, irq(1));
  {
    IrqSection section;
    arrive(irq(0), 1);  // from here the kernel blocks the class for us
    ASSERT_EQ(signals::set_signal_mask(SIG_BLOCK, &one, nullptr), 0);
  }
  EXPECT_EQ(real_mask() & irq_class(), bit(irq(1)));
  arrive(irq(1), 2);
  EXPECT_EQ(irqs.values(), Values{1});
  {
    IrqSection section;
    arrive(irq(0), 3);
    ASSERT_EQ(signals::set_signal_mask(SIG_UNBLOCK, &one, nullptr), 0);
    EXPECT_EQ(irqs.values(), Values{1});
  }
  EXPECT_EQ(irqs.values(), (Values{1, 3, 2}));
  EXPECT_EQ(signals::set_signal_mask(99, &one, nullptr), EINVAL);
  EXPECT_EQ(signals::set_signal_mask(99, nullptr, nullptr), 0);  // as the C library: only read
}

TEST_P(PortMaskTest, SetSignalMaskLeavesTheCLibrarysSignalsAlone) {
  sigset_t all, before;
  std::memset(&all, 0xff, sizeof all);
  ASSERT_EQ(signals::set_signal_mask(SIG_BLOCK, &all, &before), 0);
  const Mask blocked = real_mask();
  ASSERT_EQ(signals::set_signal_mask(SIG_SETMASK, &before, nullptr), 0);
  EXPECT_TRUE(blocked & bit(SIGUSR2));
  for (int s = 32; s < SIGRTMIN; ++s) EXPECT_FALSE(blocked & bit(s)) << s;
}

// ---- R8: softirqs -------------------------------------------------------------------------------

TEST_P(PortMaskTest, ASoftirqRunsAtAnIrqsExitWithIrqsOn) {
  in_irq = [](int, siginfo_t* info, void*) {
    if (info->si_value.sival_int != 1) return;
    signals::raise_softirq(0);
    EXPECT_EQ(softirqs.size(), 0u);
  };
  in_softirq[0] = [] {
    EXPECT_FALSE(port->irqs_disabled());
    EXPECT_TRUE(port->bh_disabled());
    arrive(irq(0), 2);
    EXPECT_EQ(irqs.size(), 2u);
  };
  arrive(irq(0), 1);
  EXPECT_EQ(irqs.values(), (Values{1, 2}));
  EXPECT_EQ(softirqs.size(), 1u);
  EXPECT_EQ(softirqs[0].context, Context::softirq);
}

TEST_P(PortMaskTest, ASoftirqRunsAfterAReplay) {
  in_irq = [](int, siginfo_t*, void*) { signals::raise_softirq(0); };
  {
    IrqSection section;
    arrive(irq(0), 1);
  }
  EXPECT_EQ(softirqs.size(), 1u);
  EXPECT_EQ(softirqs[0].context, Context::softirq);
}

TEST_P(PortMaskTest, ASoftirqRaisedInATaskRunsAtOnce) {
  signals::raise_softirq(0);
  EXPECT_EQ(softirqs.size(), 1u);
  EXPECT_EQ(softirqs[0].context, Context::softirq);
}

TEST_P(PortMaskTest, ASoftirqWaitsForIrqsAndBottomHalves) {
  {
    IrqSection section;
    signals::raise_softirq(0);
    EXPECT_EQ(softirqs.size(), 0u);
  }
  EXPECT_EQ(softirqs.size(), 1u);
  port->bh_disable();
  port->bh_disable();
  signals::raise_softirq(0);
  arrive(irq(0));
  port->bh_enable();
  EXPECT_EQ(softirqs.size(), 1u);
  EXPECT_TRUE(port->bh_disabled());
  port->bh_enable();
  EXPECT_EQ(softirqs.size(), 2u);
  EXPECT_FALSE(port->bh_disabled());
  {
    IrqSection section;  // bottom halves on again, but irqs are not: the restore runs it
    port->bh_disable();
    signals::raise_softirq(0);
    port->bh_enable();
    EXPECT_EQ(softirqs.size(), 2u);
  }
  EXPECT_EQ(softirqs.size(), 3u);
}

TEST_P(PortMaskTest, SoftirqsRunInOrderOfTheirNumberAndOncePerRaise) {
  {
    IrqSection section;
    for (unsigned nr : {2u, 0u, 1u, 0u}) signals::raise_softirq(nr);
  }
  EXPECT_EQ(softirqs.values(), (Values{0, 1, 2}));
}

TEST_P(PortMaskTest, SoftirqsNeverNest) {
  static bool inside;
  leave_out(inside);
  inside = false;
  in_softirq[0] = [] {
    EXPECT_FALSE(std::exchange(inside, true));
    signals::raise_softirq(1);
    port->bh_disable();
    port->bh_enable();
    arrive(irq(0));
    {
      IrqSection section;
      arrive(irq(0));
      signals::raise_softirq(2);
    }
    EXPECT_EQ(softirqs.size(), 1u);
    inside = false;
  };
  in_irq = [](int, siginfo_t*, void*) { signals::raise_softirq(1); };
  signals::raise_softirq(0);
  EXPECT_EQ(softirqs.values(), (Values{0, 1, 2}));
  EXPECT_EQ(irqs.size(), 2u);
}

TEST_P(PortMaskTest, ASoftirqRaisedInAnNmiRunsAtTheNextRestore) {
  in_nmi = [](int, siginfo_t*, void*) {
    const unsigned before = softirqs.size();
    signals::raise_softirq(0);
    EXPECT_EQ(softirqs.size(), before);
  };
  {
    const IrqSection section;
    arrive(nmi());
    EXPECT_EQ(softirqs.size(), 0u);
  }
  EXPECT_EQ(softirqs.size(), 1u);
  arrive(nmi());  // in no section: at its exit
  EXPECT_EQ(softirqs.size(), 2u);
}

TEST_P(PortMaskTest, ASoftirqThatRaisesItselfGetsTenTurns) {
  in_softirq[0] = [] { signals::raise_softirq(0); };
  signals::raise_softirq(0);
  EXPECT_EQ(softirqs.size(), 10u);
  arrive(irq(0));
  EXPECT_EQ(softirqs.size(), 20u);
  in_softirq[0] = nullptr;
  arrive(irq(0));
  EXPECT_EQ(softirqs.size(), 21u);
}

TEST_P(PortMaskTest, AnUnknownSoftirqIsRefusedOrForgotten) {
  EXPECT_FALSE(signals::register_softirq(signals::kMaxSoftirqs, [] {}));
  signals::raise_softirq(signals::kMaxSoftirqs);
  signals::raise_softirq(31);  // nobody registered it
  EXPECT_EQ(softirqs.size(), 0u);
}

// What is left of an irq when its handler opened the class itself (ppoll() with a mask, say): the
// arrival in it was held back, and no irq_restore() is coming to look.
TEST_P(PortMaskTest, AnIrqHeldBackInAHandlerRunsAtItsExit) {
  in_irq = [](int, siginfo_t* info, void*) {
    if (info->si_value.sival_int != 1) return;
    real_mask(SIG_UNBLOCK, irq_class());
    arrive(irq(0), 2);
    EXPECT_EQ(irqs.size(), 1u);
  };
  arrive(irq(0), 1);
  EXPECT_EQ(irqs.values(), (Values{1, 2}));
}

TEST_P(PortMaskTest, AnIrqHeldBackInAnNmiRunsAtItsExit) {
  in_nmi = [](int, siginfo_t*, void*) {
    real_mask(SIG_UNBLOCK, irq_class());
    arrive(irq(0), 1);
    EXPECT_EQ(irqs.size(), 0u);
  };
  arrive(nmi());
  EXPECT_EQ(irqs.values(), (Values{1}));
  EXPECT_EQ(irqs[0].context, Context::hardirq);
  irqs.clear();
  {
    IrqSection section;  // but not if the section that it interrupted goes on
    arrive(nmi());
    EXPECT_EQ(irqs.size(), 0u);
  }
  EXPECT_EQ(irqs.values(), (Values{1}));
}

// ---- R9: waiting --------------------------------------------------------------------------------

TEST_P(PortMaskTest, WaitIrqRunsWhatWasHeldBack) {
  IrqSection section;
  arrive(irq(0), 1);
  in_section = 0;
  signals::wait_irq();
  EXPECT_EQ(irqs.values(), Values{1});
  EXPECT_TRUE(port->irqs_disabled());
}

void wait_until_asleep(pid_t thread) {
  while (!is_asleep(thread)) sched_yield();
}

// Sends irqs 1, 2, ... to this thread, each when it is asleep.
class SendsWhenAsleep {
 public:
  explicit SendsWhenAsleep(int count)
      : thread_([this, count, to = thread_id()] {
          real_mask(SIG_BLOCK, ~Mask{0});
          for (int i = 1; i <= count; ++i) {
            while (asked_ < i) sched_yield();
            wait_until_asleep(to);
            queue_to(to, irq(0), i);
          }
        }) {}
  ~SendsWhenAsleep() { thread_.join(); }
  SendsWhenAsleep(const SendsWhenAsleep&) = delete;
  SendsWhenAsleep& operator=(const SendsWhenAsleep&) = delete;
  void soon() { ++asked_; }

 private:
  std::atomic<int> asked_{0};
  std::thread thread_;
};

TEST_P(PortMaskTest, WaitIrqWakesAndRunsSoftirqsWithIrqsOn) {
  constexpr int kRounds = 20;
  in_irq = [](int signo, siginfo_t*, void*) {
    if (signo == irq(0)) signals::raise_softirq(0);
  };
  in_softirq[0] = [] {
    const unsigned before = irqs.size();
    arrive(irq(1));
    EXPECT_EQ(irqs.size(), before + 1);
  };
  SendsWhenAsleep sender(kRounds);
  for (unsigned i = 1; i <= kRounds; ++i) {
    const IrqSection section;
    in_section = 0;
    sender.soon();
    while (irqs.size() < 2 * i) signals::wait_irq();
    EXPECT_TRUE(port->irqs_disabled());
    EXPECT_EQ(real_mask() & irq_class(), 0u);
  }
  EXPECT_EQ(irqs.size(), 2u * kRounds);
  EXPECT_EQ(softirqs.size(), unsigned{kRounds});
}

TEST_P(PortMaskTest, WaitIrqKeepsTheProgramsBlocks) {
  real_mask(SIG_BLOCK, bit(irq(1)));
  {
    IrqSection section;
    arrive(irq(1), 2);
    arrive(irq(0), 1);
    in_section = 0;
    signals::wait_irq();
    EXPECT_EQ(irqs.values(), Values{1});
  }
  EXPECT_EQ(real_mask() & irq_class(), bit(irq(1)));
  real_mask(SIG_UNBLOCK, bit(irq(1)));
  EXPECT_EQ(irqs.values(), (Values{1, 2}));
}

TEST_P(PortMaskTest, AnArrivalInASectionInterruptsOneSleepAndLaterOnesNone) {
  SendsWhenAsleep sender(1);
  {
    const IrqSection section;
    const timespec minute{60, 0}, moment{0, 1'000'000};
    sender.soon();
    EXPECT_EQ(syscall(SYS_nanosleep, &minute, nullptr), -1);
    EXPECT_EQ(errno, EINTR);
    EXPECT_EQ(irqs.size(), 0u);  // though no handler ran
    arrive(irq(0), 2);           // the class is blocked now
    EXPECT_EQ(syscall(SYS_nanosleep, &moment, nullptr), 0);
  }
  EXPECT_EQ(irqs.values(), (Values{1, 2}));
}

// ---- R10: fork ----------------------------------------------------------------------------------

TEST_P(PortMaskTest, AForkedChildDropsWhatWasHeldBackAndUnmasks) {
  auto saved = port->irq_save();
  arrive(irq(0), 1);
  arrive(irq(0), 2);
  const pid_t child = fork();
  if (child == 0) {
    port->irq_restore(saved);
    const bool dropped = irqs.size() == 0, open = not_quiet().empty();
    arrive(irq(0), 3);
    {
      IrqSection section;
      arrive(irq(0), 4);
    }
    _exit((dropped ? 0 : 1) | (open ? 0 : 2) | (irqs.values() == Values{3, 4} ? 0 : 4));
  }
  port->irq_restore(saved);
  int status = -1;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  EXPECT_EQ(irqs.values(), (Values{1, 2}));
}

// ---- contexts and counts ------------------------------------------------------------------------

TEST_P(PortMaskTest, EveryLevelKnowsItsContextAndAProbeWhatItInterrupted) {
  static std::vector<Context> seen;
  seen.clear();
  seen.reserve(16);
  leave_out(seen);
  hosted::tsan_unchecked(seen.data(), 16 * sizeof seen[0]);
  install_probe(probe(), [](int, siginfo_t*, void*) { seen.push_back(port->context()); });
  in_softirq[0] = [] {
    arrive(probe());
    arrive(irq(0));
    arrive(probe());
  };
  in_irq = [](int, siginfo_t*, void*) {
    arrive(probe());
    arrive(nmi());
    arrive(probe());
  };
  in_nmi = [](int, siginfo_t*, void*) { arrive(probe()); };
  arrive(probe());
  signals::raise_softirq(0);
  arrive(probe());
  using enum Context;
  EXPECT_EQ(seen, (std::vector{task, softirq, hardirq, nmi, hardirq, softirq, task}));
  EXPECT_EQ(irqs[0].context, hardirq);
  EXPECT_EQ(nmis[0].context, nmi);
  EXPECT_EQ(softirqs[0].context, softirq);
}

TEST_P(PortMaskTest, NmisDoNotNest) {
  in_nmi = [](int signo, siginfo_t*, void*) {
    if (signo == nmi()) arrive(kPlainNmi);
    EXPECT_EQ(nmis.size(), signo == nmi() ? 1u : 2u);
  };
  arrive(nmi());
  EXPECT_EQ(nmis.size(), 2u);
}

TEST_P(PortMaskTest, CountsGoUpAndDown) {
  EXPECT_EQ(port->preempt_count(), 0u);
  port->preempt_disable();
  port->preempt_disable();
  port->migrate_disable();
  EXPECT_EQ(port->preempt_count(), 2u);
  EXPECT_EQ(port->migrate_count(), 1u);
  in_irq = [](int, siginfo_t*, void*) {
    port->preempt_disable();
    EXPECT_EQ(port->preempt_count(), 3u);
    port->preempt_enable();
  };
  arrive(irq(0));
  EXPECT_EQ(port->preempt_count(), 2u);
  port->migrate_enable();
  port->preempt_enable();
  port->preempt_enable();
  EXPECT_EQ(port->preempt_count(), 0u);
  EXPECT_EQ(port->migrate_count(), 0u);
}

// ---- misuse: reported in debug, without harm elsewhere ------------------------------------------

std::vector<Finding> in_debug(std::vector<Finding> f) {
  return port->config.debug ? f : std::vector<Finding>{};
}

TEST_P(PortMaskTest, EnablingIrqsInAnNmiDoesNothing) {
  in_nmi = [](int, siginfo_t*, void*) {
    port->irq_enable();
    EXPECT_TRUE(port->irqs_disabled()) << "with nothing held back, either";
  };
  {
    Findings findings;
    arrive(nmi());
    EXPECT_EQ(findings.all(), in_debug({Finding::irq_enable_in_nmi}));
  }
  Findings findings;
  in_nmi = [](int, siginfo_t*, void*) {
    port->irq_enable();
    EXPECT_TRUE(port->irqs_disabled());
    arrive(irq(0), 2);
    EXPECT_EQ(irqs.size(), 0u);
  };
  {
    IrqSection section;
    arrive(irq(0), 1);
    arrive(nmi());
    EXPECT_EQ(irqs.size(), 0u);
  }
  EXPECT_EQ(irqs.values(), (Values{1, 2}));
  EXPECT_EQ(findings.all(), in_debug({Finding::irq_enable_in_nmi}));
  if (findings.size()) {
    EXPECT_EQ(findings[0].context, Context::nmi);
    EXPECT_EQ(findings[0].config, port->config);
    EXPECT_STREQ(findings[0].call, "irq_enable");
    EXPECT_FALSE(findings[0].fatal);
  }
}

TEST_P(PortMaskTest, ARestoreInAnNmiOfAnOlderStateRunsNothingThere) {
  static std::uint32_t outer;
  leave_out(outer);
  Findings findings;
  in_nmi = [](int, siginfo_t*, void*) {
    port->irq_restore(outer);
    arrive(irq(0), 2);
    EXPECT_EQ(irqs.size(), 0u);
  };
  outer = port->irq_save();
  arrive(irq(0), 1);
  arrive(nmi());
  EXPECT_EQ(irqs.size(), 0u);
  port->irq_restore(outer);
  // A library with debug sees the handler out with another depth, and puts it right.
  const Finding then = kBuiltConfig.debug ? Finding::left_open : Finding::irq_unbalanced;
  EXPECT_EQ(findings.all(), in_debug({Finding::irq_enable_in_nmi, then}));
  if (port->config.debug && !kBuiltConfig.debug) hosted::irq_restore(0);  // the second was refused
  EXPECT_EQ(irqs.values(), (Values{1, 2}));
}

TEST_P(PortMaskTest, ARestoreWithoutASaveIsReported) {
  Findings findings;
  port->irq_restore(0);
  EXPECT_EQ(findings.all(), in_debug({Finding::irq_unbalanced}));
  EXPECT_FALSE(port->irqs_disabled());
  arrive(irq(0), 1);
  EXPECT_EQ(irqs.size(), 1u);
}

TEST_P(PortMaskTest, RestoresOutOfOrderAreReported) {
  Findings findings;
  const auto a = port->irq_save();
  const auto b = port->irq_save();
  port->irq_restore(a);  // unmasks: it is the outer one's state
  EXPECT_FALSE(port->irqs_disabled());
  port->irq_restore(b);
  const auto unbalanced = Finding::irq_unbalanced;
  EXPECT_EQ(findings.all(), in_debug({unbalanced, unbalanced}));
  EXPECT_FALSE(port->irqs_disabled());
}

TEST_P(PortMaskTest, AnEnableWithoutADisableIsReported) {
  Findings findings;
  port->preempt_enable();
  port->migrate_enable();
  const auto unbalanced = Finding::preempt_unbalanced;
  EXPECT_EQ(findings.all(), in_debug({unbalanced, unbalanced}));
  if (port->config.debug) {
    port->bh_enable();
    EXPECT_EQ(findings.size(), 3u);
    EXPECT_STREQ(findings[2].call, "bh_enable");
    EXPECT_EQ(port->preempt_count(), 0u);
  } else {
    port->preempt_disable();  // nothing but the count is wrong, and nobody asks for it
    port->migrate_disable();
  }
}

}  // namespace
}  // namespace nestlock::port_testing
