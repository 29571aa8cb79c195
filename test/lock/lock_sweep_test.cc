// The locks with an interruption after every machine instruction: a toy free list that the
// interrupted code and the interruption both take from. T6 (between the test and the set of a try)
// is among the boundaries, whatever the compiler made of it.
#include <cstdlib>
#include <string>

#include "gtest/gtest.h"
#include "nestlock/testing/instruction_sweep.h"
#include "test/support/interrupts.h"
#include "test/support/locks.h"
#include "test/support/verify_line.h"

namespace nestlock::test_support {
namespace {

using testing::SweepOptions;
using testing::SweepResult;

struct Node {
  Node* next;
};

class FreeList {
 public:
  explicit FreeList(const LockCalls& calls) : lock_(calls) {}

  void reset() {
    head_ = nullptr;
    for (Node& n : node_) n.next = head_, head_ = &n;
    kept_[0] = kept_[1] = has_ = nullptr;
    refused_ = false;
  }
  // The code: takes a node and gives it back.
  void take_and_give(bool by_try) {
    if (!acquire(by_try)) return;
    has_ = pop();
    lock_.unlock();
    if (!acquire(by_try)) return;
    if (has_) has_->next = head_, head_ = has_, has_ = nullptr;
    lock_.unlock();
  }
  // The interruption, or the one that interrupts that: takes a node by a try, and keeps it.
  void take_one(unsigned level = 0) {
    if (lock_.try_lock()) {
      kept_[level] = pop();
      lock_.unlock();
      ++granted_;
    } else {
      ++denied_;
    }
  }
  // Every node is in one hand. The code's own tries were never refused: whoever interrupted it has
  // given the lock back.
  bool intact() const {
    unsigned free = 0;
    for (const Node* n = head_; n && free <= kNodes; n = n->next) {
      if (n == kept_[0] || n == kept_[1]) return false;  // handed out twice
      ++free;
    }
    if (kept_[0] && kept_[0] == kept_[1]) return false;
    const unsigned kept = (kept_[0] != nullptr) + (kept_[1] != nullptr);
    return !refused_ && !lock_.is_locked() && free + kept == kNodes && counts() == ThreadCounts{};
  }
  unsigned granted() const { return granted_; }
  unsigned denied() const { return denied_; }

 private:
  static constexpr unsigned kNodes = 3;

  bool acquire(bool by_try) {
    if (!by_try)
      lock_.lock();
    else if (!lock_.try_lock())
      refused_ = true;
    return !refused_;
  }
  Node* pop() {
    Node* const n = head_;
    if (n) head_ = n->next;
    return n;
  }

  AnyLock lock_;
  Node node_[kNodes]{};
  Node* head_ = nullptr;
  Node *kept_[2] = {nullptr, nullptr}, *has_ = nullptr;
  bool refused_ = false;
  unsigned granted_ = 0, denied_ = 0;
};

// Under ThreadSanitizer the debug forms, ten times as long, by every fifth instruction; else every
// one.
std::uint64_t stride(bool debug) { return internal::kWithTsan && debug ? 5 : 1; }

SweepResult sweep(FreeList& list, bool by_try, bool debug) {
  static const testing::CodeRanges program = testing::CodeRanges::whole_program();
  SweepOptions options;
  options.ranges = program;
  options.boundaries.every = stride(debug);
  return testing::sweep_each([&] { list.reset(); }, [&] { list.take_and_give(by_try); },
                             [&] { list.take_one(); }, [&] { return list.intact(); }, options);
}

class Sweep : public InterruptTest, public ::testing::WithParamInterface<const LockCalls*> {};
INSTANTIATE_TEST_SUITE_P(All, Sweep, ::testing::ValuesIn(locks_where([](const LockCalls& c) {
                           return c.has_state && c.try_lock;
                         })),
                         name_of_lock);

TEST_P(Sweep, T6_NoNodeIsHandedOutTwice) {
  for (const bool by_try : {true, false}) {
    if (!by_try && !GetParam()->lock) continue;
    FreeList list(*GetParam());
    const SweepResult r = sweep(list, by_try, GetParam()->config.debug);
    if (!r.supported) GTEST_SKIP() << r.text();
    EXPECT_TRUE(r.ok()) << r.text();
    swept(name_of(GetParam()->type), name_of(GetParam()->config), by_try ? "try_lock" : "lock", r,
          stride(GetParam()->config.debug) == 1)
        .put("hits", list.denied());
    EXPECT_GT(list.granted(), 0u) << "no interruption found the lock free";
    EXPECT_GT(list.denied(), 0u) << "no interruption found the lock held";
  }
}

// Depth 2, try_lock() in a try_lock() in a try_lock(): every pair in the release forms (of the two
// PREEMPT_RT ones, which have the same word, in one); elsewhere a sample, and every pair with
// NESTLOCK_LONG=1.
TEST_P(Sweep, T6_NorWhereTheInterruptionIsInterrupted) {
  if (internal::kWithTsan) GTEST_SKIP() << "takes minutes under ThreadSanitizer";
  FreeList list(*GetParam());
  static const testing::CodeRanges program = testing::CodeRanges::whole_program();
  const Config c = GetParam()->config;
  const bool all = (!c.debug && c != configs::up_rt) || std::getenv("NESTLOCK_LONG");
  const testing::Sample sample{.first = c.debug && !all ? 5u : 1u,
                               .every = all       ? 1u
                                        : c.debug ? 97u
                                                  : 5u};
  const SweepResult r = testing::sweep_pairs(
      [&] { list.reset(); }, [&] { list.take_and_give(/*by_try=*/true); },
      [&] { list.take_one(0); }, [&] { list.take_one(1); }, [&] { return list.intact(); },
      {.ranges = program, .boundaries = sample, .inner = sample});
  if (!r.supported) GTEST_SKIP() << r.text();
  EXPECT_TRUE(r.ok()) << r.text();
  if (all) {
    EXPECT_TRUE(r.complete) << r.text();
  }
  swept(std::string(name_of(GetParam()->type)) + ", pairs", name_of(GetParam()->config), "try_lock",
        r, all)
      .put("hits", list.denied());
  EXPECT_GT(list.granted(), 0u) << "no interruption found the lock free";
  EXPECT_GT(list.denied(), 0u) << "no interruption found the lock held";
}

// The historic bug, kept: on a lock without state every interruption is granted, and some of them
// get what the interrupted code is about to take.
class StatelessSweep : public Sweep {};
INSTANTIATE_TEST_SUITE_P(All, StatelessSweep,
                         ::testing::ValuesIn(locks_where([](const LockCalls& c) {
                           return !c.has_state && c.try_lock;
                         })),
                         name_of_lock);

TEST_P(StatelessSweep, HandsANodeOutTwice) {
  FreeList list(*GetParam());
  const SweepResult r = sweep(list, /*by_try=*/false, /*debug=*/false);
  if (!r.supported) GTEST_SKIP() << r.text();
  EXPECT_FALSE(r.trouble) << r.text();
  EXPECT_EQ(list.denied(), 0u);
  EXPECT_GT(r.failed, 0u) << "expected failures are gone: " << r.text();
  caught("sweep", std::string(name_of(GetParam()->type)) + " without state",
         name_of(GetParam()->config), r.failed != 0);
}

}  // namespace
}  // namespace nestlock::test_support
