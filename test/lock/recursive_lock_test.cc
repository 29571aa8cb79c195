// RecursiveLock: its owner goes in again, and nobody else does; each context on top of the owner, and
// threads. Every step on the simulator: explore_recursive_test.
#include "nestlock/lock/recursive_lock.h"

#include <mutex>
#include <thread>
#include <vector>

#include "gtest/gtest.h"
#include "nestlock/lock/guard.h"
#include "nestlock/lock/raw_spinlock.h"
#include "nestlock/lock/try_spinlock.h"
#include "test/support/findings.h"
#include "test/support/interrupts.h"
#include "test/support/kernels.h"

namespace nestlock::test_support {
namespace {

template <class K>
class RecursiveLockTest : public InterruptTest {};
TYPED_TEST_SUITE(RecursiveLockTest, AllKernels, KernelName);

template <class K>
using Recursive = BasicRecursiveLock<BasicTrySpinLock<K>>;

TYPED_TEST(RecursiveLockTest, ItsOwnerGoesInAgain) {
  Recursive<TypeParam> lock;
  const ThreadCounts before = counts();
  {
    Guard outer(lock);
    const ThreadCounts held = counts();
    {
      std::scoped_lock inner(lock);
      TryGuard third(lock, irq_save);
      EXPECT_TRUE(third);
      EXPECT_EQ(lock.depth(), 3u);
    }
    EXPECT_EQ(lock.depth(), 1u);
    EXPECT_EQ(counts(), held) << "an inner one pins nothing";
    EXPECT_TRUE(lock.is_locked() && lock.held_by_caller());
  }
  EXPECT_FALSE(lock.is_locked() || lock.held_by_caller());
  EXPECT_EQ(counts(), before);
}

// A handler is the owner's task, but not the owner. A probe is taken for it: as documented.
TYPED_TEST(RecursiveLockTest, WhoInterruptedTheOwnerIsRefused) {
  Recursive<TypeParam> lock;
  static_assert(!AnyContextTryLockable<Recursive<TypeParam>>);
  Guard g(lock);
  for (Where where : {Where::softirq, Where::hardirq, Where::nmi})
    interrupt(where, [&]() NESTLOCK_NO_TSA {
      Findings findings;
      EXPECT_FALSE(lock.held_by_caller()) << name_of(where);
      const bool got = lock.try_lock();
      EXPECT_FALSE(got) << name_of(where);
      if (got) lock.unlock();
      EXPECT_EQ(findings.size(), 0u) << findings.text();
    });
  interrupt(Where::probe, [&] { EXPECT_TRUE(lock.held_by_caller()); });
  EXPECT_EQ(lock.depth(), 1u);
}

TYPED_TEST(RecursiveLockTest, DebugReportsWhoDoesNotHaveIt) {
  if constexpr (TypeParam::kConfig.debug) {
    BasicRecursiveLock<BasicRawSpinLock<TypeParam>> lock;
    Findings findings;
    [&]() NESTLOCK_NO_TSA { lock.unlock(); }();
    ASSERT_EQ(findings.all(), std::vector{Finding::not_held}) << findings.text();
    Guard g(lock);
    interrupt(Where::nmi, [&]() NESTLOCK_NO_TSA { lock.unlock(); });
    ASSERT_EQ(findings.size(), 2u) << findings.text();
    EXPECT_EQ(findings[1].finding, Finding::wrong_owner);
    EXPECT_EQ(lock.depth(), 1u);
  }
}

TEST(RecursiveLockThreads, OneAtATime) {
  constexpr unsigned kThreads = 4, kRounds = nestlock::internal::kWithTsan ? 1'000 : 5'000;
  Recursive<HostedKernel<configs::smp>> lock;
  unsigned long counter = 0;  // no atomic: ThreadSanitizer checks the order
  std::vector<std::thread> threads;
  for (unsigned t = 0; t < kThreads; ++t)
    threads.emplace_back([&] {
      for (unsigned i = 0; i < kRounds; ++i) {
        Guard outer(lock);
        Guard inner(lock);
        ++counter;
      }
    });
  for (std::thread& t : threads) t.join();
  EXPECT_EQ(counter, kThreads * kRounds);
}

}  // namespace
}  // namespace nestlock::test_support
