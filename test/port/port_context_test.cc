// Contexts and counts, and misuse of the masks: reported in debug, without harm elsewhere.
#include <vector>

#include "test/port/port_testing.h"

namespace nestlock::port_testing {
namespace {

using Values = std::vector<int>;

class PortContextTest : public EachPortTest {};
INSTANTIATE_TEST_SUITE_P(All, PortContextTest, each_port, name_of_port);

// ---- contexts and counts ------------------------------------------------------------------------

TEST_P(PortContextTest, EveryLevelKnowsItsContextAndAProbeWhatItInterrupted) {
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

TEST_P(PortContextTest, NmisDoNotNest) {
  in_nmi = [](int signo, siginfo_t*, void*) {
    if (signo == nmi()) arrive(kPlainNmi);
    EXPECT_EQ(nmis.size(), signo == nmi() ? 1u : 2u);
  };
  arrive(nmi());
  EXPECT_EQ(nmis.size(), 2u);
}

TEST_P(PortContextTest, CountsGoUpAndDown) {
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

TEST_P(PortContextTest, EnablingIrqsInAnNmiDoesNothing) {
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

TEST_P(PortContextTest, ARestoreInAnNmiOfAnOlderStateRunsNothingThere) {
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

TEST_P(PortContextTest, ARestoreWithoutASaveIsReported) {
  Findings findings;
  port->irq_restore(0);
  EXPECT_EQ(findings.all(), in_debug({Finding::irq_unbalanced}));
  EXPECT_FALSE(port->irqs_disabled());
  arrive(irq(0), 1);
  EXPECT_EQ(irqs.size(), 1u);
}

TEST_P(PortContextTest, RestoresOutOfOrderAreReported) {
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

TEST_P(PortContextTest, AnEnableWithoutADisableIsReported) {
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
