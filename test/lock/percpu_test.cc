// PerCpu: pin, pick, lock, in this order; one T for each CPU; nothing where there is no CPU.
#include "nestlock/lock/percpu.h"

#include <thread>
#include <type_traits>
#include <vector>

#include "gtest/gtest.h"
#include "nestlock/lock/local_lock.h"
#include "nestlock/lock/local_trylock.h"
#include "test/support/findings.h"
#include "test/support/interrupts.h"
#include "test/support/kernels.h"

namespace nestlock::test_support {
namespace {

template <class K>
class PerCpuTest : public InterruptTest {
 protected:
  using Try = BasicLocalTryLock<K>;
  using Plain = BasicLocalLock<K>;
  struct Cache {
    Try lock;
    [[no_unique_address]] Plain plain;
    int value = 0;
  };
  static constexpr bool kRt = K::kConfig.preempt_rt;
  static ThreadCounts pinned(bool masked = false, unsigned bh = 0) {
    ThreadCounts c{};
    ++(kRt ? c.migrate : c.preempt);
    c.masked = masked;
    c.bh = bh;
    return c;
  }
  static ThreadCounts now() {
    ThreadCounts c = counts();
    c.depth = 0;
    return c;
  }
  BasicPerCpu<K, Cache> all;
};
TYPED_TEST_SUITE(PerCpuTest, AllKernels, KernelName);

TYPED_TEST(PerCpuTest, LockHereTakesThisCpusLockAndPinsOnce) {
  using C = typename TestFixture::Cache;
  using P = typename TypeParam::Port;
  auto& caches = this->all;
  {
    auto c = caches.template lock_here<&C::lock>();
    ASSERT_TRUE(static_cast<bool>(c));
    EXPECT_EQ(&*c, &caches.on(P::cpu_id()));
    EXPECT_EQ(c.operator->(), &caches.here());
    EXPECT_TRUE(c->lock.is_locked());
    EXPECT_EQ(this->now(), this->pinned());
    c->value = 1;
  }
  EXPECT_EQ(counts(), ThreadCounts{});
  EXPECT_FALSE(caches.on(P::cpu_id()).lock.is_locked());
  {
    auto c = caches.template lock_here<&C::plain>(irq_save);
    EXPECT_EQ(this->now(), this->pinned(/*masked=*/!TestFixture::kRt));
  }
  {
    auto c = caches.template lock_here<&C::lock>(bh_disable);
    EXPECT_EQ(this->now(), this->pinned(false, 1));
  }
  EXPECT_EQ(counts(), ThreadCounts{});
}

// L1, L2, L8: who interrupts the holder gets nothing, and everything is as before.
TYPED_TEST(PerCpuTest, L1_L2_L8_TryLockHereIsEmptyInTheHoldersSection) {
  using C = typename TestFixture::Cache;
  auto& caches = this->all;
  auto c = caches.template lock_here<&C::lock>(irq_save);
  for (Where where : {Where::probe, Where::nmi})
    interrupt(where, [&] {
      const ThreadCounts before = counts();
      {
        auto mine = caches.template try_lock_here<&C::lock>(irq_save);
        EXPECT_FALSE(static_cast<bool>(mine));
        EXPECT_EQ(counts(), before);
      }
      EXPECT_EQ(counts(), before);
    });
  EXPECT_TRUE(c->lock.is_locked());
}

TYPED_TEST(PerCpuTest, L5_TryLockHereSucceedsEachTime) {
  using C = typename TestFixture::Cache;
  for (unsigned i = 0; i < 100; ++i) {
    auto c = this->all.template try_lock_here<&C::lock>();
    ASSERT_TRUE(static_cast<bool>(c));
    EXPECT_EQ(this->now(), this->pinned());
    ++c->value;
  }
  EXPECT_EQ(this->all.here().value, 100);
}

// L3: another CPU has its own. On UP there is one for all.
TYPED_TEST(PerCpuTest, L3_AnotherCpuHasItsOwnInstance) {
  using C = typename TestFixture::Cache;
  auto& caches = this->all;
  auto c = caches.template lock_here<&C::lock>();
  const C* const mine = &*c;
  std::thread([&] {
    const Findings second_thread;  // in debug, on one CPU
    auto theirs = caches.template try_lock_here<&C::lock>();
    EXPECT_EQ(static_cast<bool>(theirs), TypeParam::kConfig.smp);
    if (theirs) {
      EXPECT_NE(&*theirs, mine);
    }
  }).join();
  EXPECT_TRUE(c->lock.is_locked());
}

TYPED_TEST(PerCpuTest, HasACacheLineForEachCpu) {
  auto& caches = this->all;
  EXPECT_EQ(caches.size(), TypeParam::Port::kMaxCpus);
  EXPECT_EQ(caches.size(), TypeParam::kConfig.smp ? kHostedMaxCpus : 1u);
  for (unsigned cpu = 0; cpu < caches.size(); ++cpu)
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(&caches.on(cpu)) % 64, 0u);
}

// The fast path's section: refused to a thread without a CPU, which it does not get thereby; else
// as try_lock_here(). Its pin is gone afterwards, whether there was one or not.
TYPED_TEST(PerCpuTest, AClaimedCpuIsNeeded) {
  using C = typename TestFixture::Cache;
  auto& caches = this->all;
  std::thread([&] {
    const Findings second_thread;  // in debug, on one CPU
    const ThreadCounts before = counts();
    auto take = [&] { return static_cast<bool>(caches.template try_lock_claimed<&C::lock>()); };
    EXPECT_EQ(take(), !TypeParam::kConfig.smp) << "UP: the only CPU is everyone's";
    EXPECT_EQ(take(), !TypeParam::kConfig.smp) << "nor by having tried";
    EXPECT_TRUE(static_cast<bool>(caches.template try_lock_here<&C::lock>()));
    {
      auto c = caches.template try_lock_claimed<&C::lock>();
      ASSERT_TRUE(static_cast<bool>(c));
      EXPECT_TRUE(c->lock.is_locked());
      EXPECT_FALSE(take()) << "held";
    }
    EXPECT_TRUE(take());
    EXPECT_EQ(counts(), before);
  }).join();
}

// A port whose tasks come and go pins there, too.
template <Config kC>
struct MovingPort : HostedPort<kC> {
  static constexpr bool kTaskIsCpu = false;
};

TYPED_TEST(PerCpuTest, AShortSectionPinsWhereTasksMove) {
  using K = KernelOf<TypeParam::kConfig, MovingPort<TypeParam::kConfig>>;
  struct Moved {
    BasicLocalTryLock<K> lock;
  };
  static BasicPerCpu<K, Moved> caches;
  (void)caches.here();
  const ThreadCounts before = counts();
  {
    auto c = caches.template try_lock_claimed<&Moved::lock>();
    ASSERT_TRUE(static_cast<bool>(c));
    EXPECT_NE(counts(), before);
  }
  EXPECT_EQ(counts(), before);
}

// ---- a port that has no CPU for this task -------------------------------------------------------

template <Config kC>
struct NoCpuPort : HostedPort<kC> {
  static unsigned cpu_id() noexcept { return HostedPort<kC>::kMaxCpus; }
};

TYPED_TEST(PerCpuTest, WithoutACpuThereIsNothingToTake) {
  using K = KernelOf<TypeParam::kConfig, NoCpuPort<TypeParam::kConfig>>;
  struct Lonely {
    BasicLocalTryLock<K> lock;
  };
  static BasicPerCpu<K, Lonely> caches;
  EXPECT_EQ(caches.try_here(), nullptr);
  for (Where where : {Where::task, Where::nmi})
    interrupt(where, [&] {
      const ThreadCounts before = counts();
      {
        auto c = caches.template try_lock_here<&Lonely::lock>(irq_save);
        EXPECT_FALSE(static_cast<bool>(c));
        EXPECT_EQ(counts(), before);
      }
      EXPECT_EQ(counts(), before);
    });
  const Outcome o = in_child([] { (void)caches.here(); });
  EXPECT_TRUE(o.died) << o.text();
  ASSERT_EQ(o.reports.size(), 1u);
  EXPECT_EQ(o.reports[0].finding, Finding::no_cpu);
  EXPECT_TRUE(o.reports[0].fatal);
}

}  // namespace
}  // namespace nestlock::test_support
