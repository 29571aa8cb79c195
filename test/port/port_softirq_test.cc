// Softirqs and waiting, of the lazy mask of irqs: rules R8 and R9 of lib/port/README.md.
#include <sched.h>

#include <cerrno>
#include <ctime>
#include <thread>
#include <utility>

#include "test/port/port_testing.h"

namespace nestlock::port_testing {
namespace {

using Values = std::vector<int>;

class PortSoftirqTest : public EachPortTest {};
INSTANTIATE_TEST_SUITE_P(All, PortSoftirqTest, each_port, name_of_port);

// ---- R8: softirqs -------------------------------------------------------------------------------

TEST_P(PortSoftirqTest, ASoftirqRunsAtAnIrqsExitWithIrqsOn) {
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

TEST_P(PortSoftirqTest, ASoftirqRunsAfterAReplay) {
  in_irq = [](int, siginfo_t*, void*) { signals::raise_softirq(0); };
  {
    IrqSection section;
    arrive(irq(0), 1);
  }
  EXPECT_EQ(softirqs.size(), 1u);
  EXPECT_EQ(softirqs[0].context, Context::softirq);
}

TEST_P(PortSoftirqTest, ASoftirqRaisedInATaskRunsAtOnce) {
  signals::raise_softirq(0);
  EXPECT_EQ(softirqs.size(), 1u);
  EXPECT_EQ(softirqs[0].context, Context::softirq);
}

TEST_P(PortSoftirqTest, ASoftirqWaitsForIrqsAndBottomHalves) {
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

TEST_P(PortSoftirqTest, SoftirqsRunInOrderOfTheirNumberAndOncePerRaise) {
  {
    IrqSection section;
    for (unsigned nr : {2u, 0u, 1u, 0u}) signals::raise_softirq(nr);
  }
  EXPECT_EQ(softirqs.values(), (Values{0, 1, 2}));
}

TEST_P(PortSoftirqTest, SoftirqsNeverNest) {
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

TEST_P(PortSoftirqTest, ASoftirqRaisedInAnNmiRunsAtTheNextRestore) {
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

TEST_P(PortSoftirqTest, ASoftirqThatRaisesItselfGetsTenTurns) {
  in_softirq[0] = [] { signals::raise_softirq(0); };
  signals::raise_softirq(0);
  EXPECT_EQ(softirqs.size(), 10u);
  arrive(irq(0));
  EXPECT_EQ(softirqs.size(), 20u);
  in_softirq[0] = nullptr;
  arrive(irq(0));
  EXPECT_EQ(softirqs.size(), 21u);
}

TEST_P(PortSoftirqTest, AnUnknownSoftirqIsRefusedOrForgotten) {
  EXPECT_FALSE(signals::register_softirq(signals::kMaxSoftirqs, [] {}));
  signals::raise_softirq(signals::kMaxSoftirqs);
  signals::raise_softirq(31);  // nobody registered it
  EXPECT_EQ(softirqs.size(), 0u);
}

// What is left of an irq when its handler opened the class itself (ppoll() with a mask, say): the
// arrival in it was held back, and no irq_restore() is coming to look.
TEST_P(PortSoftirqTest, AnIrqHeldBackInAHandlerRunsAtItsExit) {
  in_irq = [](int, siginfo_t* info, void*) {
    if (info->si_value.sival_int != 1) return;
    real_mask(SIG_UNBLOCK, irq_class());
    arrive(irq(0), 2);
    EXPECT_EQ(irqs.size(), 1u);
  };
  arrive(irq(0), 1);
  EXPECT_EQ(irqs.values(), (Values{1, 2}));
}

TEST_P(PortSoftirqTest, AnIrqHeldBackInAnNmiRunsAtItsExit) {
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

TEST_P(PortSoftirqTest, WaitIrqRunsWhatWasHeldBack) {
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

TEST_P(PortSoftirqTest, WaitIrqWakesAndRunsSoftirqsWithIrqsOn) {
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

TEST_P(PortSoftirqTest, WaitIrqKeepsTheProgramsBlocks) {
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

TEST_P(PortSoftirqTest, AnArrivalInASectionInterruptsOneSleepAndLaterOnesNone) {
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

}  // namespace
}  // namespace nestlock::port_testing
