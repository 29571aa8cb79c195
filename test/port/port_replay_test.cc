// A replayed irq is the irq: its handler is called as the kernel would have called it, and what it
// leaves behind has the same effect; on which stack is port_replay_stack_test. Rule R11 of lib/port/README.md.
#include <sched.h>
#include <ucontext.h>

#include <cfenv>
#include <cstring>
#include <thread>

#include "test/port/replay_testing.h"

namespace nestlock::port_testing {
namespace {

using Values = std::vector<int>;

class PortReplayTest : public EachPortTest {};
INSTANTIATE_TEST_SUITE_P(All, PortReplayTest, each_port, name_of_port);

void change_mask_in(void* c, Mask add, Mask take) {
  Mask m;
  std::memcpy(&m, &context_of(c).uc_sigmask, sizeof m);
  m = (m | add) & ~take;
  std::memcpy(&context_of(c).uc_sigmask, &m, sizeof m);
}

// ---- floating point -----------------------------------------------------------------------------

int rounding_seen, flags_seen;
volatile double one = 1, three = 3;

TEST_P(PortReplayTest, AHandlerHasTheModesOfAStartAndLeavesThoseThatWere) {
  leave_out(rounding_seen, flags_seen);
  in_irq = [](int, siginfo_t*, void*) {
    rounding_seen = std::fegetround();
    flags_seen = std::fetestexcept(FE_ALL_EXCEPT);
    std::fesetround(FE_DOWNWARD);
    std::feraiseexcept(FE_OVERFLOW);
  };
  std::fenv_t before;
  std::fegetenv(&before);
  both_ways([](auto irq_comes) {
    std::fesetround(FE_UPWARD);
    std::feclearexcept(FE_ALL_EXCEPT);
    std::feraiseexcept(FE_DIVBYZERO);
    const double up = one / three;
    irq_comes();
    EXPECT_EQ(std::fegetround(), FE_UPWARD);
    EXPECT_EQ(std::fetestexcept(FE_DIVBYZERO | FE_OVERFLOW), FE_DIVBYZERO);
    EXPECT_EQ(one / three, up);
#if defined(__x86_64__)  // elsewhere the kernel leaves a handler what it interrupted
    EXPECT_EQ(rounding_seen, FE_TONEAREST);
    EXPECT_EQ(flags_seen, 0);
#endif
    std::fesetround(FE_TONEAREST);
    EXPECT_LT(one / three, up);
  });
  std::fesetenv(&before);
  EXPECT_EQ(irqs.size(), 2u);
}

#if defined(__x86_64__)
// As a handler does that lets a trapped instruction go on.
TEST_P(PortReplayTest, WhatAHandlerWritesIntoTheModesIsInEffect) {
  in_irq = [](int, siginfo_t*, void* c) {
    ASSERT_NE(context_of(c).uc_mcontext.fpregs, nullptr);
    std::uint32_t& mxcsr = context_of(c).uc_mcontext.fpregs->mxcsr;
    mxcsr = (mxcsr & ~0x6000u) | 0x2000u;  // down
    std::uint16_t& control = context_of(c).uc_mcontext.fpregs->cwd;
    control = static_cast<std::uint16_t>((control & ~0xc00u) | 0x400u);
  };
  std::fenv_t before;
  std::fegetenv(&before);
  both_ways([](auto irq_comes) {
    std::fesetround(FE_UPWARD);
    irq_comes();
    EXPECT_EQ(std::fegetround(), FE_DOWNWARD);
    volatile double third = one / three;
    EXPECT_LT(third * 3 - 1, 0);
  });
  std::fesetenv(&before);
}

// Several in one replay, and one that comes behind it: each starts anew, and finds what the one before
// has written.
TEST_P(PortReplayTest, HandlersOfOneReplayFollowOneAnother) {
  static std::uint32_t found[3];
  static int rounding[3];
  leave_out(found, rounding);
  in_irq = [](int, siginfo_t* info, void* c) {
    const int n = info->si_value.sival_int;
    std::uint32_t& mxcsr = context_of(c).uc_mcontext.fpregs->mxcsr;
    found[n] = mxcsr & 0x6000u;
    rounding[n] = std::fegetround();
    std::fesetround(FE_TOWARDZERO);
    mxcsr = (mxcsr & ~0x6000u) | 0x2000u;
  };
  // Its return opens the class, so that the second gets a slot, too; the third waits in the kernel.
  install_probe(probe(), [](int, siginfo_t*, void*) { arrive(irq(0), 0); });
  std::fenv_t before;
  std::fegetenv(&before);
  std::fesetround(FE_UPWARD);
  {
    IrqSection section;
    arrive(probe());
    arrive(irq(0), 1);
    arrive(irq(0), 2);
  }
  std::uint32_t now = 0;
  asm volatile("stmxcsr %0" : "=m"(now));
  std::fesetenv(&before);
  EXPECT_EQ(irqs.values(), (Values{0, 1, 2}));
  EXPECT_EQ(found[0], 0x4000u);
  for (int n = 0; n < 3; ++n) EXPECT_EQ(rounding[n], FE_TONEAREST) << n;
  for (int n = 1; n < 3; ++n) EXPECT_EQ(found[n], 0x2000u) << n;
  EXPECT_EQ(now & 0x6000u, 0x2000u);
}
#endif

// ---- the mask -----------------------------------------------------------------------------------

TEST_P(PortReplayTest, WhatAHandlerWritesIntoTheMaskIsInEffect) {
  in_irq = [](int, siginfo_t*, void* c) { change_mask_in(c, bit(SIGUSR2), bit(SIGWINCH)); };
  both_ways([](auto irq_comes) {
    real_mask(SIG_BLOCK, bit(SIGWINCH));
    irq_comes();
    EXPECT_EQ(real_mask() & (bit(SIGUSR2) | bit(SIGWINCH)), bit(SIGUSR2));
    real_mask(SIG_UNBLOCK, bit(SIGUSR2));
  });
}

TEST_P(PortReplayTest, WhatAHandlerBlocksByItselfEndsWithIt) {
  in_irq = [](int, siginfo_t*, void*) {
    real_mask(SIG_BLOCK, bit(SIGUSR2) | bit(irq(1)));
    real_mask(SIG_UNBLOCK, bit(SIGWINCH));
  };
  both_ways([](auto irq_comes) {
    real_mask(SIG_BLOCK, bit(SIGWINCH));
    irq_comes();
    EXPECT_EQ(real_mask() & (bit(SIGUSR2) | bit(SIGWINCH) | irq_class()), bit(SIGWINCH));
    real_mask(SIG_UNBLOCK, bit(SIGWINCH));
  });
}

// In its own class: what was held back behind it.
TEST_P(PortReplayTest, WhatAHandlerBlocksIsNotReplayed) {
  static int sent;
  leave_out(sent);
  sent = 0;
  in_irq = [](int signo, siginfo_t*, void* c) {
    if (signo == irq(0)) change_mask_in(c, bit(irq(1)), 0);
  };
  // Its return opens the class, so that each gets a slot.
  install_probe(probe(), [](int, siginfo_t*, void*) { arrive(irq(sent % 3), sent), ++sent; });
  {
    IrqSection section;
    for (int i = 0; i < 4; ++i) arrive(probe());
  }
  EXPECT_EQ(irqs.values(), (Values{0, 2, 3}));
  EXPECT_EQ(real_mask() & irq_class(), bit(irq(1)));
  real_mask(SIG_UNBLOCK, bit(irq(1)));
  EXPECT_EQ(irqs.values(), (Values{0, 2, 3, 1}));
}

TEST_P(PortReplayTest, AHandlerMayOpenWhatTheProgramHadBlockedOfItsClass) {
  in_irq = [](int signo, siginfo_t*, void* c) {
    if (signo == irq(0)) change_mask_in(c, 0, bit(irq(1)));
  };
  both_ways([](auto irq_comes) {
    irqs.clear();
    real_mask(SIG_BLOCK, bit(irq(1)));
    arrive(irq(1), 2);
    irq_comes();
    EXPECT_EQ(irqs.values(), (Values{1, 2}));
    EXPECT_EQ(real_mask() & irq_class(), 0u);
  });
}

TEST_P(PortReplayTest, WhatAHandlerWritesIsInEffectAfterAWait) {
  in_irq = [](int, siginfo_t*, void* c) {
    change_mask_in(c, bit(SIGUSR2) | bit(irq(1)), bit(SIGWINCH));
  };
  real_mask(SIG_BLOCK, bit(SIGWINCH));
  {
    const IrqSection section;
    arrive(irq(0), 1);
    in_section = 0;
    signals::wait_irq();
    EXPECT_EQ(irqs.size(), 1u);
  }
  const Mask now = real_mask();
  EXPECT_EQ(now & (irq_class() | bit(SIGUSR2) | bit(SIGWINCH)), bit(irq(1)) | bit(SIGUSR2));
  real_mask(SIG_UNBLOCK, now & (irq_class() | bit(SIGUSR2) | bit(SIGWINCH)));
}

TEST_P(PortReplayTest, WhatAHandlerWritesIsInEffectAfterAWaitThatSlept) {
  in_irq = [](int, siginfo_t*, void* c) { change_mask_in(c, bit(SIGUSR2), bit(SIGWINCH)); };
  std::atomic<bool> waits{false};
  leave_out(waits);
  std::thread sender([&waits, to = thread_id()] {
    real_mask(SIG_BLOCK, ~Mask{0});
    while (!waits) sched_yield();
    while (!is_asleep(to)) sched_yield();
    queue_to(to, irq(0), 1);
  });
  real_mask(SIG_BLOCK, bit(SIGWINCH));
  {
    const IrqSection section;
    in_section = 0;
    waits = true;
    while (irqs.size() == 0) signals::wait_irq();
  }
  sender.join();
  EXPECT_EQ(real_mask() & (irq_class() | bit(SIGUSR2) | bit(SIGWINCH)), bit(SIGUSR2));
  real_mask(SIG_UNBLOCK, bit(SIGUSR2) | bit(SIGWINCH));
}

// A handler sees the mask of the moment of its call, not that of its signal's arrival.
TEST_P(PortReplayTest, AHandlerSeesTheMaskOfTheProgram) {
  static Mask seen;
  leave_out(seen);
  in_irq = [](int, siginfo_t*, void* c) {
    std::memcpy(&seen, &context_of(c).uc_sigmask, sizeof seen);
  };
  sigset_t usr2;
  sigemptyset(&usr2), sigaddset(&usr2, SIGUSR2);
  {
    IrqSection section;
    arrive(irq(0), 1);
    ASSERT_EQ(signals::set_signal_mask(SIG_BLOCK, &usr2, nullptr), 0);
  }
  EXPECT_EQ(seen & (irq_class() | bit(SIGUSR2)), bit(SIGUSR2));
  EXPECT_EQ(real_mask() & (irq_class() | bit(SIGUSR2)), bit(SIGUSR2));
  ASSERT_EQ(signals::set_signal_mask(SIG_UNBLOCK, &usr2, nullptr), 0);
}

}  // namespace
}  // namespace nestlock::port_testing
