// RecursiveLock, Event and RwSpinLock's readers, row by row of include/nestlock/README.md: each call in
// each context, and on top of each context that it can interrupt. What the lock below answers comes from
// contexts.h; the contexts are entered by real signals.
#include <vector>

#include "gtest/gtest.h"
#include "nestlock/lock/event.h"
#include "nestlock/lock/guard.h"
#include "nestlock/lock/recursive_lock.h"
#include "nestlock/lock/rw_spinlock.h"
#include "nestlock/lock/spinlock.h"
#include "nestlock/lock/try_spinlock.h"
#include "test/support/contract.h"
#include "test/support/findings.h"
#include "test/support/interrupts.h"
#include "test/support/kernels.h"

namespace nestlock::test_support {
namespace {

using contexts::Call;

template <class K>
class ReadersContract : public InterruptTest {};
TYPED_TEST_SUITE(ReadersContract, AllKernels, KernelName);

// ---- RecursiveLock ------------------------------------------------------------------------------

template <class L>
struct RecursiveCase {
  BasicRecursiveLock<L> lock;
  static inline unsigned owned = 0;  // guarded by it; no atomic: ThreadSanitizer checks the order

  void alone(Where where, Call call) {
    const Row<L> row{context_of(where)};
    const bool tries = call == Call::try_lock;
    if (!tries && !row.lock_is_tried()) return;
    interrupt(where, [&]() NESTLOCK_NO_TSA {
      const ThreadCounts before = counts();
      const auto bytes = bytes_of(lock);
      Findings findings;
      const bool got = tries ? lock.try_lock() : (lock.lock(), true);
      EXPECT_EQ(got, !tries || row.gets_free());
      EXPECT_EQ(lock.held_by_caller(), got);
      EXPECT_EQ(findings.all(), row.reports({call})) << findings.text();
      if (got) {
        ++owned;
        goes_in_again();
        lock.unlock();
        EXPECT_EQ(findings.all(), row.reports({call, Call::unlock})) << findings.text();
        EXPECT_FALSE(lock.held_by_caller() || lock.is_locked());
      } else {
        EXPECT_EQ(bytes_of(lock), bytes) << "a losing try changed the lock";
      }
      EXPECT_EQ(counts(), before);
    });
  }

  // By the owner, in whatever context: as often as it likes, and it stays the owner.
  void goes_in_again() NESTLOCK_NO_TSA {
    const ThreadCounts held = counts();
    const unsigned depth = lock.depth();
    lock.lock();
    EXPECT_TRUE(lock.try_lock());
    EXPECT_EQ(lock.depth(), depth + 2);
    lock.unlock(), lock.unlock();
    EXPECT_EQ(lock.depth(), depth);
    EXPECT_TRUE(lock.held_by_caller());
    EXPECT_EQ(lock.is_locked(), !Row<L>{Context::task}.gets_held()) << "unless it has no state";
    EXPECT_EQ(counts(), held);
  }

  // A probe is taken for the owner; no other handler is.
  void on_its_owner(Where holder, Where where) {
    const Row<L> owner{context_of(holder)}, row{context_of(where, holder)};
    if (!owner.can_hold()) return;
    interrupt(holder, [&]() NESTLOCK_NO_TSA {
      owner.take(lock);
      ++owned;
      interrupt(where, [&]() NESTLOCK_NO_TSA {
        const ThreadCounts before = counts();
        const auto bytes = bytes_of(lock);
        Findings findings;
        if (where == Where::probe) {
          goes_in_again();
          EXPECT_EQ(findings.size(), 0u) << findings.text();
        } else {
          EXPECT_FALSE(lock.held_by_caller());
          const bool got = lock.try_lock();
          EXPECT_EQ(got, row.gets_held());
          EXPECT_EQ(findings.all(), row.reports_of_try_on(owner.here)) << findings.text();
          // A lock without state has two owners now, and is pinned by both.
          if (got) lock.unlock(), L::Port::preempt_enable();
        }
        EXPECT_EQ(bytes_of(lock) != bytes, where != Where::probe && row.gets_held());
        EXPECT_EQ(counts(), before);
      });
      EXPECT_EQ(lock.depth(), 1u);
      lock.unlock();
      EXPECT_FALSE(lock.held_by_caller() || lock.is_locked());
    });
  }

  unsigned so_far() {
    Guard g(lock);
    return owned;
  }
  static void run() {
    RecursiveCase c;
    for_each_context(
        [&](Where where) { c.alone(where, Call::lock), c.alone(where, Call::try_lock); });
    const unsigned alone = c.so_far();
    EXPECT_GE(alone, 4u) << "a task and a probe, by either call";
    for_each_interruption([&](Where holder, Where where) { c.on_its_owner(holder, where); });
    EXPECT_GE(c.so_far(), alone + 4) << "a task, interrupted by each";
  }
};

TYPED_TEST(ReadersContract, RecursiveLock) {
  RecursiveCase<BasicRawSpinLock<TypeParam>>::run();
  RecursiveCase<BasicSpinLock<TypeParam>>::run();
  RecursiveCase<BasicTrySpinLock<TypeParam>>::run();
  RecursiveCase<BasicRwSpinLock<TypeParam>>::run();
}

// ---- Event --------------------------------------------------------------------------------------

TYPED_TEST(ReadersContract, EventAlone) {
  BasicEvent<TypeParam> event;
  for_each_context([&](Where where) {
    interrupt(where, [&] {
      const bool task = context_of(where) == Context::task;
      Findings findings;
      EXPECT_FALSE(event.try_wait());
      event.signal();
      ASSERT_TRUE(event.try_wait());
      EXPECT_FALSE(event.try_wait());
      EXPECT_EQ(findings.size(), 0u) << findings.text();
      if (!task && !TypeParam::kConfig.debug) return;
      event.signal();
      event.wait();
      ASSERT_EQ(findings.size(), task ? 0u : 1u) << findings.text();
      if (!task) {
        EXPECT_EQ(findings[0].finding, Finding::wrong_context);
        EXPECT_STREQ(findings[0].call, "wait");
        EXPECT_EQ(findings[0].context, context_of(where));
      }
      EXPECT_FALSE(event.try_wait());
    });
  });
}

// Signalled by who interrupts and taken by who was interrupted, then the other way round.
TYPED_TEST(ReadersContract, EventFromContextToContext) {
  BasicEvent<TypeParam> event;
  static unsigned data[32];  // no atomics: ThreadSanitizer checks the order
  unsigned signals = 0, takes = 0;
  const auto signal = [&] { data[signals] = signals + 1, ++signals, event.signal(); };
  const auto take = [&] {
    ASSERT_TRUE(event.try_wait());
    EXPECT_EQ(data[takes], takes + 1);
    ++takes;
  };
  for_each_interruption([&](Where holder, Where where) {
    interrupt(holder, [&] {
      interrupt(where, signal), take();
      signal(), interrupt(where, take);
      EXPECT_FALSE(event.try_wait());
    });
  });
  EXPECT_EQ(takes, 2u * (4 + 3 + 2 + 1));
}

// ---- RwSpinLock's readers -----------------------------------------------------------------------

TYPED_TEST(ReadersContract, RwSpinLockAlone) {
  using L = BasicRwSpinLock<TypeParam>;
  L lock;
  for_each_context([&](Where where) {
    interrupt(where, [&]() NESTLOCK_NO_TSA {
      const Row<L> row{context_of(where)};
      const ThreadCounts before = counts();
      Findings findings;
      EXPECT_TRUE(lock.try_lock_shared());
      EXPECT_EQ(findings.size(), 0u) << findings.text();
      if (row.lock_is_tried()) lock.lock_shared(), lock.unlock_shared();
      EXPECT_EQ(findings.all(), row.reports({Call::lock})) << findings.text();
      EXPECT_FALSE(lock.try_lock());
      lock.unlock_shared();
      EXPECT_FALSE(lock.is_locked());
      EXPECT_EQ(counts(), before);
    });
  });
}

TYPED_TEST(ReadersContract, RwSpinLockOnAReaderAndOnAWriter) {
  using L = BasicRwSpinLock<TypeParam>;
  L lock;
  static unsigned data = 0;  // guarded by it; no atomic: ThreadSanitizer checks the order
  unsigned written = 0, granted = 0;
  for_each_interruption([&](Where holder, Where where) {
    const Row<L> owner{context_of(holder)}, row{context_of(where, holder)};
    interrupt(holder, [&]() NESTLOCK_NO_TSA {
      const auto try_to_read = [&](bool wanted) NESTLOCK_NO_TSA {
        interrupt(where, [&]() NESTLOCK_NO_TSA {
          const auto bytes = bytes_of(lock);
          Findings findings;
          const bool got = lock.try_lock_shared();
          EXPECT_EQ(got, wanted);
          if (wanted && row.locks()) lock.lock_shared(), lock.unlock_shared();
          if (got) {
            EXPECT_EQ(data, written);
            ++granted;
            lock.unlock_shared();
          }
          EXPECT_EQ(findings.size(), 0u) << findings.text();
          EXPECT_EQ(bytes_of(lock), bytes);
        });
      };
      owner.take(lock);
      data = ++written;
      try_to_read(false);
      lock.unlock();
      if (owner.locks())
        lock.lock_shared();
      else
        ASSERT_TRUE(lock.try_lock_shared());
      try_to_read(true);
      lock.unlock_shared();
    });
  });
  EXPECT_EQ(granted, 10u);
  EXPECT_EQ(written, granted);
}

}  // namespace
}  // namespace nestlock::test_support
