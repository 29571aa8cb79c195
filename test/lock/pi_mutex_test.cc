// PiMutex: what the standard's locks and condition variables ask of it, its times, and inheritance.
#include "nestlock/pi_mutex.h"

#include <sched.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <mutex>
#include <thread>
#include <vector>

#include "gtest/gtest.h"
#include "test/support/findings.h"
#include "test/support/real_time.h"

namespace nestlock::test_support {
namespace {

using namespace std::chrono_literals;
static_assert(sizeof(PiMutex) == 4);

// A clock that the standard does not know.
struct OtherClock {
  using duration = std::chrono::milliseconds;
  using rep = duration::rep;
  using period = duration::period;
  using time_point = std::chrono::time_point<OtherClock>;
  [[maybe_unused]] static constexpr bool is_steady = true;
  static time_point now() {
    return time_point(
        std::chrono::duration_cast<duration>(std::chrono::steady_clock::now().time_since_epoch()));
  }
};

template <class F>
void while_another_owns(PiMutex& m, F f) NESTLOCK_NO_TSA {
  std::atomic<unsigned> at{0};
  std::thread other([&]() NESTLOCK_NO_TSA {
    m.lock();
    at = 1;
    while (at != 2) sched_yield();
    m.unlock();
  });
  while (at != 1) sched_yield();
  f();
  at = 2;
  other.join();
}

// That a wait ends is what is tested; not before its time is.
TEST(PiMutex, TimedFormsEndAndNotBeforeTheirTime) {
  PiMutex m;
  while_another_owns(m, [&]() NESTLOCK_NO_TSA {
    EXPECT_FALSE(m.try_lock());
    EXPECT_FALSE(m.try_lock_for(-1h));
    EXPECT_FALSE(m.try_lock_until(std::chrono::system_clock::time_point::min()));
    EXPECT_FALSE(m.try_lock_until(std::chrono::steady_clock::time_point{}));
    const auto each = [&](auto now, auto wait) {
      const auto end = now() + 3ms;
      EXPECT_FALSE(wait(end));
      EXPECT_GE(now(), end);
    };
    const auto until = [&](auto end) NESTLOCK_NO_TSA { return m.try_lock_until(end); };
    each([] { return std::chrono::steady_clock::now(); }, until);
    each([] { return std::chrono::system_clock::now(); }, until);
    each([] { return OtherClock::now(); }, until);
    each([] { return std::chrono::steady_clock::now(); },
         [&](auto) NESTLOCK_NO_TSA { return m.try_lock_for(3ms); });
  });
  EXPECT_TRUE(m.try_lock_for(std::chrono::hours::max()));
  EXPECT_FALSE(m.try_lock());
  m.unlock();
}

TEST(PiMutex, AWaiterWithTimeGetsIt) {
  PiMutex m;
  std::atomic<bool> waits{false};
  m.lock();
  std::thread waiter([&]() NESTLOCK_NO_TSA {
    waits = true;
    ASSERT_TRUE(m.try_lock_for(1h));
    m.unlock();
  });
  while (!waits) sched_yield();
  m.unlock();
  waiter.join();
}

TEST(PiMutex, TheStandardsLocksAndConditionVariablesTakeIt) {
  PiMutex a, b;
  std::condition_variable_any changed;
  unsigned turns = 0;
  constexpr unsigned kTurns = 200;
  const auto plays = [&](unsigned parity) {
    while (true) {
      std::unique_lock<PiMutex> held(a);
      changed.wait(held, [&] { return turns % 2 == parity || turns >= kTurns; });
      if (turns >= kTurns) break;
      ++turns;
      changed.notify_one();
    }
    changed.notify_one();
    for (unsigned i = 0; i < 100; ++i) {
      if (parity)
        std::scoped_lock both(a, b);
      else
        std::scoped_lock both(b, a);
    }
  };
  std::thread other(plays, 1);
  plays(0);
  other.join();
  EXPECT_EQ(turns, kTurns);
  std::unique_lock<PiMutex> held(a, 1ms);
  EXPECT_TRUE(held.owns_lock());
}

TEST(PiMutex, WhatTheStandardLeavesUndefinedIsReported) {
  PiMutex m;
  m.lock();
  const Outcome o = in_child([&]() NESTLOCK_NO_TSA { m.lock(); });
  m.unlock();
  EXPECT_TRUE(o.died) << o.text();
  ASSERT_EQ(o.reports.size(), 1u) << o.text();
  EXPECT_EQ(o.reports[0].finding, Finding::deadlock);
  EXPECT_STREQ(o.reports[0].type, "PiMutex");
}

// The kernel's word on the priority at which a thread runs, inheritance included; 0: not known.
long priority_of(pid_t tid) {
  char name[64];
  std::snprintf(name, sizeof name, "/proc/self/task/%d/stat", tid);
  std::FILE* const f = std::fopen(name, "r");
  if (!f) return 0;
  long priority = 0;
  std::fscanf(f, "%*d (%*[^)]) %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %ld",
              &priority);
  std::fclose(f);
  return priority;
}

// A waiter of priority 20, with a time or without, lends it to the owner: the kernel shows -21.
TEST(PiMutex, AWaiterLendsItsPriority) {
  for (const bool timed : {false, true}) {
    PiMutex m;
    std::atomic<int> refused{0};
    m.lock();
    const pid_t owner = static_cast<pid_t>(hosted::thread_id());
    std::thread waiter([&]() NESTLOCK_NO_TSA {
      refused = test_support::become_realtime(20) ? -1 : 1;
      if (refused == 1) return;
      if (timed)
        EXPECT_TRUE(m.try_lock_for(1h));
      else
        m.lock();
      m.unlock();
    });
    while (!refused) sched_yield();
    while (refused == -1 && priority_of(owner) != -21) sched_yield();
    m.unlock();
    waiter.join();
    if (refused == 1) GTEST_SKIP() << "SCHED_FIFO is not permitted here";
  }
}

}  // namespace
}  // namespace nestlock::test_support
