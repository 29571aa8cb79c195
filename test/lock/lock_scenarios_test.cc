// Scenarios with one CPU and interrupts, by name: T are nested tries, R is PREEMPT_RT, L are the
// per-CPU locks. test/README.md says what each is and where those are that are not here.
#include <vector>

#include "gtest/gtest.h"
#include "nestlock/lock/guard.h"
#include "nestlock/lock/local_trylock.h"
#include "test/lock/any_lock_testing.h"
#include "test/support/findings.h"
#include "test/support/interrupts.h"
#include "test/support/kernels.h"
#include "test/support/locks.h"

namespace nestlock::test_support {
namespace {

// ---- the locks that promise ---------------------------------------------------------------------

class Promised : public AnyLockTest {};
INSTANTIATE_TEST_SUITE_P(All, Promised, ::testing::ValuesIn(locks_where([](const LockCalls& c) {
                           return contexts::promised(c.type);
                         })),
                         name_of_lock);

// T1, T5 (SMP), L2: a task holds the lock with irqs on, an irq tries.
TEST_P(Promised, T1_T5_L2_AnIrqInASectionIsRefused) {
  AnyLock lock(calls());
  ASSERT_TRUE(lock.take());
  interrupt(Where::hardirq, [&] { refused(lock); });
  interrupt(Where::softirq, [&] { refused(lock); });
  lock.unlock();
}

// T2, T3 (debug: no report), L1: irqs are masked by the holder; an nmi tries by irq_save, too.
TEST_P(Promised, T2_T3_L1_AnNmiInAnIrqOffSectionIsRefused) {
  AnyLock lock(calls());
  bool irq_came = false;
  EXPECT_TRUE(lock.try_guard(TagName::irq_save, [&] {
    const bool masked = !calls().sleeps;
    EXPECT_EQ(counts().masked, masked);
    interrupt(Where::nmi, [&] {
      refused(lock);
      const ThreadCounts before = counts();
      EXPECT_FALSE(lock.try_guard(TagName::irq_save, [] { ADD_FAILURE(); }));
      EXPECT_EQ(counts(), before);
    });
    EXPECT_EQ(counts().masked, masked) << "the nmi's restore changed the mask";
    irq_came = try_interrupt(Where::hardirq, [] {}) != 0;
    EXPECT_EQ(irq_came, !masked);
  }));
}

// T4: a probe inside the section: to the library the same task in the same context.
TEST_P(Promised, T4_AProbeInASectionIsRefused) {
  AnyLock lock(calls());
  ASSERT_TRUE(lock.take());
  interrupt(Where::probe, [&] { refused(lock); });
  lock.unlock();
  interrupt(Where::probe, [&] {
    ASSERT_TRUE(lock.try_lock());
    lock.unlock();
  });
}

// T7: a task holds A, the interrupt that interrupted it B; what interrupts that tries all and gets
// C alone. On RT an irq cannot hold a sleeping lock: a softirq and a probe in it.
TEST_P(Promised, T7_NestedHoldersAreEachRefused) {
  AnyLock a(calls()), b(calls()), c(calls());
  // One word for all on UP: the sibling refuses B and C.
  const bool shared = calls().type == LockType::shared_try_spin && !config().smp && !calls().sleeps;
  const Where second = may_have(Where::hardirq) ? Where::hardirq : Where::softirq;
  const Where third = may_have(Where::nmi) ? Where::nmi : Where::probe;
  bool ran = false;
  ASSERT_TRUE(a.take());
  interrupt(second, [&] {
    EXPECT_EQ(b.try_lock(), !shared);
    interrupt(third, [&] {
      refused(a);
      refused(b);
      EXPECT_EQ(c.try_lock(), !shared);
      if (!shared) c.unlock();
      ran = true;
    });
    if (!shared) b.unlock();
    EXPECT_EQ(b.is_locked(), shared);
  });
  EXPECT_TRUE(a.is_locked());
  a.unlock();
  EXPECT_FALSE(a.is_locked() || b.is_locked() || c.is_locked());
  EXPECT_TRUE(ran);
}

// T8, L8: a try that fails undoes what its tag did; irq_disable enables, whatever it was before.
TEST_P(Promised, T8_L8_AFailedTryUndoesItsTag) {
  using P = HostedPort<configs::up>;
  AnyLock lock(calls());
  ASSERT_TRUE(lock.take());
  for (TagName tag : kTagNames) {
    SCOPED_TRACE(name_of(tag));
    const ThreadCounts before = counts();
    EXPECT_FALSE(lock.try_guard(tag, [] { ADD_FAILURE(); }));
    EXPECT_EQ(counts(), before);

    const P::IrqState saved = P::irq_save();
    EXPECT_FALSE(lock.try_guard(tag, [] { ADD_FAILURE(); }));
    const bool enables = tag == TagName::irq_disable && !calls().sleeps;
    EXPECT_EQ(P::irqs_disabled(), !enables);
    P::irq_restore(saved);
    EXPECT_EQ(counts(), before);
  }
  lock.unlock();
}

TEST_P(Promised, T8_ASuccessfulTryDoesWhatItsTagSays) {
  AnyLock lock(calls());
  for (TagName tag : kTagNames) {
    SCOPED_TRACE(name_of(tag));
    const ThreadCounts before = counts();
    bool ran = false;
    EXPECT_TRUE(lock.try_guard(tag, [&] {
      ran = true;
      ThreadCounts in = counts();
      in.depth = 0;
      ThreadCounts expected = before;
      ++(calls().sleeps ? expected.migrate : expected.preempt);
      expected.masked =
          !calls().sleeps && (tag == TagName::irq_save || tag == TagName::irq_disable);
      expected.bh = tag == TagName::bh_disable;
      EXPECT_EQ(in, expected);
    }));
    EXPECT_TRUE(ran);
    EXPECT_EQ(counts(), before);
  }
}

// T9: a lock is not refused because another of its kind is held, except where the class shares a
// word: 4 bytes for all, and callers with a fallback.
TEST_P(Promised, T9_ASiblingThatIsHeld) {
  AnyLock x(calls()), y(calls());
  const bool shared = calls().type == LockType::shared_try_spin && !config().smp && !calls().sleeps;
  ASSERT_TRUE(x.take());
  const Where where = may_have(Where::hardirq) ? Where::hardirq : Where::softirq;
  interrupt(where, [&] {
    EXPECT_EQ(y.is_locked(), shared);
    const bool got = y.try_lock();
    EXPECT_EQ(got, !shared);
    if (got) y.unlock();
  });
  x.unlock();
  interrupt(where, [&] {
    EXPECT_TRUE(y.try_lock());
    y.unlock();
  });
}

// T10, L5: the lock does not wear out. (One kernel's local_trylock succeeded once per CPU.)
TEST_P(Promised, T10_L5_ManyCyclesAsManySuccesses) {
  AnyLock lock(calls());
  for (Where where : kWheres) {
    if (!may_have(where)) continue;
    for (unsigned i = 0; i < 20; ++i)
      interrupt(where, [&] {
        ASSERT_TRUE(lock.try_lock());
        lock.unlock();
      });
  }
  for (unsigned i = 0; i < 1000; ++i) {
    ASSERT_TRUE(i % 2 ? lock.take() : lock.try_lock());
    lock.unlock();
    ASSERT_FALSE(lock.is_locked());
  }
}

// T11: is_locked() knows, too.
TEST_P(Promised, T11_IsLockedTellsTheTruth) {
  AnyLock lock(calls());
  EXPECT_FALSE(lock.is_locked());
  ASSERT_TRUE(lock.take());
  for (Where where : kWheres) interrupt(where, [&] { EXPECT_TRUE(lock.is_locked()); });
  lock.unlock();
  EXPECT_FALSE(lock.is_locked());
}

// L6, R2: on RT neither an irq nor an nmi gets a free sleeping lock, and neither touches it.
TEST_P(Promised, L6_TheGateRefusesAFreeLockUntouched) {
  AnyLock lock(calls());
  for (Where where : {Where::hardirq, Where::nmi}) {
    interrupt(where, [&] {
      const AnyLock::Bytes bytes = lock.bytes();
      const bool got = lock.try_lock();
      EXPECT_EQ(got, !calls().sleeps);
      if (got)
        lock.unlock();
      else
        EXPECT_EQ(lock.bytes(), bytes);
    });
  }
}

// L11: the same answer for the whole interruption. Who tries in a loop never gets it.
TEST_P(Promised, L11_ARetryInTheSameInterruptionIsRefusedAgain) {
  AnyLock lock(calls());
  ASSERT_TRUE(lock.take());
  interrupt(Where::nmi, [&] {
    for (unsigned i = 0; i < 10; ++i) refused(lock);
  });
  lock.unlock();
}

// ---- the locks that do not: the historic bug, kept ----------------------------------------------

// Expected failures: these locks have no state, so whoever asks gets what another has. If one of
// these tests fails the bug is gone, and so is what they cost.
class Stateless : public AnyLockTest {};
INSTANTIATE_TEST_SUITE_P(All, Stateless, ::testing::ValuesIn(locks_where([](const LockCalls& c) {
                           return !c.has_state && c.try_lock;
                         })),
                         name_of_lock);

TEST_P(Stateless, T1_T2_T4_WhoeverInterruptsTheHolderTakesTheLockToo) {
  AnyLock lock(calls());
  lock.guard(TagName::irq_save, [&] {
    for (Where where : {Where::probe, Where::nmi})
      interrupt(where, [&] {
        EXPECT_TRUE(lock.try_lock()) << "TAKEN is the historic answer";
        lock.unlock();
      });
  });
  lock.lock();
  for (Where where : {Where::task, Where::softirq, Where::hardirq})
    interrupt(where, [&] {
      EXPECT_TRUE(lock.try_lock()) << "TAKEN is the historic answer";
      lock.unlock();
    });
  lock.unlock();
}

TEST_P(Stateless, T11_IsLockedIsAlwaysFalse) {
  AnyLock lock(calls());
  lock.lock();
  EXPECT_FALSE(lock.is_locked());
  EXPECT_FALSE(lock.is_contended());
  lock.unlock();
}

// T3: the debug form of the same locks has state: it refuses, and says that the code relies on it.
class StatelessInDebug : public AnyLockTest {};
INSTANTIATE_TEST_SUITE_P(All, StatelessInDebug,
                         ::testing::ValuesIn(locks_where([](const LockCalls& c) {
                           const Config without{c.config.smp, c.config.preempt_rt, false};
                           return c.config.debug && c.try_lock &&
                                  !lock_of(without, c.type).has_state;
                         })),
                         name_of_lock);

TEST_P(StatelessInDebug, T3_ATryInsideTheSectionIsRefusedAndReported) {
  AnyLock lock(calls());
  lock.lock();
  for (Where where : {Where::softirq, Where::hardirq, Where::nmi})
    interrupt(where, [&] {
      Findings findings;
      EXPECT_FALSE(lock.try_lock());
      ASSERT_EQ(findings.all(), std::vector{Finding::not_promised});
      EXPECT_FALSE(findings[0].fatal);
      EXPECT_EQ(findings[0].context, context_of(where));
      EXPECT_EQ(findings[0].taken_in, Context::task);
    });
  lock.unlock();
}

// ---- RT -----------------------------------------------------------------------------------------

class Rt : public AnyLockTest {};
INSTANTIATE_TEST_SUITE_P(All, Rt, ::testing::ValuesIn(locks_where([](const LockCalls& c) {
                           return c.sleeps && c.lock;
                         })),
                         name_of_lock);
class RtTry : public AnyLockTest {};
INSTANTIATE_TEST_SUITE_P(All, RtTry, ::testing::ValuesIn(locks_where([](const LockCalls& c) {
                           return c.sleeps && c.try_lock;
                         })),
                         name_of_lock);

// R1: an irq may not own a sleeping lock. (SpinLock reports it; what promises just refuses.)
TEST_P(RtTry, R1_AnIrqDoesNotGetAFreeLock) {
  AnyLock lock(calls());
  interrupt(Where::hardirq, [&] {
    Findings findings;
    const AnyLock::Bytes bytes = lock.bytes();
    EXPECT_FALSE(lock.try_lock());
    EXPECT_EQ(lock.bytes(), bytes);
    const bool reports = config().debug && calls().type == LockType::spin;
    EXPECT_EQ(findings.all(), std::vector<Finding>(reports, Finding::wrong_context));
  });
}

// R3: with irqs off, or inside a raw lock, a task may try.
TEST_P(RtTry, R3_ATryWithIrqsOffOrUnderARawLock) {
  using P = HostedPort<configs::up>;
  Findings findings;
  AnyLock lock(calls()), raw(lock_of(config(), LockType::raw_spin));
  raw.guard(TagName::irq_save, [&] {
    EXPECT_TRUE(P::irqs_disabled());
    ASSERT_TRUE(lock.try_lock());
    lock.unlock();
    EXPECT_TRUE(P::irqs_disabled());
  });
  EXPECT_EQ(findings.size(), 0u) << findings.text();
}

// R5: irq_save and irq_disable mask nothing, and the section is preemptible.
TEST_P(Rt, R5_IrqsStayOnInASleepingSection) {
  AnyLock lock(calls());
  for (TagName tag : {TagName::irq_save, TagName::irq_disable})
    lock.guard(tag, [&] {
      EXPECT_EQ(counts().masked, 0u);
      EXPECT_EQ(counts().preempt, 0u);
      EXPECT_EQ(counts().migrate, 1u);
      interrupt(Where::hardirq, [] {});
    });
}

// R5's counterpart: everything that spins is masked and not preemptible.
class Spinning : public AnyLockTest {};
INSTANTIATE_TEST_SUITE_P(All, Spinning, ::testing::ValuesIn(locks_where([](const LockCalls& c) {
                           return !c.sleeps && c.lock;
                         })),
                         name_of_lock);

TEST_P(Spinning, IrqsAreMaskedInASpinningSection) {
  AnyLock lock(calls());
  for (TagName tag : {TagName::irq_save, TagName::irq_disable}) {
    bool came = false;
    lock.guard(tag, [&] {
      EXPECT_EQ(counts().masked, 1u);
      EXPECT_EQ(counts().preempt, 1u);
      EXPECT_EQ(counts().migrate, 0u);
      came = try_interrupt(Where::hardirq, [] {}) != 0;
    });
    EXPECT_FALSE(came);
  }
}

// ---- L7 -----------------------------------------------------------------------------------------

template <class K>
class LocalTry : public InterruptTest {};
TYPED_TEST_SUITE(LocalTry, AllKernels, KernelName);

// The owner's second try is refused, and it is told that it is the owner.
TYPED_TEST(LocalTry, L7_TheOwnerTriesAgain) {
  BasicLocalTryLock<TypeParam> lock;
  EXPECT_FALSE(lock.is_locked_here());
  if (!lock.try_lock()) FAIL();
  EXPECT_TRUE(lock.is_locked_here());
  EXPECT_FALSE(TryGuard(lock));
  interrupt(Where::nmi, [&] { EXPECT_TRUE(lock.is_locked_here()); });
  lock.unlock();
  EXPECT_FALSE(lock.is_locked_here());
}

}  // namespace
}  // namespace nestlock::test_support
