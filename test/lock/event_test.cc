// Event: signalled from each context, and no signal lost between handlers, threads and a waiter. No
// sleep here ends by its limit, so that a lost wake-up is a test that does not end. Every step on the
// simulator: explore_event_test. NESTLOCK_LONG=1: a million rounds.
#include "nestlock/lock/event.h"

#include <pthread.h>

#include <atomic>
#include <csignal>
#include <cstdlib>
#include <thread>
#include <vector>

#include "gtest/gtest.h"
#include "nestlock/lock/guard.h"
#include "nestlock/lock/raw_spinlock.h"
#include "test/support/findings.h"
#include "test/support/interrupts.h"
#include "test/support/kernels.h"

namespace nestlock::test_support {
namespace {

template <class K>
struct PatientPort : K::Port {
  static constexpr Parking kParking{.park_limit_ns = 3'600'000'000'000};  // an hour
};
template <class K>
using Patient = BasicEvent<KernelOf<K::kConfig, PatientPort<K>>>;

template <class K>
class EventTest : public InterruptTest {};
TYPED_TEST_SUITE(EventTest, AllKernels, KernelName);

TYPED_TEST(EventTest, IsSignalledAndTakenInEachContext) {
  Patient<TypeParam> event;
  EXPECT_FALSE(event.try_wait());
  for (Where where : kWheres) {
    interrupt(where, [&] { event.signal(), event.signal(); });
    event.wait();
    EXPECT_FALSE(event.try_wait()) << "two that nobody has taken are one, " << name_of(where);
    event.signal();
    interrupt(where, [&] { EXPECT_TRUE(event.try_wait()) << name_of(where); });
    EXPECT_FALSE(event.try_wait());
  }
}

TYPED_TEST(EventTest, WaitingInAHandlerIsReportedInDebug) {
  if constexpr (TypeParam::kConfig.debug) {
    Patient<TypeParam> event;
    event.signal();
    Findings findings;
    interrupt(Where::hardirq, [&] { event.wait(); });
    ASSERT_EQ(findings.all(), std::vector{Finding::wrong_context}) << findings.text();
    EXPECT_STREQ(findings[0].call, "wait");
  }
}

// The handler that would signal it could not come.
TYPED_TEST(EventTest, WaitingWithIrqsOffOrInARawSectionIsReportedInDebug) {
  if constexpr (TypeParam::kConfig.debug) {
    Patient<TypeParam> event;
    BasicRawSpinLock<TypeParam> lock;
    Findings findings;
    event.signal();
    {
      Guard g(lock, irq_save);
      event.wait();
    }
    ASSERT_EQ(findings.size(), 1u) << findings.text();
    event.signal();
    {
      Guard g(lock);
      event.wait();
    }
    ASSERT_EQ(findings.all(), (std::vector{Finding::wrong_context, Finding::wrong_context}))
        << findings.text();
    EXPECT_NE(findings.text().find("irqs off"), std::string::npos) << findings.text();
    event.signal();
    event.wait();
    EXPECT_EQ(findings.size(), 2u) << findings.text();
  }
}

unsigned rounds() {
  return std::getenv("NESTLOCK_LONG") ? 1'000'000 : nestlock::internal::kWithTsan ? 500 : 3'000;
}

// A round: the waiter asks, and another thread answers by a signal, whose handler on the waiter's own
// thread signals the event. Beside it nmis end sleeps for nothing.
template <Config kC>
void a_handler_signals() {
  static Patient<HostedKernel<kC>> event;
  set_default(Where::hardirq, [] { event.signal(); });
  set_default(Where::nmi, [] {});
  std::atomic<unsigned> asked{0};
  const unsigned n = rounds();
  std::thread storm([&, waiter = pthread_self()] {
    for (unsigned answered = 0; answered < n;) {
      if (answered % 3 == 0) pthread_kill(waiter, detail::kNmiSignal);
      if (asked.load() == answered) continue;
      ++answered;
      pthread_kill(waiter, detail::kIrqSignal);
    }
  });
  for (unsigned i = 0; i < n; ++i) {
    asked.fetch_add(1);
    event.wait();
  }
  storm.join();
  EXPECT_FALSE(event.try_wait());
  set_default(Where::hardirq, nullptr);
  set_default(Where::nmi, nullptr);
}

class EventStorm : public InterruptTest {};
TEST_F(EventStorm, NoHandlersSignalIsLostOnOneCpu) { a_handler_signals<configs::up>(); }
TEST_F(EventStorm, NorOnSeveral) { a_handler_signals<configs::smp>(); }

// Between threads: each waits for the other's event. Nobody's handler is there to end a sleep.
TEST(EventThreads, NoSignalIsLost) {
  Patient<HostedKernel<configs::smp>> ping, pong;
  unsigned turn = 0;  // no atomic: ThreadSanitizer checks the order
  const unsigned n = rounds();
  std::thread other([&] {
    for (unsigned i = 0; i < n; ++i) ping.wait(), ++turn, pong.signal();
  });
  for (unsigned i = 0; i < n; ++i) {
    ++turn;
    ping.signal();
    pong.wait();
    ASSERT_EQ(turn, 2 * (i + 1));
  }
  other.join();
}

// As many signals as waiters, each taken by one: nobody sleeps on while a signal stands.
TEST(EventThreads, EachSignalIsTakenByOneOfMany) {
  Patient<HostedKernel<configs::smp>> event, taken;
  const unsigned n = rounds() / 3 * 3;
  std::vector<std::thread> waiters;
  for (int w = 0; w < 3; ++w)
    waiters.emplace_back([&] {
      for (unsigned i = 0; i < n / 3; ++i) event.wait(), taken.signal();
    });
  for (unsigned i = 0; i < n; ++i) event.signal(), taken.wait();
  for (std::thread& w : waiters) w.join();
  EXPECT_FALSE(event.try_wait());
}

}  // namespace
}  // namespace nestlock::test_support
