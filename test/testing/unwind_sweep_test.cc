// A profiler's handler may unwind from every instruction of the fast paths, in all eight kernels:
// of the locks, the port's masks and the page allocator here, of kmalloc in unwind_slab_test.cc.
// And the tool itself: it must see tables that are wrong.
#include "nestlock/testing/unwind_sweep.h"

#include <cstdio>
#include <thread>

#include "gtest/gtest.h"
#include "test/support/interrupts.h"
#include "test/support/kernels.h"
#include "test/support/locks.h"
#include "test/support/page_sweep.h"
#include "test/support/unwinding.h"

#if defined(__x86_64__) && defined(__linux__)

// Functions whose unwind information is right, wrong, or missing.
extern "C" {
void unwind_test_right();
void unwind_test_wrong();
void unwind_test_missing();
void unwind_test_one_late();
}
asm(R"(
  .pushsection .text
  .macro unwind_test name
    .globl \name
    .hidden \name
    .type \name, @function
    \name:
  .endm
  unwind_test unwind_test_right
    .cfi_startproc
    lea 1f(%rip), %rax
    push %rax
    .cfi_adjust_cfa_offset 8
    nop
  1:
    pop %rax
    .cfi_adjust_cfa_offset -8
    ret
    .cfi_endproc
  .size unwind_test_right, .-unwind_test_right
  # An unwinder takes what was pushed for the return address, and comes to main() all the same.
  unwind_test unwind_test_wrong
    .cfi_startproc
    lea 1f(%rip), %rax
    push %rax
    nop
  1:
    pop %rax
    ret
    .cfi_endproc
  .size unwind_test_wrong, .-unwind_test_wrong
  unwind_test unwind_test_missing
    nop
    ret
  .size unwind_test_missing, .-unwind_test_missing
  # Wrong for one instruction: the stack has moved, and the tables say so one later.
  unwind_test unwind_test_one_late
    .cfi_startproc
    lea 1f(%rip), %rax
    push %rax
  1:
    nop
    .cfi_adjust_cfa_offset 8
    nop
    pop %rax
    .cfi_adjust_cfa_offset -8
    ret
    .cfi_endproc
  .size unwind_test_one_late, .-unwind_test_one_late
  .popsection
)");

namespace nestlock::test_support {
namespace {

using testing::CodeRanges;
using testing::sweep_unwinding;
using testing::UnwindResult;

// ---- the tool -----------------------------------------------------------------------------------

TEST(UnwindSweep, SeesTheStackOfRightTables) {
  const UnwindResult r =
      sweep_unwinding([] { unwind_test_right(); }, CodeRanges::function("unwind_test_right"));
  EXPECT_TRUE(r.ok()) << r.text();
  EXPECT_EQ(r.unwound, 5u) << r.text();
  EXPECT_TRUE(r.called_from("main")) << r.text();
  EXPECT_FALSE(r.called_from("unwind_test_right"));
  EXPECT_FALSE(r.called_from("no_such_function"));
}

// Expected failures, kept for good.
TEST(UnwindSweep, SeesWrongTablesAlthoughTheyLeadToMain) {
  const UnwindResult r =
      sweep_unwinding([] { unwind_test_wrong(); }, CodeRanges::function("unwind_test_wrong"));
  EXPECT_FALSE(r.ok());
  EXPECT_EQ(r.unwound, 5u) << r.text();
  EXPECT_EQ(r.sweep.failed, 2u) << r.text();  // the nop and the pop
  EXPECT_NE(r.wrong.find("another caller: frame 1 returns to unwind_test_wrong+"), r.wrong.npos)
      << r.wrong;
  EXPECT_TRUE(r.called_from("main"));
  caught("unwind", "asm without CFI for its push", "any", r.sweep.failed == 2);
}

TEST(UnwindSweep, SeesTablesThatAreLateByOneInstruction) {
  const UnwindResult r =
      sweep_unwinding([] { unwind_test_one_late(); }, CodeRanges::function("unwind_test_one_late"));
  EXPECT_FALSE(r.ok());
  EXPECT_EQ(r.unwound, 6u) << r.text();
  EXPECT_EQ(r.sweep.failed, 1u) << r.text();
  caught("unwind", "CFI late by one instruction", "any", r.sweep.failed == 1);
}

TEST(UnwindSweep, SeesThatThereAreNoTables) {
  const UnwindResult r =
      sweep_unwinding([] { unwind_test_missing(); }, CodeRanges::function("unwind_test_missing"));
  EXPECT_FALSE(r.ok());
  EXPECT_EQ(r.sweep.failed, 2u) << r.text();
  EXPECT_NE(r.wrong.find("the unwinder stops early"), r.wrong.npos) << r.wrong;
  caught("unwind", "asm without CFI", "any", r.sweep.failed == 2);
}

TEST(UnwindSweep, NothingToUnwindIsNotOk) {
  const UnwindResult r =
      sweep_unwinding([] { unwind_test_right(); }, CodeRanges::function("unwind_test_wrong"));
  EXPECT_EQ(r.unwound, 0u);
  EXPECT_FALSE(r.ok()) << r.text();
}

[[gnu::noinline]] unsigned deep(unsigned n) {
  const unsigned below = n == 0 ? 0 : deep(n - 1);
  asm volatile("" ::: "memory");
  return below + n;
}

TEST(UnwindSweep, FollowsCallsAndReturns) {
  const UnwindResult r = sweep_unwinding([] {
    if (deep(10) != 55 || deep(3) != 6) std::abort();
  });
  EXPECT_TRUE(r.ok()) << r.text();
  EXPECT_GE(r.depth, 11u);
}

// ---- the library --------------------------------------------------------------------------------

// Each call of each lock: taken, tried, refused, by a guard of each kind.
void use_every_call(AnyLock& lock) {
  const LockCalls& c = lock.calls();
  if (c.lock) {
    lock.lock();
    if (c.try_lock && c.has_state && lock.try_lock()) std::abort();
    lock.unlock();
  }
  if (c.try_lock) {
    if (!lock.try_lock()) std::abort();
    lock.unlock();
  }
  if (c.is_locked && c.has_state && lock.is_locked()) std::abort();
  for (const TagName tag : kTagNames) {
    if (c.guard[0]) lock.guard(tag, [] {});
    if (c.try_guard[0] && !lock.try_guard(tag, [] {})) std::abort();
  }
}

class UnwindLocks : public InterruptTest {};

TEST_F(UnwindLocks, EveryInstructionOfEveryLock) {
  for (const LockCalls& calls : kAllLocks) {
    if (!worth_its_time(calls.config)) continue;
    AnyLock lock(calls);
    const UnwindResult r = sweep_unwinding([&] { use_every_call(lock); }, unwound_program());
    expect_unwound("locks", name_of(calls.config), name_of(calls.type), r);
    EXPECT_TRUE(r.called_from("main")) << r.text();
  }
}

// Masks, an irq that waits for the end of a section, one that raises a softirq.
template <class P>
void use_masks() {
  const auto s = P::irq_save();
  const auto inner = P::irq_save();
  P::irq_restore(inner);
  if (!P::irqs_disabled()) std::abort();
  P::irq_restore(s);
  P::irq_disable();
  P::irq_enable();
  P::preempt_disable();
  P::preempt_enable();
  P::migrate_disable();
  P::migrate_enable();
  P::bh_disable();
  signals::raise_softirq(detail::kSoftirq);
  P::bh_enable();
  if (P::context() != Context::task || P::cpu_id() >= P::kMaxCpus) std::abort();
}
template <class P>
void hold_an_irq_back() {
  const auto s = P::irq_save();
  std::raise(detail::kIrqSignal);
  P::irq_restore(s);
}

class UnwindPort : public InterruptTest {
 protected:
  void SetUp() override {
    InterruptTest::SetUp();
    set_default(Where::hardirq, [] { ++irqs; });
    set_default(Where::softirq, [] { ++softirqs; });
  }
  void TearDown() override {
    set_default(Where::hardirq, nullptr);
    set_default(Where::softirq, nullptr);
    InterruptTest::TearDown();
  }
  static inline std::atomic<unsigned> irqs{0}, softirqs{0};
};

TEST_F(UnwindPort, EveryInstructionOfTheMasks) {
  for_each_kernel([]<class K>() {
    using P = typename K::Port;
    if (!worth_its_time(K::kConfig)) return;
    irqs = softirqs = 0;
    const UnwindResult masks = sweep_unwinding([] { use_masks<P>(); }, unwound_program());
    expect_unwound("the port's masks", name_of(K::kConfig), "masks", masks);
    EXPECT_TRUE(masks.called_from("main")) << masks.text();
    EXPECT_EQ(softirqs, 1u);
    const UnwindResult held = sweep_unwinding([] { hold_an_irq_back<P>(); }, unwound_program());
    expect_unwound("the port's masks", name_of(K::kConfig), "an irq held back", held);
    EXPECT_TRUE(held.called_from("main")) << held.text();
    EXPECT_EQ(irqs, 1u);
  });
}

// From a lock in a handler, through the library's own, to what it interrupted.
TEST_F(UnwindPort, OutOfAHandlerToMain) {
  for_each_kernel([]<class K>() {
    if (!worth_its_time(K::kConfig)) return;
    for (const Where w : {Where::softirq, Where::hardirq, Where::nmi}) {
      // A try, which all of them may.
      AnyLock lock(lock_of(K::kConfig, LockType::try_spin));
      UnwindResult r;
      interrupt(w, [&] {
        r = sweep_unwinding(
            [&] {
              if (lock.try_lock()) lock.unlock();
            },
            unwound_program());
      });
      expect_unwound("locks", name_of(K::kConfig), std::string("in a ") + name_of(w), r);
      EXPECT_TRUE(r.called_from("main")) << r.text();
      EXPECT_TRUE(r.called_from("nestlock::signals::internal::trampoline")) << r.text();
    }
  });
}

class UnwindPages : public InterruptTest, public ::testing::WithParamInterface<PagesCase> {};
INSTANTIATE_TEST_SUITE_P(All, UnwindPages, ::testing::ValuesIn(only(all_pages(), worth_its_time)),
                         name_of_case<::testing::TestParamInfo<PagesCase>>);

TEST_P(UnwindPages, EveryInstructionOfAllocAndFree) {
  const Config config = GetParam().config;
  const auto pages = GetParam().make();
  SweptPages p(*pages);
  for (const SweptOp& op : swept_ops()) {
    // Not thousands of turns of a loop; orders 1 and 3 are the same code but for a number.
    if (op.loops || op.order == 1 || (op.order != 0 && config.debug)) continue;
    op.prepare(p);
    if (op.parked) p.park_a_victim();
    unsigned served = 0;
    const UnwindResult r = sweep_unwinding(
        [&] {
          op.run(p, op.order);
          void* const at = pages->alloc_nolock(gfp::none, 0);
          if (!at) return;
          pages->free_nolock(at, 0);
          ++served;
        },
        unwound_program());
    expect_unwound("pages", name_of(config), op.name, r);
    EXPECT_TRUE(r.called_from("main")) << r.text();
    EXPECT_EQ(served, 1u);
  }
}

}  // namespace
}  // namespace nestlock::test_support

#else

TEST(UnwindSweep, SaysThatItIsNotSupported) {
  const auto r = nestlock::testing::sweep_unwinding([] {});
  EXPECT_FALSE(r.ok());
  EXPECT_EQ(r.text().rfind("not supported", 0), 0u);
}

#endif
