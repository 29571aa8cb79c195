// The contexts table, cell by cell: every lock of every kernel, each call, in each context. What is
// expected comes from contexts.h; the contexts are entered by real signals.
#include <cstdio>
#include <vector>

#include "gtest/gtest.h"
#include "test/support/findings.h"
#include "test/support/interrupts.h"
#include "test/support/locks.h"

namespace nestlock::test_support {
namespace {

using contexts::Answer;
using contexts::Call;

struct CellCase {
  const LockCalls* lock;
  Call call;
  Where where;

  contexts::Cell in(Context here) const {
    return contexts::cell(lock->type, call, lock->config, here);
  }
  contexts::Cell cell() const { return in(context_of(where)); }
  friend void PrintTo(const CellCase& c, std::ostream* os) {
    *os << c.lock->name() << "." << contexts::name_of(c.call) << "() in " << name_of(c.where);
  }
};

enum class Which : std::uint8_t { all, allowed, forbidden };

// Without debug a forbidden lock() or unlock() is not tried: it may hang, and nothing is promised.
std::vector<CellCase> cells_of(Call call, Which which = Which::all) {
  std::vector<CellCase> cells;
  for (const LockCalls& lock : kAllLocks)
    for (Where where : kWheres) {
      const CellCase c{&lock, call, where};
      const bool allowed = c.cell().allowed;
      if (contexts::has(lock.type, call) &&
          which != (allowed ? Which::forbidden : Which::allowed) &&
          (call == Call::try_lock || lock.config.debug || allowed))
        cells.push_back(c);
    }
  return cells;
}

std::string name_of_case(const ::testing::TestParamInfo<CellCase>& info) {
  return info.param.lock->name() + "_" + name_of(info.param.where);
}

class Cell : public InterruptTest, public ::testing::WithParamInterface<CellCase> {
 protected:
  const CellCase& cell_case() const { return GetParam(); }
  const LockCalls& calls() const { return *cell_case().lock; }
  Where where() const { return cell_case().where; }

  ThreadCounts with_lock_held(ThreadCounts c) const {
    ++(calls().sleeps ? c.migrate : c.preempt);
    return c;
  }

  // try_lock() here, where the lock is held or not, by code that took it in `holder`.
  void try_here(AnyLock& lock, bool held, Context holder) {
    const Context here = where() == Where::probe ? holder : context_of(where());
    ASSERT_EQ(hosted::context(), here);
    const contexts::Cell cell = cell_case().in(here);
    const Answer expected = !cell.allowed ? Answer::refused : held ? cell.held : cell.free;
    const AnyLock::Bytes bytes = lock.bytes();
    const ThreadCounts before = counts();
    EXPECT_EQ(lock.is_locked(), held && calls().has_state);

    Findings findings;
    const bool got = lock.try_lock();
    EXPECT_EQ(got, expected == Answer::granted);
    std::vector<Finding> reports;
    if (calls().config.debug && !cell.allowed) reports.push_back(Finding::wrong_context);
    if (calls().config.debug && cell.allowed && held && holder < here && !calls().config.smp &&
        !contexts::promised(calls().type))
      reports.push_back(Finding::not_promised);
    EXPECT_EQ(findings.all(), reports) << findings.text();

    if (got) {
      EXPECT_EQ(counts(), with_lock_held(before));
      EXPECT_EQ(lock.is_locked(), calls().has_state);
      EXPECT_EQ(held, !calls().has_state && held) << "two owners of a lock that has state";
      lock.unlock();
    } else {
      EXPECT_EQ(lock.bytes(), bytes) << "a losing try changed the lock";
    }
    EXPECT_EQ(counts(), before);
    EXPECT_EQ(lock.is_locked(), held && calls().has_state);
    ++tries_;
    found_held_ += held;
  }

  // Code in `holder` takes the lock, is interrupted by a try, and gives it back.
  void try_inside_section_of(Where holder) {
    AnyLock lock(calls());
    bool could_hold = false;
    interrupt(holder, [&] {
      could_hold = lock.take(context_of(holder));
      if (!could_hold) return;
      interrupt(where(), [&] { try_here(lock, /*held=*/true, context_of(holder)); });
      lock.unlock();
      EXPECT_FALSE(lock.is_locked());
    });
    holders_ += could_hold;
  }

  Cell() { hosted::tsan_unchecked(this, sizeof *this); }  // counted in the handlers

  unsigned tries_ = 0, found_held_ = 0, holders_ = 0;
};

// ---- try_lock() ---------------------------------------------------------------------------------

class TryLock : public Cell {};
INSTANTIATE_TEST_SUITE_P(Cells, TryLock, ::testing::ValuesIn(cells_of(Call::try_lock)),
                         name_of_case);

TEST_P(TryLock, OnAFreeLock) {
  AnyLock lock(calls());
  interrupt(where(), [&] { try_here(lock, /*held=*/false, Context::task); });
  EXPECT_EQ(tries_, 1u);
}

// By whatever this context can interrupt: a task, a softirq, an irq; a probe comes in an nmi, too.
TEST_P(TryLock, OnALockHeldByWhatItInterrupted) {
  for (Where holder : {Where::task, Where::softirq, Where::hardirq, Where::nmi})
    if (holder == Where::task || where() == Where::probe || holder < where())
      try_inside_section_of(holder);
  EXPECT_GE(holders_, 1u);
  EXPECT_EQ(found_held_, holders_);
}

// ---- lock() -------------------------------------------------------------------------------------

class Lock : public Cell {};
INSTANTIATE_TEST_SUITE_P(Cells, Lock, ::testing::ValuesIn(cells_of(Call::lock)), name_of_case);

TEST_P(Lock, OnAFreeLock) {
  AnyLock lock(calls());
  bool ran = false;
  interrupt(where(), [&] {
    const ThreadCounts before = counts();
    {
      Findings findings;
      lock.lock();
      if (cell_case().cell().allowed) {
        EXPECT_EQ(findings.size(), 0u) << findings.text();
      } else {
        ASSERT_EQ(findings.all(), std::vector{Finding::wrong_context}) << findings.text();
        EXPECT_STREQ(findings[0].call, "lock");
        EXPECT_EQ(findings[0].lock, lock.address());
        EXPECT_EQ(findings[0].context, context_of(where()));
        EXPECT_FALSE(findings[0].fatal);
      }
    }
    EXPECT_EQ(lock.is_locked(), calls().has_state);
    EXPECT_EQ(counts(), with_lock_held(before));
    {
      Findings ignored;  // unlock() has cells of its own
      lock.assert_held();
      lock.unlock();
    }
    EXPECT_FALSE(lock.is_locked());
    EXPECT_EQ(counts(), before);
    ran = true;
  });
  EXPECT_TRUE(ran);
}

// ---- unlock() -----------------------------------------------------------------------------------

class Unlock : public Cell {};
INSTANTIATE_TEST_SUITE_P(Cells, Unlock, ::testing::ValuesIn(cells_of(Call::unlock, Which::allowed)),
                         name_of_case);

TEST_P(Unlock, OfWhatWasTakenThere) {
  AnyLock lock(calls());
  bool ran = false;
  interrupt(where(), [&] {
    const ThreadCounts before = counts();
    Findings findings;
    ASSERT_TRUE(lock.take(context_of(where()))) << "what can be released can be taken";
    lock.unlock();
    EXPECT_EQ(findings.size(), 0u) << findings.text();
    EXPECT_FALSE(lock.is_locked());
    EXPECT_EQ(counts(), before);
    ran = true;
  });
  EXPECT_TRUE(ran);
}

class ForbiddenUnlock : public Cell {};
INSTANTIATE_TEST_SUITE_P(Cells, ForbiddenUnlock,
                         ::testing::ValuesIn(cells_of(Call::unlock, Which::forbidden)),
                         name_of_case);

TEST_P(ForbiddenUnlock, IsReported) {
  AnyLock lock(calls());
  lock.take(Context::task);
  interrupt(where(), [&] {
    Findings findings;
    lock.unlock();
    ASSERT_GE(findings.size(), 1u);
    EXPECT_EQ(findings[0].finding, Finding::wrong_context) << findings.text();
    EXPECT_STREQ(findings[0].call, "unlock");
  });
  // Nothing changed: the lock is its holder's, in the context that took it.
  EXPECT_TRUE(lock.is_locked());
  lock.unlock();
  EXPECT_FALSE(lock.is_locked());
}

// ---- lock_nested_bh() ---------------------------------------------------------------------------

class LockNestedBh : public Cell {};
INSTANTIATE_TEST_SUITE_P(Cells, LockNestedBh, ::testing::ValuesIn(cells_of(Call::lock_nested_bh)),
                         name_of_case);

TEST_P(LockNestedBh, WithBottomHalvesDisabled) {
  using P = HostedPort<configs::up>;
  AnyLock lock(calls());
  bool ran = false;
  interrupt(where(), [&] {
    P::bh_disable();
    const ThreadCounts before = counts();
    {
      Findings findings;
      lock.lock_nested_bh();
      if (cell_case().cell().allowed) {
        EXPECT_EQ(findings.size(), 0u) << findings.text();
      } else {
        ASSERT_EQ(findings.all(), std::vector{Finding::wrong_context}) << findings.text();
        EXPECT_STREQ(findings[0].call, "lock_nested_bh");
      }
    }
    EXPECT_EQ(lock.is_locked(), calls().sleeps) << "without RT it takes nothing";
    EXPECT_EQ(counts(), before);
    {
      Findings ignored;
      lock.unlock_nested_bh();
    }
    EXPECT_FALSE(lock.is_locked());
    EXPECT_EQ(counts(), before);
    P::bh_enable();
    ran = true;
  });
  EXPECT_TRUE(ran);
}

// ---- the table covers the types -----------------------------------------------------------------

// A row for a function that a type lacks, or a function without a row, would be a cell untested.
TEST(Table, HasARowForEachFunctionAndNoOther) {
  for (const LockCalls& c : kAllLocks) {
    EXPECT_EQ(contexts::has(c.type, Call::lock), c.lock != nullptr) << c.name();
    EXPECT_EQ(contexts::has(c.type, Call::try_lock), c.try_lock != nullptr) << c.name();
    EXPECT_EQ(contexts::has(c.type, Call::lock_nested_bh), c.lock_nested_bh != nullptr) << c.name();
    EXPECT_TRUE(contexts::has(c.type, Call::unlock)) << c.name();
  }
}

// Rows neither overlap nor leave a configuration out.
TEST(Table, HasExactlyOneRowForEachCallAndConfiguration) {
  for (const LockCalls& c : kAllLocks)
    for (Call call : {Call::lock, Call::try_lock, Call::unlock, Call::lock_nested_bh}) {
      unsigned rows = 0;
      for (const contexts::Row& row : contexts::kTable)
        rows += row.lock == c.type && row.call == call && applies(row.when, c.config) &&
                applies(row.also, c.config);
      EXPECT_EQ(rows, contexts::has(c.type, call)) << c.name() << "." << name_of(call);
    }
}

TEST(Table, IsTestedCellByCell) {
  std::size_t cells = 0;
  for (Call call : {Call::lock, Call::try_lock, Call::unlock, Call::lock_nested_bh})
    cells += cells_of(call).size();
  RecordProperty("cells", static_cast<int>(cells));
  EXPECT_GE(cells, 600u);
  std::printf("%zu cells\n", cells);
}

}  // namespace
}  // namespace nestlock::test_support
