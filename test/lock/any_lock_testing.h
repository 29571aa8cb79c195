// The fixture of the scenarios: any lock of any kernel, with interrupts.
#pragma once

#include "gtest/gtest.h"
#include "test/support/findings.h"
#include "test/support/interrupts.h"
#include "test/support/locks.h"

namespace nestlock::test_support {

class AnyLockTest : public InterruptTest, public ::testing::WithParamInterface<const LockCalls*> {
 protected:
  const LockCalls& calls() const { return *GetParam(); }
  Config config() const { return calls().config; }
  // Whether the table lets a try in this context have a free lock.
  bool may_have(Where w) const {
    return contexts::cell(calls().type, contexts::Call::try_lock, config(), context_of(w)).free ==
           contexts::Answer::granted;
  }
  // A try of a held lock: refused, and nothing is changed.
  static void refused(AnyLock& lock) {
    Findings findings;
    const AnyLock::Bytes bytes = lock.bytes();
    const ThreadCounts before = counts();
    EXPECT_FALSE(lock.try_lock());
    EXPECT_EQ(counts(), before);
    EXPECT_EQ(lock.bytes(), bytes);
    EXPECT_TRUE(lock.is_locked());
    EXPECT_EQ(findings.size(), 0u) << findings.text();
  }
};

}  // namespace nestlock::test_support
