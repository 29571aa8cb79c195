// The priority-inheriting lock's owner inherits, and a waiter that has no priority to lend naps first (P6 in
// lib/port/README.md).
#include <sched.h>

#include <cerrno>
#include <chrono>
#include <cstdio>
#include <ctime>
#include <thread>

#include "test/port/pi_testing.h"
#include "test/support/real_time.h"

namespace nestlock::port_testing {
namespace {

// ---- P6: priority inheritance -------------------------------------------------------------------

using test_support::become_realtime;

void burn(std::chrono::milliseconds of_cpu_time) {
  timespec t;
  const auto now = [&t] {
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return std::chrono::seconds(t.tv_sec) + std::chrono::nanoseconds(t.tv_nsec);
  };
  const auto end = now() + of_cpu_time;
  while (now() < end) {
  }
}

// Low holds the lock, middle hogs the one processor, high wants the lock. Whether high gets it
// while middle still has work to do; -1: real-time scheduling is not permitted.
int high_comes_before_middle(PiLock& lock) {
  using std::chrono::milliseconds;
  std::atomic<int> step{0}, refused{0}, started{0};
  std::atomic<bool> middle_done{false};
  int before = 0;
  const auto wait_for = [&step](int n) {
    while (step < n) std::this_thread::sleep_for(std::chrono::microseconds(200));
  };
  const auto start = [&](int priority) {
    if (!become_realtime(priority)) ++refused;
    ++started;
  };
  std::thread high([&] {
    start(30);
    wait_for(1);
    if (refused) return;
    step = 2;  // middle starts when this one sleeps
    EXPECT_EQ(lock.lock(), SleepResult::acquired);
    before = !middle_done;
    lock.unlock();
  });
  std::thread middle([&] {
    start(20);
    wait_for(2);
    if (refused) return;
    burn(milliseconds(200));
    middle_done = true;
  });
  std::thread low([&] {
    while (started < 2) std::this_thread::sleep_for(std::chrono::microseconds(200));
    start(10);
    if (refused) {
      step = 2;
      return;
    }
    EXPECT_EQ(lock.lock(), SleepResult::acquired);
    step = 1;
    burn(milliseconds(10));
    lock.unlock();
  });
  low.join(), middle.join(), high.join();
  return refused ? -1 : before;
}

TEST_F(PiLockTest, TheOwnerInheritsThePriorityOfTheWaiter) {
  for (const bool spins : {false, true}) {
    if (spins) wait_as_by_default();
    PiLock lock;
    const int result = high_comes_before_middle(lock);
    if (result < 0) {
      std::printf("skipped: SCHED_FIFO not permitted\n");
      return;
    }
    EXPECT_EQ(result, 1) << "high waited for middle" << (spins ? ", spinning first" : "");
  }
}

// How often that thread of this process has gone to sleep.
unsigned long sleeps_of(int tid) {
  char path[64], line[128];
  std::snprintf(path, sizeof path, "/proc/self/task/%d/status", tid);
  unsigned long n = 0;
  if (std::FILE* const f = std::fopen(path, "re")) {
    while (std::fgets(line, sizeof line, f) &&
           std::sscanf(line, "voluntary_ctxt_switches: %lu", &n) != 1) {
    }
    std::fclose(f);
  }
  return n;
}

// Whether a waiter, started on a held lock, goes to the kernel's queue; else it sleeps again and again.
bool enters_the_kernel(bool real_time) {
  PiLock lock;
  EXPECT_EQ(lock.lock(), SleepResult::acquired);
  std::atomic<int> waiter{0};  // its id, -1: real-time scheduling is not permitted
  std::thread thread([&] {
    waiter = real_time && !become_realtime(10) ? -1 : static_cast<int>(thread_id());
    errno = 7;
    EXPECT_EQ(lock.lock(), SleepResult::acquired);
    EXPECT_EQ(errno, 7);
    lock.unlock();
  });
  while (!waiter) sched_yield();
  bool entered = waiter == -1;
  if (!entered) {
    const unsigned long before = sleeps_of(waiter);
    while (!lock.is_contended() && sleeps_of(waiter) < before + 10) sched_yield();
    entered = lock.is_contended();
  } else {
    std::printf("skipped: SCHED_FIFO not permitted\n");
  }
  lock.unlock();
  thread.join();
  EXPECT_EQ(word_of(lock), 0u);
  return entered;
}

TEST_F(PiLockTest, AWaiterNapsBeforeItAsksTheKernelIfItHasNoPriorityToLend) {
  nap_only(~0u);
  const std::uint64_t before = entries();
  EXPECT_FALSE(enters_the_kernel(false));
  EXPECT_EQ(entries(), before);
  EXPECT_TRUE(enters_the_kernel(true));
  nap_only(3);
  EXPECT_TRUE(enters_the_kernel(false));
}

TEST_F(PiLockTest, ATimedWaitEndsAmongTheNaps) {
  nap_only(~0u);
  PiLock lock;
  ASSERT_EQ(lock.lock(), SleepResult::acquired);
  std::thread([&] {
    timespec end{};
    clock_gettime(CLOCK_MONOTONIC, &end);
    ++end.tv_sec;
    EXPECT_EQ(lock.lock_until(hosted::PiClock::monotonic, end), SleepResult::timeout);
    timespec now{};
    clock_gettime(CLOCK_MONOTONIC, &now);
    EXPECT_TRUE(now.tv_sec > end.tv_sec || now.tv_nsec >= end.tv_nsec);
  }).join();
  lock.unlock();
}

}  // namespace
}  // namespace nestlock::port_testing
