// lock() that can never return, in the context that interrupted the holder: T13, T14, L4, R8 of test/README.md.
#include <ostream>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "test/support/findings.h"
#include "test/support/interrupts.h"
#include "test/support/locks.h"

namespace nestlock::test_support {
namespace {

// What lock() is to find, called in `where` by code that interrupted the holder (a task).
struct NeverCase {
  const LockCalls* lock;
  Where where;
  Finding finding;
  friend void PrintTo(const NeverCase& c, std::ostream* os) {
    *os << c.lock->name() << " in " << name_of(c.where);
  }
};

// Not here: an SMP word without debug. It knows no owner, so the caller spins for ever.
std::vector<NeverCase> never_cases() {
  std::vector<NeverCase> v;
  for (const LockCalls& c : kAllLocks) {
    if (!c.lock || !c.has_state) continue;
    const bool byte =
        !c.sleeps && (!c.config.smp || c.type == LockType::local || c.type == LockType::local_try);
    for (Where where : {Where::task, Where::probe, Where::softirq, Where::hardirq}) {
      if (c.config.debug)
        v.push_back(
            {&c, where,
             context_of(where) == Context::task ? Finding::recursion : Finding::never_returns});
      else if (byte)
        v.push_back({&c, where, Finding::never_returns});
      else if (c.sleeps && context_of(where) == Context::task)
        v.push_back({&c, where, Finding::deadlock});
    }
  }
  return v;
}

class Never : public InterruptTest, public ::testing::WithParamInterface<NeverCase> {};
std::string name_of_case(const ::testing::TestParamInfo<NeverCase>& info) {
  return info.param.lock->name() + "_" + name_of(info.param.where);
}
INSTANTIATE_TEST_SUITE_P(All, Never, ::testing::ValuesIn(never_cases()), name_of_case);

TEST_P(Never, T13_T14_L4_R8_LockIsReportedAndDoesNotHangNorEnter) {
  const NeverCase& c = GetParam();
  AnyLock lock(*c.lock);
  const Outcome o = in_child([&] {
    lock.lock();
    interrupt(c.where, [&] { lock.lock(); });
  });
  ASSERT_TRUE(o.died) << o.text();
  ASSERT_FALSE(o.reports.empty());
  const Report& r = o.reports.back();
  EXPECT_EQ(r.finding, c.finding) << o.text();
  EXPECT_TRUE(r.fatal);
  EXPECT_EQ(r.lock, lock.address());
  EXPECT_STREQ(r.type, nestlock::name_of(c.lock->type));
  EXPECT_STREQ(r.call, "lock");
  EXPECT_EQ(r.config, c.lock->config);
  EXPECT_EQ(r.context, context_of(c.where));
}

}  // namespace
}  // namespace nestlock::test_support
