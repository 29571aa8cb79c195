// The standard's own tools on every lock that may block: scoped_lock on several in any order, unique_lock,
// shared_lock, condition_variable_any, between threads. Timed forms: pi_mutex_test, try_lock_for_test.
#include <condition_variable>
#include <mutex>
#include <shared_mutex>
#include <thread>
#include <vector>

#include "gtest/gtest.h"
#include "nestlock/nestlock.h"
#include "nestlock/pi_mutex.h"
#include "test/support/kernels.h"

namespace nestlock::test_support {
namespace {

constexpr int kThreads = 3;
constexpr int kRounds = internal::kWithTsan ? 200 : 1000;

template <class L>
struct Lockable : ::testing::Test {};
// (Not SharedTrySpinLock: two of one class are one lock.)
template <template <class> class Lock>
using OnSmp =
    ::testing::Types<Lock<HostedKernel<configs::smp>>, Lock<HostedKernel<configs::smp_debug>>,
                     Lock<HostedKernel<configs::smp_rt>>,
                     Lock<HostedKernel<configs::smp_rt_debug>>>;
using ByAnyThread = ::testing::Types<
    BasicRawSpinLock<HostedKernel<configs::smp>>, BasicSpinLock<HostedKernel<configs::smp>>,
    BasicSpinLock<HostedKernel<configs::smp_debug>>, BasicSpinLock<HostedKernel<configs::smp_rt>>,
    BasicSpinLock<HostedKernel<configs::smp_rt_debug>>,
    BasicTrySpinLock<HostedKernel<configs::smp>>,
    BasicTrySpinLock<HostedKernel<configs::smp_debug>>,
    BasicTrySpinLock<HostedKernel<configs::smp_rt>>,
    BasicTrySpinLock<HostedKernel<configs::smp_rt_debug>>,
    BasicRwSpinLock<HostedKernel<configs::smp>>,
    BasicRwSpinLock<HostedKernel<configs::smp_rt_debug>>, PiMutex>;
TYPED_TEST_SUITE(Lockable, ByAnyThread);

template <class F>
void on_threads(F f) {
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) threads.emplace_back([&f, t] { f(t); });
  for (std::thread& t : threads) t.join();
}

TYPED_TEST(Lockable, ScopedLocksInAnyOrder) {
  TypeParam a, b, c;
  int n = 0;
  on_threads([&](int t) {
    for (int i = 0; i < kRounds; ++i) {
      if ((t + i) % 3 == 0) {
        const std::scoped_lock all(a, b, c);
        ++n;
      } else if ((t + i) % 3 == 1) {
        const std::scoped_lock all(c, b, a);
        ++n;
      } else {
        std::unique_lock one(b, std::defer_lock), two(a, std::defer_lock),
            three(c, std::defer_lock);
        std::lock(one, two, three);
        ++n;
      }
    }
  });
  EXPECT_EQ(n, kThreads * kRounds);
}

TYPED_TEST(Lockable, UniqueLocksTriedAndHandedOn) {
  TypeParam lock;
  int n = 0;
  on_threads([&](int) {
    for (int i = 0; i < kRounds; ++i) {
      std::unique_lock mine(lock, std::try_to_lock);
      if (!mine) mine.lock();
      std::unique_lock moved = std::move(mine);
      ++n;
      moved.unlock();
      moved.lock();
      ++n;
      moved.release();
      const std::unique_lock adopted(lock, std::adopt_lock);
    }
  });
  EXPECT_EQ(n, 2 * kThreads * kRounds);
}

// A ball goes round: each thread waits for its turn.
TYPED_TEST(Lockable, AConditionVariable) {
  TypeParam lock;
  std::condition_variable_any changed;
  int turn = 0;
  on_threads([&](int t) {
    for (int i = 0; i < kRounds / 10; ++i) {
      std::unique_lock held(lock);
      changed.wait(held, [&]() { return turn % kThreads == t; });
      EXPECT_TRUE(held.owns_lock());
      ++turn;
      changed.notify_all();
    }
  });
  EXPECT_EQ(turn, kThreads * (kRounds / 10));
}

template <class L>
struct SharedLockable : ::testing::Test {};
TYPED_TEST_SUITE(SharedLockable, OnSmp<BasicRwSpinLock>);

TYPED_TEST(SharedLockable, ReadersAndAWriterByTheStandardsLocks) {
  TypeParam lock;
  int one = 0, two = 0;
  on_threads([&](int t) {
    for (int i = 0; i < kRounds; ++i) {
      if (t == 0) {
        const std::unique_lock writes(lock);
        ++one, ++two;
      } else {
        std::shared_lock reads(lock, std::try_to_lock);
        if (!reads) reads.lock();
        EXPECT_EQ(one, two);
      }
    }
  });
  EXPECT_EQ(one, kRounds);
}

}  // namespace
}  // namespace nestlock::test_support
