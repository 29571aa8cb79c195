// LockStat by a clock that only the test moves: what it says is what was done, to the nanosecond.
#include "nestlock/testing/lockstat.h"

#include <atomic>
#include <cstdint>
#include <thread>

#include "gtest/gtest.h"
#include "nestlock/lock/guard.h"
#include "nestlock/lock/spinlock.h"
#include "nestlock/lock/try_spinlock.h"
#include "nestlock/port/hosted.h"

namespace nestlock::testing {
namespace {

struct TestClock {
  static inline std::atomic<std::uint64_t> at{1'000};
  static std::uint64_t now() noexcept { return at; }
};
using Stat = LockStat<TestClock>;
template <Config kC>
using Watched = KernelOf<kC, HostedPort<kC>, Stat>;

const LockClass* class_with(const void* lock) {
  const LockClass* found = nullptr;
  Stat::for_each([&](const LockClass& c) {
    if (c.lock.load() == lock) found = &c;
  });
  return found;
}

TEST(LockStat, CountsSectionsAndTheirLength) {
  BasicTrySpinLock<Watched<configs::smp>> lock;
  for (std::uint64_t ns : {100, 200, 1'000}) {
    Guard g(lock);
    TestClock::at += ns;
    TryGuard refused(lock);
    EXPECT_FALSE(refused);
  }
  if (TryGuard g(lock); g) TestClock::at += 7;
  const LockClass* const c = class_with(&lock);
  ASSERT_TRUE(c);
  EXPECT_EQ(c->hold.count, 4u);
  EXPECT_EQ(c->hold.sum, 1'307u);
  EXPECT_EQ(c->hold.most, 1'000u);
  EXPECT_EQ(c->hold.bucket[7], 1u) << "100: 7 bits";
  EXPECT_EQ(c->hold.bucket[10], 1u) << "1000: 10 bits";
  EXPECT_EQ(c->wait.count, 3u);
  EXPECT_EQ(c->tried, 1u);
  EXPECT_EQ(c->refused, 3u);
  EXPECT_EQ(c->wait.sum, 0u);
  EXPECT_EQ(Stat::lost(), 0u);
}

// The wait is what passed between lock() and having it.
TEST(LockStat, CountsAWait) {
  BasicTrySpinLock<Watched<configs::smp>> lock;
  std::thread waiter;
  {
    Guard g(lock);
    waiter = std::thread([&] { Guard w(lock); });
    while (!lock.is_contended()) std::this_thread::yield();  // its clock has been read
    TestClock::at += 5'000;
  }
  waiter.join();
  const LockClass* const c = class_with(&lock);
  ASSERT_TRUE(c);
  EXPECT_EQ(c->wait.sum, 5'000u);
  EXPECT_EQ(c->wait.most, 5'000u);
  EXPECT_EQ(c->hold.sum, 5'000u);
}

// Given back in another order than taken, and a class for all that were made at one place.
TEST(LockStat, AClassIsWhereLocksAreBorn) {
  using Lock = BasicSpinLock<Watched<configs::smp_debug>>;
  Lock locks[2] = {Place::here(), Place::here()};
  Lock next;  // on the next line: another class
  next.lock();
  next.unlock();
  locks[0].lock();
  TestClock::at += 10;
  locks[1].lock();
  TestClock::at += 10;
  locks[0].unlock();
  TestClock::at += 10;
  locks[1].unlock();
  unsigned classes = 0;
  Stat::for_each([&](const LockClass& c) {
    if (!c.file.load()) return;
    ++classes;
    if (c.hold.count == 1) return;
    EXPECT_EQ(c.hold.count, 2u);
    EXPECT_EQ(c.hold.sum, 40u);
    EXPECT_EQ(c.type.load(), LockType::spin);
  });
  EXPECT_EQ(classes, 2u);
}

}  // namespace
}  // namespace nestlock::testing
