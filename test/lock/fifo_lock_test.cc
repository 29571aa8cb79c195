// The SMP word of a port without parking, as bare metal has it, between real threads: first come,
// first served.
#include <sched.h>

#include <atomic>
#include <thread>
#include <vector>

#include "gtest/gtest.h"
#include "nestlock/nestlock.h"

namespace nestlock {
namespace {

constexpr unsigned kLess = internal::kWithTsan ? 5 : 1;  // TSan's atomics are slow

struct WithoutParking : HostedPort<configs::smp> {
  static constexpr bool kParking = false;
};
using K = KernelOf<configs::smp, WithoutParking>;
using Lock = BasicTrySpinLock<K>;
static_assert(std::is_same_v<internal::SmpWord<K>, internal::FifoWord<K>>);

void wait_until(auto condition) {
  while (!condition()) sched_yield();
}

// Waiters that have a place in the queue: its two bytes are part of the word's documentation.
unsigned waiters(const Lock& lock) {
  const auto at = [&lock](unsigned i) {
    return __atomic_load_n(reinterpret_cast<const std::uint8_t*>(&lock) + i, __ATOMIC_RELAXED);
  };
  return static_cast<std::uint8_t>(at(2) - at(3));
}

TEST(Fifo, WaitersAreServedInTheOrderTheyCame) {
  Lock lock;
  std::vector<unsigned> served, expected;
  std::vector<std::thread> threads;
  lock.lock();
  for (unsigned t = 0; t < 8; ++t) {
    threads.emplace_back([&, t] {
      lock.lock();
      served.push_back(t);
      lock.unlock();
    });
    wait_until([&] { return waiters(lock) == t + 1; });
    expected.push_back(t);
  }
  EXPECT_TRUE(lock.is_locked());
  lock.unlock();
  for (std::thread& t : threads) t.join();
  EXPECT_EQ(served, expected);
  EXPECT_EQ(waiters(lock), 0u);
}

// Only between the holder's release and the head's take is a lock free that somebody waits for: a
// try there would overtake the queue.
TEST(Fifo, TryDoesNotOvertakeTheQueue) {
  Lock lock;
  std::atomic<bool> stop{false};
  std::atomic<unsigned> overtaken{0}, refused{0};
  // A queue that is never empty until the end: two threads that each wait for the other's section.
  std::vector<std::thread> queue;
  lock.lock();
  for (unsigned t = 0; t < 2; ++t)
    queue.emplace_back([&] {
      while (!stop.load()) {
        lock.lock();
        wait_until([&] { return waiters(lock) >= 1 || stop.load(); });
        lock.unlock();
      }
    });
  wait_until([&] { return waiters(lock) == 2; });
  lock.unlock();
  for (unsigned i = 0; i < 2000 / kLess; ++i) {
    if (lock.try_lock()) {
      overtaken.fetch_add(1);
      lock.unlock();
    } else {
      refused.fetch_add(1);
    }
  }
  EXPECT_EQ(overtaken.load(), 0u);
  EXPECT_GT(refused.load(), 0u);
  stop.store(true);
  for (std::thread& t : queue) t.join();
}

// One byte counts the tickets: more waiters than it can count cost order, neither exclusion nor
// progress.
TEST(Fifo, MoreWaitersThanTickets) {
  Lock lock;
  constexpr unsigned kThreads = 280, kRounds = kLess > 1 ? 1 : 3;
  unsigned long counter = 0;
  std::atomic<unsigned> started{0};
  std::vector<std::thread> threads;
  lock.lock();
  for (unsigned t = 0; t < kThreads; ++t)
    threads.emplace_back([&] {
      started.fetch_add(1);
      for (unsigned i = 0; i < kRounds; ++i) {
        lock.lock();
        ++counter;
        lock.unlock();
      }
    });
  wait_until([&] { return started.load() == kThreads; });
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  lock.unlock();
  for (std::thread& t : threads) t.join();
  EXPECT_EQ(counter, 1ul * kRounds * kThreads);
  EXPECT_EQ(waiters(lock), 0u);
  EXPECT_FALSE(lock.is_locked());
}

// Its lock() and unlock() exclude, and order what the sections do.
TEST(Fifo, OneAtATime) {
  Lock lock;
  constexpr unsigned kThreads = 4, kRounds = 400 / kLess;
  unsigned long counter = 0;
  std::vector<std::thread> threads;
  for (unsigned t = 0; t < kThreads; ++t)
    threads.emplace_back([&] {
      for (unsigned i = 0; i < kRounds; ++i) {
        lock.lock();
        ++counter;
        lock.unlock();
      }
    });
  for (std::thread& t : threads) t.join();
  EXPECT_EQ(counter, 1ul * kThreads * kRounds);
}

}  // namespace
}  // namespace nestlock
