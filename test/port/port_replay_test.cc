// A replayed irq is the irq: its handler is called as the kernel would have called it, and what it
// leaves behind has the same effect. Rule R11 of lib/port/README.md.
#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <ucontext.h>

#include <algorithm>
#include <cfenv>
#include <climits>
#include <cstring>
#include <thread>

#include "test/port/port_testing.h"

namespace nestlock::port_testing {
namespace {

using Values = std::vector<int>;

class PortReplayTest : public EachPortTest {};
INSTANTIATE_TEST_SUITE_P(All, PortReplayTest, each_port, name_of_port);

// The same irq as the kernel delivers it, and held back by a section until its end.
template <class F>
void both_ways(F f) {
  {
    SCOPED_TRACE("delivered by the kernel");
    f([] { arrive(irq(0), 1); });
  }
  {
    SCOPED_TRACE("replayed");
    f([] {
      IrqSection section;
      arrive(irq(0), 1);
    });
  }
}

ucontext_t& context_of(void* c) { return *static_cast<ucontext_t*>(c); }
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

// ---- the alternate stack ------------------------------------------------------------------------

// ThreadSanitizer's handlers have stacks of their own (lib/port/README.md).
constexpr bool kOnItsOwn = internal::kWithTsan;

struct AlternateStack {
  static constexpr std::size_t kSize = std::size_t{256} << 10;
  explicit AlternateStack(int flags = 0) {
    memory = static_cast<char*>(
        mmap(nullptr, kSize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    stack_t now{};
    now.ss_sp = memory, now.ss_size = kSize, now.ss_flags = flags;
    EXPECT_EQ(sigaltstack(&now, &before), 0);
  }
  ~AlternateStack() {
    EXPECT_EQ(sigaltstack(&before, nullptr), 0);
    munmap(memory, kSize);
  }
  AlternateStack(const AlternateStack&) = delete;
  AlternateStack& operator=(const AlternateStack&) = delete;
  bool holds(const void* p) const { return p >= memory && p < memory + kSize; }

  char* memory;
  stack_t before{};
};

constexpr int kAutoDisarm = static_cast<int>(1u << 31);  // SS_AUTODISARM

const void *irq_frame, *nmi_frame, *softirq_frame;

TEST_P(PortReplayTest, AHandlerRunsOnTheAlternateStackThatItsThreadHas) {
  if (kOnItsOwn) GTEST_SKIP() << "ThreadSanitizer";
  leave_out(irq_frame, softirq_frame);
  in_irq = [](int, siginfo_t*, void*) {
    irq_frame = __builtin_frame_address(0);
    signals::raise_softirq(0);
  };
  in_softirq[0] = [] { softirq_frame = __builtin_frame_address(0); };
  both_ways([](auto irq_comes) {
    stack_t none{};
    none.ss_flags = SS_DISABLE;
    stack_t before;
    ASSERT_EQ(sigaltstack(&none, &before), 0);
    irq_comes();
    char* const here = static_cast<char*>(__builtin_frame_address(0));
    EXPECT_LT(here - static_cast<const char*>(irq_frame), 1 << 20);
    ASSERT_EQ(sigaltstack(&before, nullptr), 0);

    const AlternateStack stack;
    irq_frame = softirq_frame = nullptr;
    irq_comes();
    EXPECT_TRUE(stack.holds(irq_frame));
    EXPECT_TRUE(stack.holds(softirq_frame));
    stack_t now;
    ASSERT_EQ(sigaltstack(nullptr, &now), 0);
    EXPECT_EQ(now.ss_flags, 0);
  });
}

// What interrupts the handler goes on below it, on the same stack.
TEST_P(PortReplayTest, AnNmiThatInterruptsAReplayedHandlerDamagesNothing) {
  if (kOnItsOwn) GTEST_SKIP() << "ThreadSanitizer";
  leave_out(irq_frame, nmi_frame);
  in_irq = [](int, siginfo_t*, void*) {
    volatile unsigned char own[4096];
    for (unsigned i = 0; i < sizeof own; ++i) own[i] = static_cast<unsigned char>(i * 7);
    irq_frame = __builtin_frame_address(0);
    arrive(nmi(), 2);
    for (unsigned i = 0; i < sizeof own; ++i)
      ASSERT_EQ(own[i], static_cast<unsigned char>(i * 7)) << i;
  };
  in_nmi = [](int, siginfo_t*, void*) {
    volatile unsigned char own[8192];
    for (unsigned i = 0; i < sizeof own; ++i) own[i] = 0xff;
    nmi_frame = __builtin_frame_address(0);
  };
  both_ways([](auto irq_comes) {
    const AlternateStack stack;
    irq_frame = nmi_frame = nullptr;
    irq_comes();
    EXPECT_TRUE(stack.holds(irq_frame));
    EXPECT_TRUE(stack.holds(nmi_frame));
    EXPECT_LT(nmi_frame, irq_frame);
  });
  EXPECT_EQ(nmis.size(), 2u);
}

// SS_AUTODISARM: while a handler runs its thread has no alternate stack, so that what interrupts it
// stays on this one.
TEST_P(PortReplayTest, AStackThatDisarmsItselfIsDisarmedAndArmedAgain) {
  if (kOnItsOwn) GTEST_SKIP() << "ThreadSanitizer";
  static stack_t during;
  leave_out(irq_frame, nmi_frame, during);
  in_irq = [](int, siginfo_t*, void*) {
    irq_frame = __builtin_frame_address(0);
    sigaltstack(nullptr, &during);
    arrive(nmi(), 2);
  };
  in_nmi = [](int, siginfo_t*, void*) { nmi_frame = __builtin_frame_address(0); };
  both_ways([](auto irq_comes) {
    const AlternateStack stack(kAutoDisarm);
    irq_frame = nmi_frame = nullptr, during = {};
    irq_comes();
    EXPECT_TRUE(stack.holds(irq_frame));
    EXPECT_TRUE(during.ss_flags & SS_DISABLE);
    EXPECT_LT(nmi_frame, irq_frame);
    stack_t now{};
    ASSERT_EQ(sigaltstack(nullptr, &now), 0);
    EXPECT_EQ(now.ss_sp, stack.memory);
    EXPECT_EQ(now.ss_flags, kAutoDisarm);
  });
}

// The reason for it: code on a stack where no handler has room.
TEST_P(PortReplayTest, AStackWithoutRoomIsNotUsed) {
  if (kOnItsOwn || !kBuiltConfig.smp) GTEST_SKIP() << "a thread besides, and its alternate stack";
  in_irq = [](int, siginfo_t*, void*) {
    volatile char much[128 << 10];
    much[0] = 1;
    much[sizeof much - 1] = 1;
  };
  pthread_attr_t small;
  pthread_attr_init(&small);
  const std::size_t size = std::max<std::size_t>(64 << 10, PTHREAD_STACK_MIN);  // AArch64: 128 KiB
  ASSERT_EQ(pthread_attr_setstacksize(&small, size), 0);
  static unsigned handled;
  handled = 0;
  const auto body = [](void*) -> void* {
    const AlternateStack stack;
    {
      IrqSection section;
      arrive(irq(0), 1);
    }
    handled = irqs.size();
    return nullptr;
  };
  pthread_t thread;
  ASSERT_EQ(pthread_create(&thread, &small, body, nullptr), 0);
  pthread_join(thread, nullptr);
  pthread_attr_destroy(&small);
  EXPECT_EQ(handled, 1u);
}

#if defined(__aarch64__)

// Registers that find no room in the kernel's frame: it says where they lie, on a stack that is gone when the irq
// is replayed.
TEST_P(PortReplayTest, AContextSaysNothingOfWhatIsGone) {
  constexpr int kLong = 256;  // bytes of a vector register, the longest there is
  const int before = prctl(PR_SVE_GET_VL);
  if (before < 0) GTEST_SKIP() << "a processor without SVE";
  ASSERT_GE(prctl(PR_SVE_SET_VL, kLong), 0);
  if ((prctl(PR_SVE_GET_VL) & PR_SVE_VL_LEN_MASK) < 128)
    GTEST_SKIP() << "the processor's vector registers are short";
  static unsigned records, outside;
  in_irq = [](int, siginfo_t*, void* c) {
    records = outside = 0;
    const auto& all = context_of(c).uc_mcontext.__reserved;
    _aarch64_ctx record{};
    for (std::size_t at = 0; at + sizeof record <= sizeof all; at += record.size) {
      std::memcpy(&record, all + at, sizeof record);
      if (record.size < sizeof record) break;
      records += 1;
      outside += record.magic == EXTRA_MAGIC;
    }
  };
  arrive(irq(0), 1);
  EXPECT_GT(records, 1u);
  EXPECT_EQ(outside, 1u) << "the frame had room for all: nothing was shown";
  {
    IrqSection section;
    arrive(irq(0), 2);
  }
  EXPECT_GT(records, 0u);
  EXPECT_EQ(outside, 0u);
  prctl(PR_SVE_SET_VL, before & PR_SVE_VL_LEN_MASK);
}

#endif

}  // namespace
}  // namespace nestlock::port_testing
