// try_lock_for(): refused at once where the lock tells that its holder cannot go on, else bounded.
#include <sched.h>

#include <atomic>
#include <chrono>
#include <thread>

#include "gtest/gtest.h"
#include "nestlock/nestlock.h"
#include "test/support/interrupts.h"
#include "test/support/kernels.h"

namespace nestlock::test_support {
namespace {

template <class K>
class TryLockFor : public InterruptTest {};
TYPED_TEST_SUITE(TryLockFor, AllKernels, KernelName);

// On its own CPU, in each context. A wait of an hour is the proof that nobody waits where it is in vain.
template <class K, class Lock>
void on_one_cpu() {
  constexpr bool kTold =
      !K::kConfig.smp || K::kConfig.preempt_rt || K::kConfig.debug || sizeof(Lock) == 1;
  Lock lock;
  for (const Where where : kWheres) {
    const bool may =
        contexts::cell(Lock::kLockType, contexts::Call::try_lock, K::kConfig, context_of(where))
            .free == contexts::Answer::granted;
    interrupt(where, [&]() NESTLOCK_NO_TSA {
      const bool got = lock.try_lock_for(Spins{3});
      EXPECT_EQ(got, may) << name_of(where);
      if (got) lock.unlock();
    });
    ASSERT_TRUE(lock.try_lock_for(std::chrono::hours(1)));
    const ThreadCounts before = counts();
    interrupt(where, [&]() NESTLOCK_NO_TSA {
      EXPECT_FALSE(lock.try_lock_for(Spins{1000})) << name_of(where);
      if (kTold) {
        EXPECT_FALSE(lock.try_lock_for(std::chrono::hours(1))) << name_of(where);
      } else {
        EXPECT_FALSE(lock.try_lock_for(std::chrono::microseconds(200))) << name_of(where);
      }
    });
    EXPECT_EQ(counts(), before);
    lock.unlock();
  }
}

TYPED_TEST(TryLockFor, OnTopOfTheHolder) {
  on_one_cpu<TypeParam, BasicTrySpinLock<TypeParam>>();
  on_one_cpu<TypeParam, BasicLocalTryLock<TypeParam>>();
}

// Another CPU holds it: the time is up, or it is given back meanwhile.
template <class K>
void on_two_cpus() {
  BasicTrySpinLock<K> lock;
  std::atomic<unsigned> at{0};
  std::thread other([&]() NESTLOCK_NO_TSA {
    lock.lock();
    at = 1;
    while (at != 2) sched_yield();
    lock.unlock();
  });
  while (at != 1) sched_yield();
  EXPECT_FALSE(lock.try_lock_for(Spins{0}));
  EXPECT_FALSE(lock.try_lock_for(Spins{500}));
  EXPECT_FALSE(lock.try_lock_for(std::chrono::nanoseconds(0)));
  EXPECT_FALSE(lock.try_lock_for(std::chrono::milliseconds(1)));
  EXPECT_FALSE(lock.is_contended());
  at = 2;
  EXPECT_TRUE(lock.try_lock_for(std::chrono::hours(1)));
  lock.unlock();
  other.join();
}

TYPED_TEST(TryLockFor, WhileAnotherCpuHoldsIt) {
  if constexpr (TypeParam::kConfig.smp) on_two_cpus<TypeParam>();
}

}  // namespace
}  // namespace nestlock::test_support
