// What debug configurations know of contexts and of lives: who interrupted a lock's own steps, sections left open,
// a lock that goes while it is held, a second thread, a sleep where nothing may sleep.
#include <sched.h>

#include <atomic>
#include <cstdlib>
#include <memory>
#include <new>
#include <thread>
#include <vector>

#include "gtest/gtest.h"
#include "nestlock/lock/core.h"
#include "nestlock/lock/guard.h"
#include "nestlock/lock/raw_spinlock.h"
#include "nestlock/lock/shared_try_spinlock.h"
#include "nestlock/lock/spinlock.h"
#include "nestlock/lock/try_spinlock.h"
#include "test/lock/debug_testing.h"
#include "test/support/findings.h"
#include "test/support/interrupts.h"
#include "test/support/kernels.h"
#include "test/support/locks.h"

namespace nestlock::test_support {
namespace {

// ---- contexts, not only threads -----------------------------------------------------------------

using DebugKernel = HostedKernel<configs::smp_debug>;

// A word that is interrupted where it is held already, and its owner is not known yet; and where it is
// no more, but still held.
struct InterruptedWord {
  static constexpr bool kSleeps = false;
  static inline void (*when_taken)() = nullptr;
  static inline void (*before_release)() = nullptr;
  std::atomic<bool> held_{false};

  bool try_acquire() noexcept {
    if (held_.exchange(true)) return false;
    if (when_taken) when_taken();
    return true;
  }
  SleepResult acquire() noexcept {
    while (!try_acquire()) DebugKernel::Port::pause();
    return SleepResult::acquired;
  }
  void release() noexcept {
    if (before_release) before_release();
    held_ = false;
  }
  bool held() const noexcept { return held_; }
  bool contended() const noexcept { return false; }
};
struct InterruptedLock
    : nestlock::internal::LockCore<DebugKernel, LockType::raw_spin, InterruptedWord> {
  InterruptedLock() : LockCore(Place::here()) {}
  void lock() {
    lock_with<nestlock::internal::Pin<DebugKernel, false>>(contexts::Call::lock, Place::here());
  }
  bool try_lock() { return try_with(Place::here()); }
};
InterruptedLock interrupted_lock;

class Contexts : public InterruptTest {
 protected:
  static void lock_in_an_interrupt() {
    InterruptedWord::when_taken = InterruptedWord::before_release = nullptr;
    interrupt(Where::hardirq, [] { interrupted_lock.lock(); });
  }
  static void expect_never_returns(const Outcome& o) {
    ASSERT_TRUE(o.died) << o.text();
    EXPECT_EQ(o.reports.back().finding, Finding::never_returns) << o.text();
    EXPECT_EQ(o.reports.back().context, Context::hardirq);
  }
};

TEST_F(Contexts, LockBetweenTheWordAndItsOwnerIsReported) {
  expect_never_returns(in_child([] {
    InterruptedWord::when_taken = lock_in_an_interrupt;
    interrupted_lock.lock();
  }));
  expect_never_returns(in_child([] {
    InterruptedWord::when_taken = lock_in_an_interrupt;
    (void)interrupted_lock.try_lock();
  }));
  expect_never_returns(in_child([] {
    interrupted_lock.lock();
    InterruptedWord::before_release = lock_in_an_interrupt;
    interrupted_lock.unlock();
  }));
}

TEST_F(Contexts, AnIrqDisableGuardInsideAnIrqSaveSectionIsReported) {
  BasicRawSpinLock<DebugKernel> outer, inner;
  Guard a(outer, irq_save);
  Findings findings;
  {
    Guard b(inner, irq_disable);
  }
  ASSERT_EQ(findings.all(), std::vector{Finding::irq_unbalanced}) << findings.text();
  EXPECT_STREQ(findings[0].call, "irq_enable");
}

// ---- what a debug configuration is to see besides -----------------------------------------------

template <class K>
class DebugSees : public InterruptTest {};
TYPED_TEST_SUITE(DebugSees, DebugKernels, KernelName);

TYPED_TEST(DebugSees, ALockThatIsDestroyedWhileItIsHeldIsReported) {
  using Lock = BasicTrySpinLock<TypeParam>;
  Findings findings;
  const ThreadCounts before = counts();
  unsigned taken = 0;
  const auto destroy_one = [&](bool hold) NESTLOCK_NO_TSA {
    alignas(Lock) unsigned char memory[sizeof(Lock)];
    auto* const lock = new (memory) Lock;
    lock->lock();
    taken = __LINE__ - 1;
    if (!hold) lock->unlock();
    lock->~Lock();
    if (hold) lock->unlock();
  };
  destroy_one(false);
  EXPECT_EQ(findings.size(), 0u) << findings.text();
  destroy_one(true);
  ASSERT_EQ(findings.all(), std::vector{Finding::destroyed}) << findings.text();
  EXPECT_FALSE(findings[0].fatal);
  expect_place(findings[0].taken_at, taken);
  EXPECT_EQ(counts(), before);
}

// The program may end in a section, or beside a thread that is in one; siblings share a word.
TYPED_TEST(DebugSees, OtherLocksMayEndTheirLife) {
  Findings findings;
  static BasicRawSpinLock<TypeParam> program_s;
  Guard held(program_s);
  std::destroy_at(&program_s);
  {
    BasicSharedTrySpinLock<TypeParam, TestClass> one;
    TryGuard first(one);
    const BasicSharedTrySpinLock<TypeParam, TestClass> sibling;
  }
  EXPECT_EQ(findings.size(), 0u) << findings.text();
}

TYPED_TEST(DebugSees, ASleepingLockWhereNothingMaySleepIsReported) {
  if (!TypeParam::kConfig.preempt_rt) return;
  BasicRawSpinLock<TypeParam> raw;
  BasicSpinLock<TypeParam> sleeping;
  Findings findings;
  {
    Guard outer(raw);
    Guard inner(sleeping);
  }
  ASSERT_EQ(findings.all(), std::vector{Finding::wrong_context}) << findings.text();
  EXPECT_STREQ(findings[0].call, "lock");
  {
    const auto state = TypeParam::Port::irq_save();
    sleeping.lock();
    sleeping.unlock();
    TypeParam::Port::irq_restore(state);
  }
  EXPECT_EQ(findings.size(), 2u) << findings.text();
  {
    Guard outer(raw, irq_save);
    TryGuard inner(sleeping);  // does not sleep
    EXPECT_TRUE(inner);
  }
  {
    Guard outer(sleeping, irq_save);  // masks nothing
    Guard inner(raw);
  }
  EXPECT_EQ(findings.size(), 2u) << findings.text();
}

TYPED_TEST(DebugSees, ASecondThreadOfAUniprocessorConfigurationIsReported) {
  BasicTrySpinLock<TypeParam> lock;
  const auto use = [&lock] {
    lock.lock();
    lock.unlock();
    if (TryGuard g(lock); !g) std::abort();
  };
  const auto in_a_thread = [&] {
    Findings findings;
    std::thread(use).join();
    return findings.all();
  };
  use();
  EXPECT_EQ(in_a_thread(), std::vector(TypeParam::kConfig.smp ? 0 : 2, Finding::second_thread));
  // In a child there is another first one, and when that has ended the next.
  const Outcome o = in_child([&] {
    std::thread(use).join();
    while (!HostedPort<configs::up_debug>::is_the_one_thread()) sched_yield();  // until it is gone
    use();
  });
  EXPECT_TRUE(o.reports.empty()) << o.text();
}

// Also where lib/port does not ask.
TYPED_TEST(DebugSees, AThreadThatEndsInsideASectionIsReported) {
  using Port = typename TypeParam::Port;
  static BasicTrySpinLock<TypeParam> lock;
  const std::vector<void (*)()> open_ends = {
      []() NESTLOCK_NO_TSA { lock.lock(); },
      [] { (void)Port::irq_save(); },
      [] { Port::bh_disable(); },
      [] { Port::migrate_disable(); },
      [] {
        lock.lock();
        lock.unlock();
        Port::irq_restore(Port::irq_save());
      },
  };
  for (const auto end : open_ends) {
    const Outcome o = in_child([end] {
      hosted::process().thread_exit_hook = nullptr;
      std::thread(end).join();
    });
    const bool open = end != open_ends.back();
    ASSERT_EQ(o.reports.size(), open ? 1u : 0u) << o.text();
    if (!open) continue;
    EXPECT_EQ(o.reports[0].finding, Finding::left_open);
    EXPECT_STREQ(o.reports[0].call, "thread");
  }
}

}  // namespace
}  // namespace nestlock::test_support
