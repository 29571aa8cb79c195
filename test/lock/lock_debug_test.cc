// What debug configurations say of a misuse: what it is, of which lock, where it was called, where
// the lock was taken and where it was initialised; and what becomes of the lock. Contexts and lives
// are lock_contexts_test.
#include <cstring>
#include <string>
#include <thread>
#include <vector>

#include "gtest/gtest.h"
#include "nestlock/lock/guard.h"
#include "nestlock/lock/local_trylock.h"
#include "nestlock/lock/percpu.h"
#include "nestlock/lock/spinlock.h"
#include "nestlock/lock/try_spinlock.h"
#include "test/lock/debug_testing.h"
#include "test/support/findings.h"
#include "test/support/interrupts.h"
#include "test/support/kernels.h"
#include "test/support/locks.h"

namespace nestlock::test_support {
namespace {

// ---- every lock of the debug kernels ------------------------------------------------------------

class Misuse : public InterruptTest, public ::testing::WithParamInterface<const LockCalls*> {
 protected:
  const LockCalls& calls() const { return *GetParam(); }
  // Each call that looks at the lock.
  static void each_call(AnyLock& lock, auto check) {
    if (lock.calls().lock) check([&] { lock.lock(); }, "lock");
    if (lock.calls().try_lock) check([&] { (void)lock.try_lock(); }, "try_lock");
    check([&] { lock.unlock(); }, "unlock");
  }
};
INSTANTIATE_TEST_SUITE_P(All, Misuse, ::testing::ValuesIn(locks_where([](const LockCalls& c) {
                           return c.config.debug;
                         })),
                         name_of_lock);

class BlockingMisuse : public Misuse {};
INSTANTIATE_TEST_SUITE_P(All, BlockingMisuse,
                         ::testing::ValuesIn(locks_where([](const LockCalls& c) {
                           return c.config.debug && c.lock;
                         })),
                         name_of_lock);

// T14. All that a report can say, it says; its text can be read.
TEST_P(BlockingMisuse, T14_RecursionNamesTheLockAndAllPlaces) {
  const unsigned born = __LINE__ + 1;
  AnyLock lock(calls());
  const unsigned taken = __LINE__ + 2, again = __LINE__ + 3;
  const Outcome o = in_child([&] {
    lock.lock();
    lock.lock();
  });
  ASSERT_TRUE(o.died) << o.text();
  ASSERT_EQ(o.reports.size(), 1u) << o.text();
  const Report& r = o.reports[0];
  EXPECT_EQ(r.finding, Finding::recursion);
  EXPECT_TRUE(r.fatal);
  EXPECT_EQ(r.config, calls().config);
  EXPECT_EQ(r.context, Context::task);
  EXPECT_STREQ(r.type, nestlock::name_of(calls().type));
  EXPECT_STREQ(r.call, "lock");
  EXPECT_EQ(r.lock, lock.address());
  EXPECT_EQ(r.taken_in, Context::task);
  EXPECT_EQ(r.owner, HostedPort<configs::smp>::self());
  expect_place(r.here, again);
  expect_place(r.taken_at, taken);
  expect_place(r.born_at, born);

  const std::string at = std::string(__FILE__) + ":";
  const std::string text = text_of(r);
  const std::string first =
      std::string("nestlock: lock() can never return: the caller holds it already\n  in ") +
      nestlock::name_of(calls().type) + "::lock() at " + at + std::to_string(again) +
      ", context task, CPU ";
  EXPECT_EQ(text.substr(0, first.size()), first) << text;
  for (const std::string& part :
       {std::string(", configuration ") + nestlock::name_of(calls().config) + "\n  lock 0x",
        ", initialised at " + at + std::to_string(born) + ", held by 0x",
        " from task, taken at " + at + std::to_string(taken) + "\n"})
    EXPECT_NE(text.find(part), std::string::npos) << text;
  EXPECT_EQ(text.back(), '\n');
}

// T13, L4: the lock() of an interrupt that interrupted the holder.
TEST_P(BlockingMisuse, T13_L4_LockInAnInterruptNamesTheInterruptedHolder) {
  AnyLock lock(calls());
  const unsigned taken = __LINE__ + 2;
  const Outcome o = in_child([&] {
    lock.lock();
    interrupt(Where::hardirq, [&] { lock.lock(); });
  });
  ASSERT_TRUE(o.died) << o.text();
  const Report& r = o.reports.back();
  EXPECT_EQ(r.finding, Finding::never_returns) << o.text();
  EXPECT_EQ(r.context, Context::hardirq);
  EXPECT_EQ(r.taken_in, Context::task);
  expect_place(r.taken_at, taken);
}

// T15: nobody holds it. The lock stays as it was.
TEST_P(Misuse, T15_UnlockOfAFreeLockIsRefused) {
  AnyLock lock(calls());
  ASSERT_TRUE(lock.take());
  lock.unlock();
  const ThreadCounts before = counts();
  const AnyLock::Bytes bytes = lock.bytes();
  {
    Findings findings;
    const unsigned here = __LINE__ + 1;
    lock.unlock();
    ASSERT_EQ(findings.all(), std::vector{Finding::not_held}) << findings.text();
    EXPECT_FALSE(findings[0].fatal);
    EXPECT_STREQ(findings[0].call, "unlock");
    expect_place(findings[0].here, here);
    EXPECT_EQ(findings[0].owner, 0u);
    EXPECT_EQ(findings[0].taken_at.file, nullptr) << "nobody has taken it";
  }
  EXPECT_EQ(counts(), before) << "a refused unlock() may not unpin";
  EXPECT_EQ(lock.bytes(), bytes);
  Findings none;
  ASSERT_TRUE(lock.take());
  lock.unlock();
  EXPECT_EQ(none.size(), 0u) << none.text();
}

// T15: another thread holds it.
TEST_P(Misuse, T15_UnlockByAnotherThreadIsRefused) {
  AnyLock lock(calls());
  const unsigned taken = __LINE__ + 1;
  ASSERT_TRUE(lock.take());
  const std::uintptr_t owner = HostedPort<configs::smp>::self();
  const AnyLock::Bytes bytes = lock.bytes();
  std::thread([&] {
    const ThreadCounts before = counts();
    Findings findings;
    lock.unlock();
    ASSERT_EQ(findings.all(), std::vector{Finding::wrong_owner}) << findings.text();
    EXPECT_FALSE(findings[0].fatal);
    EXPECT_EQ(findings[0].owner, owner);
    EXPECT_EQ(findings[0].lock, lock.address());
    expect_place(findings[0].taken_at, taken);
    EXPECT_EQ(counts(), before);
  }).join();
  EXPECT_EQ(lock.bytes(), bytes);
  EXPECT_TRUE(lock.is_locked());
  Findings none;
  lock.assert_held();
  lock.unlock();
  EXPECT_EQ(none.size(), 0u) << none.text();
}

// T12: memory full of zeros, and memory that was overwritten.
TEST_P(Misuse, T12_AnUninitialisedLockIsReported) {
  for (const unsigned char fill : {0x00, 0x5a}) {
    AnyLock lock(calls());
    std::memset(lock.address(), fill, calls().size);
    each_call(lock, [&](auto call, const char* name) {
      const Outcome o = in_child(call);
      ASSERT_TRUE(o.died) << name << o.text();
      ASSERT_EQ(o.reports.size(), 1u) << o.text();
      EXPECT_EQ(o.reports[0].finding, Finding::uninitialised);
      EXPECT_STREQ(o.reports[0].call, name);
      EXPECT_EQ(o.reports[0].lock, lock.address());
      EXPECT_EQ(o.reports[0].born_at.file, nullptr) << "what the memory says is noise";
      EXPECT_NE(o.reports[0].here.file, nullptr);
    });
  }
}

TEST_P(Misuse, AssertHeld) {
  AnyLock lock(calls());
  {
    Findings findings;
    lock.assert_held();
    ASSERT_EQ(findings.all(), std::vector{Finding::not_held}) << findings.text();
    EXPECT_STREQ(findings[0].call, "assert_held");
  }
  ASSERT_TRUE(lock.take());
  {
    Findings findings;
    lock.assert_held();
    EXPECT_EQ(findings.size(), 0u) << findings.text();
  }
  // A handler does not hold what the code holds that it interrupted: it must not touch what is guarded.
  {
    Findings findings;
    interrupt(Where::nmi, [&] { lock.assert_held(); });
    EXPECT_EQ(findings.all(), std::vector{Finding::wrong_owner}) << findings.text();
  }
  std::thread([&] {
    Findings findings;
    lock.assert_held();
    EXPECT_EQ(findings.all(), std::vector{Finding::wrong_owner}) << findings.text();
  }).join();
  lock.unlock();
}

// ---- L10 ----------------------------------------------------------------------------------------

class NestedBh : public Misuse {};
INSTANTIATE_TEST_SUITE_P(All, NestedBh, ::testing::ValuesIn(locks_where([](const LockCalls& c) {
                           return c.config.debug && c.lock_nested_bh;
                         })),
                         name_of_lock);

// L10: with bottom halves enabled. It is reported, and marks nothing as taken that is not.
TEST_P(NestedBh, L10_WithBottomHalvesEnabled) {
  const unsigned born = __LINE__ + 1;
  AnyLock lock(calls());
  {
    Findings findings;
    const unsigned here = __LINE__ + 1;
    lock.lock_nested_bh();
    ASSERT_EQ(findings.all(), std::vector{Finding::bh_not_disabled}) << findings.text();
    EXPECT_STREQ(findings[0].call, "lock_nested_bh");
    expect_place(findings[0].here, here);
    expect_place(findings[0].born_at, born);
    EXPECT_EQ(lock.is_locked(), calls().sleeps);
    lock.unlock_nested_bh();
    EXPECT_EQ(findings.size(), 1u) << findings.text();
  }
  EXPECT_FALSE(lock.is_locked());
}

// ---- places, through guards ---------------------------------------------------------------------

template <class K>
class Places : public ::testing::Test {};
TYPED_TEST_SUITE(Places, DebugKernels, KernelName);

// Who takes a lock by a guard is named, not the guard's own line.
TYPED_TEST(Places, AreTheCallersOfTheGuards) {
  struct Cache {
    BasicLocalTryLock<TypeParam> lock;
  };
  BasicTrySpinLock<TypeParam> lock;
  BasicPerCpu<TypeParam, Cache> caches;
  const auto taken_at = [](const auto& held) {
    Place place;
    std::thread([&] {
      Findings findings;
      held.assert_held();
      place = findings[0].taken_at;
    }).join();
    return place;
  };
  {
    Guard g(lock);
    expect_place(taken_at(lock), __LINE__ - 1);
  }
  {
    Guard g(lock, irq_save);
    expect_place(taken_at(lock), __LINE__ - 1);
  }
  {
    TryGuard g(lock, bh_disable);
    expect_place(taken_at(lock), __LINE__ - 1);
  }
  {
    auto here = caches.template lock_here<&Cache::lock>();
    expect_place(taken_at(here->lock), __LINE__ - 1);
  }
  {
    auto here = caches.template try_lock_here<&Cache::lock>(irq_save);
    expect_place(taken_at(here->lock), __LINE__ - 1);
  }
}

// A lock's class is where it is initialised: members of one array or type share it.
TYPED_TEST(Places, BornIsTheConstructorsCaller) {
  const unsigned born = __LINE__ + 1;
  BasicSpinLock<TypeParam> lock;
  Findings findings;
  lock.assert_held();
  expect_place(findings[0].born_at, born);
}

// ---- the text -----------------------------------------------------------------------------------

TEST(Text, IsCutToItsBuffer) {
  Report r;
  r.finding = Finding::wrong_owner;
  r.type = "TrySpinLock";
  r.call = "unlock";
  r.lock = &r;
  const std::string whole = text_of(r);
  for (std::size_t size = 1; size <= whole.size() + 1; ++size) {
    char text[768];
    std::memset(text, '#', sizeof text);
    const std::size_t n = to_text(r, text, size);
    EXPECT_EQ(n, size - 1);
    EXPECT_EQ(std::string(text), whole.substr(0, size - 1));
    EXPECT_EQ(text[size], '#');
  }
  EXPECT_EQ(to_text(r, nullptr, 0), 0u);
}

TEST(Text, NamesEveryFinding) {
  for (unsigned f = 0; f <= static_cast<unsigned>(Finding::wrong_gfp); ++f) {
    Report r;
    r.finding = static_cast<Finding>(f);
    const std::string text = text_of(r);
    EXPECT_GT(std::strlen(nestlock::name_of(r.finding)), 5u);
    EXPECT_NE(text.find(nestlock::name_of(r.finding)), std::string::npos);
  }
}

}  // namespace
}  // namespace nestlock::test_support
