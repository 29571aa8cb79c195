// The SMP word that parks its waiters, between real threads and with the real kernel: how often a
// waiter is passed, whom a release wakes, and what signals do to those who wait. Who leaves is park_left_test.
#include <pthread.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <thread>
#include <vector>

#include "gtest/gtest.h"
#include "test/lock/park_testing.h"
#include "test/support/interrupts.h"

namespace nestlock::test_support {
namespace {

// ---- who is passed, and who is woken ------------------------------------------------------------

// The caller takes the lock by lock() again and again while others wait, until `enough` of them are through. A
// head that naps leaves it the time for thousands of turns.
struct Passed {
  std::vector<unsigned> turns, order;  // of each waiter: how many there had been; who came when
};
template <class Port>
Passed pass_by(unsigned waiters, unsigned enough, auto section) {
  WordOn<Port> word;
  std::atomic<unsigned> turns{0}, through{0};
  Passed passed{std::vector<unsigned>(waiters), std::vector<unsigned>(waiters)};
  word.acquire();
  {
    const Waiters<Port> all(word, waiters, [&](unsigned i) {
      passed.turns[i] = turns.load();
      passed.order[through.load()] = i;
      through.fetch_add(1);
    });
    while (through.load() < enough) {
      section();
      word.release();
      word.acquire();
      turns.fetch_add(1);
    }
    word.release();
  }
  EXPECT_FALSE(word.held() || word.contended());
  return passed;
}

TEST(ParkLock, AWaiterIsPassedOnlySoOften) {
  constexpr unsigned kPasses = 10, kWaiters = 4;
  using Port = CountedPort<Parking{.passes = kPasses, .park_limit_ns = kMinute}>;
  for (unsigned round = 0; round < 20 / kLess; ++round) {
    const Passed passed = pass_by<Port>(kWaiters, kWaiters, [] {});
    for (unsigned i = 0; i < kWaiters; ++i) {
      EXPECT_LE(passed.turns[i], (i + 1) * kPasses) << "waiter " << i;
      EXPECT_EQ(passed.order[i], i);
    }
  }
}

// Sections may be long: then time bounds it, too. Far fewer than the passes that there are; without a hurry
// each of them would be taken.
TEST(ParkLock, AHeadThatHasWaitedLongIsPassedNoMore) {
  constexpr unsigned kPasses = 30'000, kFew = 10'000, kWaiters = 3;
  using Port =
      CountedPort<Parking{.passes = kPasses, .park_limit_ns = kMinute, .turn_us = 3'600'000'000}>;
  const Passed passed = pass_by<Port>(kWaiters, kWaiters, [] { usleep(100); });
  for (unsigned i = 0; i < kWaiters; ++i)
    EXPECT_LE(passed.turns[i], (i + 1) * kFew) << "waiter " << i;
}

// Turns of no length: while others sleep, a head is passed until somebody looks at the clock, which the first of
// 32 passes does. (The head naps in a section, and is never in a hurry, which would end that, too.)
TEST(ParkLock, WhoHasHadItsTurnPassesNoMore) {
  constexpr unsigned kWaiters = 5;
  using Port = CountedPort<Parking{
      .passes = 30'000, .longest_nap_ns = kMinute, .park_limit_ns = kMinute, .turn_us = 0}>;
  const Passed passed = pass_by<Port>(kWaiters, kWaiters - 1, [] { usleep(100); });
  for (unsigned i = 0; i + 1 < kWaiters; ++i)
    EXPECT_LE(passed.turns[i], (i + 1) * 32) << "waiter " << i;
}

TEST(ParkLock, UncontendedNobodyCallsTheKernel) {
  using Port = CountedPort<Parking{}>;
  WordOn<Port> word;
  Port::forget();
  for (unsigned i = 0; i < 1000; ++i) {
    word.acquire();
    word.release();
    ASSERT_TRUE(word.try_acquire());
    ASSERT_FALSE(word.try_acquire());
    word.release();
  }
  EXPECT_EQ(Port::slept + Port::woke + Port::asked + Port::called, 0u);
}

// One is woken for each head that is through, and nobody sleeps twice.
TEST(ParkLock, AReleaseWakesOneSleeper) {
  using Port = CountedPort<Parking{.park_limit_ns = kMinute}>;
  constexpr unsigned kWaiters = 6;
  WordOn<Port> word;
  word.acquire();
  {
    const Waiters<Port> all(word, kWaiters, [](unsigned) {});
    EXPECT_EQ(Port::woke, 0u);
    word.release();
  }
  EXPECT_EQ(Port::woke, kWaiters - 1);
  EXPECT_EQ(Port::slept, kWaiters - 1);
  EXPECT_FALSE(word.held() || word.contended());
}

// ---- many threads, and signals ------------------------------------------------------------------

// Sections under signals whose handlers try the same lock; ends, and every section counted once.
template <class Port>
void crowd(unsigned threads, unsigned rounds, bool signals) {
  // One that comes by itself could interrupt the tool's runtime, which dies of it now and then.
  if (nestlock::internal::kWithTsan) signals = false;
  static WordOn<Port> word;
  static std::atomic<unsigned> inside{0}, by_handler{0}, handled{0};
  static std::atomic<bool> two{false};
  by_handler = handled = 0;
  unsigned long counter = 0;  // no atomic: TSan checks the order, the sum checks exclusion
  const auto visit = [] {
    if (inside.fetch_add(1, std::memory_order_relaxed) != 0) two = true;
    inside.fetch_sub(1, std::memory_order_relaxed);
  };
  set_default(Where::probe, [] {
    ++handled;
    if (!word.try_acquire()) return;
    if (inside.fetch_add(1, std::memory_order_relaxed) != 0) two = true;
    inside.fetch_sub(1, std::memory_order_relaxed);
    word.release();
    ++by_handler;
  });
  std::atomic<unsigned> running{threads};
  std::atomic<bool> go_home{false};
  std::vector<std::thread> all;
  word.acquire();
  for (unsigned t = 0; t < threads; ++t)
    all.emplace_back([&] {
      for (unsigned i = 0; i < rounds; ++i) {
        word.acquire();
        visit(), ++counter;
        word.release();
      }
      running.fetch_sub(1);
      wait_until([&] { return go_home.load(); });
    });
  wait_until([&] { return sleepers(&word) == threads - 1; });
  if (signals) {
    for (std::thread& t : all) pthread_kill(t.native_handle(), detail::kProbeSignal);
    wait_until([&] { return handled.load() == threads; });
  }
  word.release();
  for (unsigned i = 0; running.load() != 0; ++i) {
    if (signals) pthread_kill(all[i % threads].native_handle(), detail::kProbeSignal);
    std::this_thread::sleep_for(std::chrono::microseconds(50));
  }
  go_home = true;
  for (std::thread& t : all) t.join();
  set_default(Where::probe, nullptr);
  EXPECT_FALSE(two);
  EXPECT_EQ(counter, 1ul * threads * rounds);
  EXPECT_FALSE(word.held());
}

class ParkCrowd : public InterruptTest {};

// Few passes: the kernel is asked all the time.
constexpr Parking kBusy{.looks = 5, .passes = 2, .park_limit_ns = kMinute};

TEST_F(ParkCrowd, EachHasItsTurns) {
  using Port = CountedPort<kBusy>;
  Port::forget();
  crowd<Port>(16, 1000 / kLess, false);
  EXPECT_GE(Port::slept, 15u);
  EXPECT_GT(Port::called, 0u);
}
TEST_F(ParkCrowd, SignalsLoseNoWakeUp) { crowd<CountedPort<kBusy>>(8, 5000 / kLess, true); }
TEST_F(ParkCrowd, WithoutTheRequeueToItself) {
  crowd<CountedPort<kBusy, false>>(8, 5000 / kLess, true);
}
TEST_F(ParkCrowd, TwoHundredThreads) {
  crowd<CountedPort<Parking{.park_limit_ns = kMinute}>>(200, 50 / kLess, false);
}

// A waiter with irqs off: what arrives in its sleep ends that, is held back, and runs at its end.
TEST_F(ParkCrowd, AnIrqThatComesInTheSleepOfAMaskedWaiter) {
  using Port = CountedPort<Parking{.park_limit_ns = kMinute}>;
  static std::atomic<unsigned> irqs{0};
  irqs = 0;
  Port::forget();
  WordOn<Port> word;
  set_default(Where::hardirq, [] { ++irqs; });
  word.acquire();
  std::atomic<unsigned> seen{~0u};
  {
    std::thread head([&] { word.acquire(), word.release(); });
    wait_until([&] { return word.contended(); });
    std::thread masked([&] {
      const auto flags = Port::irq_save();
      word.acquire();
      seen = irqs.load();
      word.release();
      Port::irq_restore(flags);
    });
    wait_until([&] { return sleepers(&word) == 1; });
    pthread_kill(masked.native_handle(), detail::kIrqSignal);
    wait_until([&] { return Port::slept == 1; });  // by the signal alone
    word.release();
    head.join(), masked.join();
  }
  set_default(Where::hardirq, nullptr);
  EXPECT_EQ(seen, 0u);
  EXPECT_EQ(irqs, 1u);
  EXPECT_EQ(Port::woke, 0u);
}

}  // namespace
}  // namespace nestlock::test_support
