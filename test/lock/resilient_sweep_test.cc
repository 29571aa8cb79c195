// ResilientSpinLock with an interruption after every machine instruction of its calls: the answer is
// what the word says, at each of them; and soon.
#include <chrono>
#include <string>

#include "gtest/gtest.h"
#include "nestlock/nestlock.h"
#include "nestlock/testing/instruction_sweep.h"
#include "test/support/interrupts.h"
#include "test/support/kernels.h"
#include "test/support/verify_line.h"

namespace nestlock::test_support {
namespace {

using testing::CodeRanges;
using testing::SweepOptions;

const CodeRanges& program() {
  static const CodeRanges all = CodeRanges::whole_program();
  return all;
}

template <class K>
class ResilientSweep : public InterruptTest {};
TYPED_TEST_SUITE(ResilientSweep, AllKernels, KernelName);

template <class K>
struct Subject {
  BasicResilientSpinLock<K> lock, outer;
  unsigned granted = 0, denied = 0;
  bool wrong = false;

  // The code: both locks, once in the order of a stack and once not.
  void take_and_give() {
    for (const bool nested : {true, false}) {
      wrong |= !outer.try_lock() || !lock.lock(Spins{100});
      (nested ? lock : outer).unlock();
      (nested ? outer : lock).unlock();
    }
  }
  void ask() {
    const bool held = lock.is_locked();
    const LockResult tried = lock.try_lock();
    if (tried) lock.unlock();
    wrong |= tried.why() != (held ? Refusal::held_by_me : Refusal::none);
    const LockResult locked = lock.lock(std::chrono::minutes(1));
    if (locked) lock.unlock();
    wrong |= locked.why() != (held ? Refusal::deadlock : Refusal::none);
    ++(held ? denied : granted);
  }
};

TYPED_TEST(ResilientSweep, NoFalseAnswerAtAnyBoundary) {
  Subject<TypeParam> s;
  const auto r =
      testing::sweep_each([&] { s.wrong = false; }, [&] { s.take_and_give(); }, [&] { s.ask(); },
                          [&] {
                            return !s.wrong && !s.lock.is_locked() && !s.outer.is_locked() &&
                                   counts() == ThreadCounts{};
                          },
                          {.ranges = program()});
  if (!r.supported) GTEST_SKIP() << r.text();
  EXPECT_TRUE(r.ok()) << r.text();
  swept("ResilientSpinLock", name_of(TypeParam::kConfig), "the answer and the reason", r, true)
      .put("hits", s.denied);
  EXPECT_GT(s.granted, 0u);
  EXPECT_GT(s.denied, 0u);
}

// The holder is answered within 100 instructions, in every nesting.
TYPED_TEST(ResilientSweep, TheHolderIsAnsweredWithinAHundredInstructions) {
  BasicResilientSpinLock<TypeParam> lock;
  ASSERT_TRUE(lock.try_lock());
  std::uint64_t most = 0;
  for (const Where where : kWheres)
    for (const bool by_try : {true, false}) {
      std::uint64_t n = 0;
      bool supported = true;
      Refusal why{};
      interrupt(where, [&] {
        const auto r = testing::sweep_through(
            [&] { why = (by_try ? lock.try_lock() : lock.lock(std::chrono::minutes(1))).why(); },
            [] {}, {.ranges = program()});
        supported = r.supported, n = r.boundaries;
      });
      if (!supported) continue;
      EXPECT_EQ(why, by_try ? Refusal::held_by_me : Refusal::deadlock);
      EXPECT_GT(n, 0u);
      if (n > most) most = n;
      EXPECT_LE(n, 100u) << name_of(where) << (by_try ? " try_lock" : " lock");
    }
  lock.unlock();
  this->RecordProperty("instructions", std::to_string(most));
}

}  // namespace
}  // namespace nestlock::test_support
