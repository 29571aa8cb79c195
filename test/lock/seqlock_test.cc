// SeqLock and SeqLatch: in each context on top of a writer, and between threads. What a reader sees
// at each instruction and step of a writer: explore_readers_test.
#include "nestlock/lock/seqlock.h"

#include <atomic>
#include <cstdint>
#include <thread>
#include <vector>

#include "gtest/gtest.h"
#include "test/support/findings.h"
#include "test/support/interrupts.h"
#include "test/support/kernels.h"

namespace nestlock::test_support {
namespace {

struct Pair {
  std::uint64_t a = 0, b = 0;
  char tail = 0;  // not a whole word
  static Pair of(std::uint64_t n) { return {n, n * n, static_cast<char>(n)}; }
  bool whole() const { return b == a * a && tail == static_cast<char>(a); }
};

template <class K>
class SeqLockTest : public InterruptTest {};
TYPED_TEST_SUITE(SeqLockTest, AllKernels, KernelName);

template <class Seq>
void reads_what_was_written() {
  Seq seq;
  Pair p = Pair::of(9);
  ASSERT_TRUE(seq.try_read(p));
  EXPECT_EQ(p.a, 0u) << "it starts as zeros";
  for (std::uint64_t n : {1u, 2u, 3u}) {
    seq.write(Pair::of(n));
    ASSERT_TRUE(seq.try_read(p));
    EXPECT_TRUE(p.whole() && p.a == n);
    EXPECT_EQ(seq.read().a, n);
  }
  seq.update([](Pair& value) { value = Pair::of(value.a + 1); }, irq_save);
  EXPECT_EQ(seq.read().a, 4u);
  EXPECT_TRUE(seq.try_write(Pair::of(5)));
  EXPECT_EQ(seq.read().a, 5u);
}

TYPED_TEST(SeqLockTest, ReadsWhatWasWritten) {
  reads_what_was_written<BasicSeqLock<TypeParam, Pair>>();
  reads_what_was_written<BasicSeqLatch<TypeParam, Pair>>();
  reads_what_was_written<BasicSeqLock<TypeParam, Pair, BasicRawSpinLock<TypeParam>>>();
}

// The writer has the lock and has not begun to store: each context reads the value before, and
// none may write.
TYPED_TEST(SeqLockTest, EachContextReadsOnTopOfTheLocksHolder) {
  BasicSeqLock<TypeParam, Pair> seq;
  seq.write(Pair::of(1));
  for (Where where : {Where::probe, Where::softirq, Where::hardirq, Where::nmi})
    seq.update([&](Pair& value) {
      interrupt(where, [&] {
        Findings findings;
        Pair p;
        EXPECT_TRUE(seq.try_read(p) && p.a == value.a) << name_of(where);
        EXPECT_FALSE(seq.try_write(Pair::of(7))) << name_of(where);
        EXPECT_EQ(findings.size(), 0u) << findings.text();
      });
      value = Pair::of(value.a + 1);
    });
  EXPECT_EQ(seq.read().a, 5u);
}

// Also where it would not have had to wait: the next one would.
TYPED_TEST(SeqLockTest, DebugReportsAReadWhereItsLockMayNotBeWaitedFor) {
  if constexpr (TypeParam::kConfig.debug) {
    BasicSeqLock<TypeParam, Pair> seq;
    BasicSeqLatch<TypeParam, Pair> latch;
    seq.write(Pair::of(3));
    latch.write(Pair::of(3));
    Findings findings;
    EXPECT_EQ(seq.read().a + latch.read().a, 6u);
    EXPECT_EQ(findings.size(), 0u) << findings.text();
    interrupt(Where::nmi, [&] { EXPECT_EQ(seq.read().a + latch.read().a, 6u); });
    ASSERT_EQ(findings.all(), (std::vector{Finding::wrong_context, Finding::wrong_context}))
        << findings.text();
    EXPECT_STREQ(findings[0].type, "SeqLock");
    EXPECT_STREQ(findings[0].call, "read");
  }
}

// By hand: between the two halves of a write the counter refuses, before and behind it does not.
TYPED_TEST(SeqLockTest, TheCounterTellsWhoCameBetween) {
  BasicSeqCount<TypeParam> count;
  const auto before = count.now();
  EXPECT_FALSE(count.writing(before));
  EXPECT_TRUE(count.still(before));
  count.begin_write();
  interrupt(Where::nmi, [&] {
    EXPECT_TRUE(count.writing(count.now()));
    EXPECT_FALSE(count.still(before));
  });
  count.end_write();
  EXPECT_FALSE(count.writing(count.now()));
  EXPECT_FALSE(count.still(before));
}

// Two writers and two readers; ThreadSanitizer sees no race, and no reader a torn value.
template <class Seq>
void threads_read_whole_values() {
  constexpr std::uint64_t kWrites = 3'000;
  Seq seq;
  std::atomic<unsigned> writers{2};
  std::vector<std::thread> threads;
  for (unsigned w = 0; w < 2; ++w)
    threads.emplace_back([&] {
      for (std::uint64_t i = 0; i < kWrites; ++i)
        seq.update([](Pair& value) { value = Pair::of(value.a + 1); });
      --writers;
    });
  for (bool tries : {true, false})
    threads.emplace_back([&, tries] {
      std::uint64_t last = 0;
      while (writers.load()) {
        Pair p;
        if (!tries)
          p = seq.read();
        else if (!seq.try_read(p))
          continue;
        if (!p.whole() || p.a < last) return ADD_FAILURE() << "torn or old: " << p.a;
        last = p.a;
      }
    });
  for (std::thread& t : threads) t.join();
  EXPECT_EQ(seq.read().a, 2 * kWrites) << "a write was lost";
}

TEST(SeqLockThreads, ReadWholeValues) {
  threads_read_whole_values<BasicSeqLock<HostedKernel<configs::smp>, Pair>>();
  threads_read_whole_values<BasicSeqLatch<HostedKernel<configs::smp>, Pair>>();
  threads_read_whole_values<BasicSeqLatch<HostedKernel<configs::smp_rt>, Pair>>();
}

}  // namespace
}  // namespace nestlock::test_support
