// The turns of those who wait for a priority-inheriting lock (nestlock/port/hosted_pi_turn.h): first
// come first served, also past who gives the lock back and asks again; and what is left there by a thread that
// is gone holds nobody up for longer than it says.
#include <linux/futex.h>
#include <time.h>

#include <atomic>
#include <thread>
#include <vector>

#include "gtest/gtest.h"
#include "nestlock/port/hosted.h"
#include "test/port/port_testing.h"

namespace nestlock {
namespace {

using hosted::kRelaxed;
using hosted::PiLock;
using port_testing::is_asleep;

hosted::PiWaiting& waiting() { return hosted::process().pi_waiting; }

// Each library has one, of 18 KiB in that to preload. Of static storage it takes no room in its file, nor memory for
// what is not used.
TEST(PiTurnsProcess, IsZeroUntilItIsUsed) {
  static constinit hosted::Process untouched;
  const auto* const byte = reinterpret_cast<const unsigned char*>(&untouched);
  for (std::size_t i = 0; i < sizeof untouched; ++i) ASSERT_EQ(byte[i], 0) << i;
  EXPECT_EQ(untouched.pi_waiting.pauses, 2000u);
  untouched.pi_waiting.pauses = 0;
  EXPECT_EQ(untouched.pi_waiting.pauses, 0u);
}

std::uint32_t sleepers() {
  std::uint32_t n = 0;
  for (const hosted::PiQueue& q : hosted::process().pi_queues) n += q.sleepers.load(kRelaxed);
  return n;
}
std::uint32_t bits(hosted::Word hosted::PiQueue::* field) {
  std::uint32_t n = 0;
  for (const hosted::PiQueue& q : hosted::process().pi_queues)
    n += static_cast<std::uint32_t>(__builtin_popcount((q.*field).load(kRelaxed)));
  return n;
}
std::uint32_t leaders() { return bits(&hosted::PiQueue::leads); }

class PiTurns : public ::testing::Test {
 protected:
  // Nobody spins, nobody asks the kernel, and a turn that is not given is a test that does not end.
  void SetUp() override { set(0, 1, 3'600'000'000, 0, ~0u); }
  void TearDown() override {
    const hosted::PiWaiting by_default;
    set(by_default.pauses, by_default.turn_us, by_default.longest_us, by_default.yields,
        by_default.naps);
    EXPECT_EQ(sleepers(), 0u);
    EXPECT_EQ(leaders(), 0u);
    EXPECT_EQ(bits(&hosted::PiQueue::awake), 0u);
  }
  static void set(std::uint32_t pauses, std::uint32_t turn_us, std::uint32_t longest_us,
                  std::uint32_t yields, std::uint32_t naps) {
    hosted::PiWaiting& w = waiting();
    w.pauses = pauses, w.turn_us = turn_us, w.longest_us = longest_us;
    w.yields = yields, w.naps = naps;
  }
};

// Starts one that waits for the lock, says so and does `had()` with it, and returns when it leads or sleeps.
template <class F>
std::thread waiter(PiLock& lock, F had) {
  const std::uint32_t slept = sleepers(), led = leaders();
  std::atomic<pid_t> id{0};
  std::thread t([&lock, &id, had] {
    id.store(static_cast<pid_t>(hosted::thread_id()));
    ASSERT_EQ(lock.lock(), SleepResult::acquired);
    had();
    lock.unlock();
  });
  while (!id.load() || (sleepers() == slept && leaders() == led)) sched_yield();
  if (sleepers() != slept)
    while (!is_asleep(id.load())) sched_yield();
  return t;
}

// Beside one who gives the lock back and asks for it again.
TEST_F(PiTurns, AreTakenFirstComeFirstServed) {
  constexpr int kWaiters = 5;
  for (int round = 0; round < 20; ++round) {
    PiLock lock;
    std::vector<int> order;  // under the lock
    std::vector<std::thread> waiters;
    ASSERT_EQ(lock.lock(), SleepResult::acquired);
    for (int i = 0; i < kWaiters; ++i)
      waiters.push_back(waiter(lock, [&order, i] { order.push_back(i); }));
    EXPECT_EQ(leaders(), 1u);
    EXPECT_EQ(sleepers(), kWaiters - 1u);
    lock.unlock();
    // Until the leader has it: a lock that is free is anybody's.
    while (!(lock.is_locked() || sleepers() < kWaiters - 1u)) sched_yield();
    ASSERT_EQ(lock.lock(), SleepResult::acquired);
    lock.unlock();
    for (std::thread& t : waiters) t.join();
    EXPECT_EQ(order, (std::vector<int>{0, 1, 2, 3, 4}));
  }
}

// A leader that is gone, by a jump or with its process's threads: who waits leads when it has slept its fill.
TEST_F(PiTurns, ALeaderThatIsGoneHoldsNobodyUpForLong) {
  // It leads for a yield only and then asks the kernel, which is counted: its sleep may be over before it is seen.
  set(0, 1, 20'000, 1, 0);
  const std::uint64_t asked = hosted::process().pi_lock_entries.load();
  PiLock lock;
  for (hosted::PiQueue& q : hosted::process().pi_queues) q.leads = q.awake = ~0u;
  ASSERT_EQ(lock.lock(), SleepResult::acquired);
  std::atomic<bool> had{false};
  std::thread t([&] {
    ASSERT_EQ(lock.lock(), SleepResult::acquired);
    had.store(true);
    lock.unlock();
  });
  while (sleepers() == 0 && hosted::process().pi_lock_entries.load() == asked) sched_yield();
  lock.unlock();
  t.join();
  EXPECT_TRUE(had.load());
  EXPECT_EQ(leaders(), 64u * 32 - 1) << "its own lock's bit is right again";
  for (hosted::PiQueue& q : hosted::process().pi_queues) q.leads = q.awake = 0;
}

// One that was woken where another thread runs, or yields, does not keep the only other waiter asleep.
TEST_F(PiTurns, WhoComesWhereTheLeaderDoesNotRunLeads) {
  PiLock lock;
  for (hosted::PiQueue& q : hosted::process().pi_queues) q.leads = ~0u;
  {
    hosted::PiTurn turn(&lock);
    EXPECT_TRUE(turn.leads_or_sleeps(hosted::PiTurn::latest())) << "it slept for an hour";
    EXPECT_EQ(bits(&hosted::PiQueue::awake), 1u);
    EXPECT_EQ(sleepers(), 1u) << "it counts as one";
    // A third does not, although the second has yielded; it leads when it has slept its fill.
    for (hosted::PiQueue& q : hosted::process().pi_queues) q.awake = 0;
    timespec now{};
    clock_gettime(CLOCK_MONOTONIC, &now);
    const timespec latest = hosted::later(now, 20'000'000);
    hosted::PiTurn third(&lock);
    while (!third.leads_or_sleeps(latest)) {
    }
    clock_gettime(CLOCK_MONOTONIC, &now);
    EXPECT_TRUE(now.tv_sec > latest.tv_sec ||
                (now.tv_sec == latest.tv_sec && now.tv_nsec >= latest.tv_nsec))
        << "it stood in as well";
  }
  for (hosted::PiQueue& q : hosted::process().pi_queues) q.leads = q.awake = 0;
}

// A leader that yields the processor says so, and takes it back.
TEST_F(PiTurns, ALeaderThatYieldsDoesNotRun) {
  set(0, 1, 3'600'000'000, ~0u, 0);  // it yields for as long as the lock is held
  PiLock lock;
  ASSERT_EQ(lock.lock(), SleepResult::acquired);
  std::thread leader = waiter(lock, [] {});
  while (leaders() == 0 || bits(&hosted::PiQueue::awake) != 0) sched_yield();
  while (bits(&hosted::PiQueue::awake) != 1) sched_yield();
  lock.unlock();
  leader.join();
}

// Whose turn is over goes on while the leader has no processor, but for no longer than its share.
TEST_F(PiTurns, GoOnUntilTheLeaderRuns) {
  PiLock lock;
  const hosted::PiTurn turn(&lock);
  hosted::PiTurn::begins();
  while (hosted::Parks::turn_us() < waiting().turn_us) sched_yield();
  EXPECT_FALSE(turn.is_over()) << "nobody waits";
  for (hosted::PiQueue& q : hosted::process().pi_queues) q.leads = ~0u;
  EXPECT_FALSE(turn.is_over()) << "the leader does not run yet";
  for (hosted::PiQueue& q : hosted::process().pi_queues) q.awake = ~0u;
  EXPECT_TRUE(turn.is_over());
  for (hosted::PiQueue& q : hosted::process().pi_queues) q.awake = 0;
  waiting().longest_us = 1;
  EXPECT_TRUE(turn.is_over()) << "it has had its share of the longest wait";
  for (hosted::PiQueue& q : hosted::process().pi_queues) q.leads = 0;
}

// A moment that is near is left to the kernel, whoever leads.
TEST_F(PiTurns, ATimedWaitDoesNotSleepPastItsTime) {
  PiLock lock;
  ASSERT_EQ(lock.lock(), SleepResult::acquired);
  std::thread leader = waiter(lock, [] {});
  std::thread([&] {
    const std::uint64_t before = hosted::process().pi_lock_entries.load();
    timespec end{};
    clock_gettime(CLOCK_MONOTONIC, &end);
    end.tv_nsec += 10'000'000;
    if (end.tv_nsec >= 1'000'000'000) end.tv_nsec -= 1'000'000'000, ++end.tv_sec;
    EXPECT_EQ(lock.lock_until(hosted::PiClock::monotonic, end), SleepResult::timeout);
    EXPECT_EQ(hosted::process().pi_lock_entries.load(), before + 1) << "it slept elsewhere";
  }).join();
  lock.unlock();
  leader.join();
}

// A lock's holder is told of the deadlock at once, whoever leads.
TEST_F(PiTurns, TheHolderDoesNotWaitForItsTurn) {
  PiLock lock;
  ASSERT_EQ(lock.lock(), SleepResult::acquired);
  std::thread leader = waiter(lock, [] {});
  EXPECT_EQ(lock.lock(), SleepResult::deadlock);
  EXPECT_EQ(sleepers(), 0u);
  lock.unlock();
  leader.join();
}

// Many threads with short turns: nobody is lost, whoever leaves and whoever falls asleep.
TEST_F(PiTurns, NoWakeUpIsLost) {
  waiting().turn_us = 0;
  PiLock locks[3];
  unsigned long counts[3] = {};
  constexpr unsigned kThreads = 8, kRounds = nestlock::internal::kWithTsan ? 5'000 : 100'000;
  std::vector<std::thread> threads;
  for (unsigned i = 0; i < kThreads; ++i)
    threads.emplace_back([&, i] {
      for (unsigned n = 0; n < kRounds; ++n) {
        const unsigned which = (n + i) % 3;
        ASSERT_EQ(locks[which].lock(), SleepResult::acquired);
        counts[which] = counts[which] + 1;
        if (n % 16 == 0) sched_yield();  // so that others find it held
        locks[which].unlock();
      }
    });
  for (std::thread& t : threads) t.join();
  EXPECT_EQ(counts[0] + counts[1] + counts[2], kThreads * kRounds);
}

}  // namespace
}  // namespace nestlock
