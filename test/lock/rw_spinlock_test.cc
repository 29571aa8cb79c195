// RwSpinLock's readers: truth both ways in each context on top of a reader and of a writer, what
// debug configurations report, and threads. The writer's side is in the tests of all locks.
#include "nestlock/lock/rw_spinlock.h"

#include <array>
#include <atomic>
#include <cstdint>
#include <cstring>
#include <shared_mutex>
#include <thread>
#include <vector>

#include "gtest/gtest.h"
#include "nestlock/lock/guard.h"
#include "test/support/findings.h"
#include "test/support/interrupts.h"
#include "test/support/kernels.h"

namespace nestlock::test_support {
namespace {

template <class K>
class RwSpinLockTest : public InterruptTest {};
TYPED_TEST_SUITE(RwSpinLockTest, AllKernels, KernelName);

template <class L>
auto bytes_of(const L& lock) {
  std::array<unsigned char, sizeof(L)> b;
  std::memcpy(b.data(), static_cast<const void*>(&lock), sizeof(L));
  return b;
}

// A try of each side, in each context, where the lock is as the caller has it.
template <class L>
void try_both_in_each_context(L& lock, bool reader_gets, bool writer_gets) NESTLOCK_NO_TSA {
  for (Where where : kWheres)
    interrupt(where, [&]() NESTLOCK_NO_TSA {
      Findings findings;
      const auto before = bytes_of(lock);
      const ThreadCounts counted = counts();
      if (lock.try_lock_shared()) {
        EXPECT_TRUE(reader_gets) << name_of(where);
        EXPECT_FALSE(lock.try_lock()) << "a writer beside a reader, " << name_of(where);
        lock.unlock_shared();
      } else {
        EXPECT_FALSE(reader_gets) << name_of(where);
      }
      EXPECT_EQ(bytes_of(lock), before) << "as it was, refused or given back";
      if (lock.try_lock()) {
        EXPECT_TRUE(writer_gets) << name_of(where);
        EXPECT_FALSE(lock.try_lock_shared()) << "a reader beside a writer, " << name_of(where);
        lock.unlock();
      } else {
        EXPECT_FALSE(writer_gets) << name_of(where);
        EXPECT_EQ(bytes_of(lock), before) << "a losing try changed the lock";
      }
      EXPECT_EQ(counts(), counted);
      EXPECT_EQ(findings.size(), 0u) << findings.text();
    });
}

TYPED_TEST(RwSpinLockTest, ATryIsToldTheTruthOnTopOfAReaderAndOfAWriter) {
  BasicRwSpinLock<TypeParam> lock;
  try_both_in_each_context(lock, true, true);
  {
    SharedGuard g(lock);
    EXPECT_TRUE(lock.is_locked());
    try_both_in_each_context(lock, true, false);
    std::shared_lock second(lock);
    try_both_in_each_context(lock, true, false);
  }
  {
    Guard g(lock);
    try_both_in_each_context(lock, false, false);
  }
  EXPECT_FALSE(lock.is_locked());
}

// A handler may wait for reading on top of a reader that did not mask.
TYPED_TEST(RwSpinLockTest, AHandlerWaitsForReadingOnTopOfAReader) {
  BasicRwSpinLock<TypeParam> lock;
  SharedGuard g(lock);
  bool ran = false;
  interrupt(Where::hardirq, [&] {
    SharedGuard inner(lock, irq_save);
    ran = true;
  });
  EXPECT_TRUE(ran);
}

TYPED_TEST(RwSpinLockTest, DebugReportsMisuse) {
  if constexpr (TypeParam::kConfig.debug) {
    BasicRwSpinLock<TypeParam> lock;
    Findings findings;
    [&]() NESTLOCK_NO_TSA { lock.unlock_shared(); }();
    ASSERT_EQ(findings.all(), std::vector{Finding::not_held}) << findings.text();
    EXPECT_STREQ(findings[0].call, "unlock_shared");
    EXPECT_FALSE(lock.is_locked());
    interrupt(Where::nmi, [&] { SharedGuard g(lock); });
    ASSERT_EQ(findings.size(), 2u) << findings.text();
    EXPECT_EQ(findings[1].finding, Finding::wrong_context);
  }
}

// On one CPU a lock() on top of who has it could never return.
template <class K>
void never_returns(bool held_by_reader, bool asks_to_read) {
  const Outcome o = in_child([&]() NESTLOCK_NO_TSA {
    BasicRwSpinLock<K> lock;
    held_by_reader ? lock.lock_shared() : lock.lock();
    asks_to_read ? lock.lock_shared() : lock.lock();
  });
  EXPECT_TRUE(o.died) << o.text();
  ASSERT_EQ(o.reports.size(), 1u);
  EXPECT_EQ(o.reports[0].finding, Finding::never_returns);
}
TEST(RwSpinLockOnOneCpu, WhoCouldNeverReturnIsReported) {
  if (nestlock::internal::kWithTsan) GTEST_SKIP() << "forks";
  never_returns<HostedKernel<configs::up>>(true, false);
  never_returns<HostedKernel<configs::up>>(false, true);
  never_returns<HostedKernel<configs::up_rt>>(false, false);
}

// ---- threads ------------------------------------------------------------------------------------

TEST(RwSpinLockThreads, ReadersTogetherWritersAlone) {
  constexpr unsigned kThreads = 4, kRounds = nestlock::internal::kWithTsan ? 1'000 : 5'000;
  BasicRwSpinLock<HostedKernel<configs::smp>> lock;
  std::uint64_t a = 0, b = 0;  // no atomics: ThreadSanitizer checks the order
  std::atomic<unsigned> tried{0};
  std::vector<std::thread> threads;
  for (unsigned t = 0; t < kThreads; ++t)
    threads.emplace_back([&, t]() NESTLOCK_NO_TSA {
      for (unsigned i = 0; i < kRounds; ++i) {
        if ((i + t) % 4 == 0) {
          Guard g(lock);
          ++a, ++b;
        } else if (i % 2 || !lock.try_lock_shared()) {
          SharedGuard g(lock);
          EXPECT_EQ(a, b);
        } else {
          EXPECT_EQ(a, b);
          lock.unlock_shared();
          tried.fetch_add(1);
        }
      }
    });
  for (std::thread& t : threads) t.join();
  EXPECT_EQ(a, kThreads * kRounds / 4);
  EXPECT_FALSE(lock.is_locked());
}

// A writer that waits stops new readers for a bounded time only: so a task that reads inside its
// own reading, and a bit that nobody clears, go on; and tries do not look at it.
TEST(RwSpinLockThreads, AWaitingWriterBlocksNoReaderForEver) {
  BasicRwSpinLock<HostedKernel<configs::smp>> lock;
  std::thread writer;
  {
    SharedGuard g(lock);
    writer = std::thread([&] { Guard w(lock); });
    while (!lock.is_contended()) std::this_thread::yield();
    {
      SharedGuard inner(lock);
    }
    while (!lock.is_contended()) std::this_thread::yield();  // the inner one cleared the bit
    const bool tried = [&]() NESTLOCK_NO_TSA { return lock.try_lock_shared(); }();
    EXPECT_TRUE(tried);
    if (tried) [&]() NESTLOCK_NO_TSA { lock.unlock_shared(); }();
  }
  writer.join();
  EXPECT_FALSE(lock.is_locked());
}

}  // namespace
}  // namespace nestlock::test_support
