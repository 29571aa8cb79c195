// The lazy mask of irqs: what is held back, when and in which order it is replayed, and what of the
// thread's state survives it. The rules R1..R11 are in lib/port/README.md (R8 and R9 are port_softirq_test, and
// of R11 port_replay_test has more); that they hold after every instruction is port_sweep_test.
#include <sys/resource.h>
#include <sys/wait.h>
#include <ucontext.h>

#include <cerrno>
#include <cstring>

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

}  // namespace
}  // namespace nestlock::port_testing
