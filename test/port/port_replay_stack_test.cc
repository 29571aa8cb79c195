// A replayed irq is the irq: its handler has the stack that the kernel would have called it on, and a context
// that leads nowhere else. Rule R11 of lib/port/README.md.
#include <pthread.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <ucontext.h>

#include <algorithm>
#include <climits>
#include <cstring>

#include "test/port/replay_testing.h"

namespace nestlock::port_testing {
namespace {

class PortReplayStackTest : public EachPortTest {};
INSTANTIATE_TEST_SUITE_P(All, PortReplayStackTest, each_port, name_of_port);

// ---- the alternate stack ------------------------------------------------------------------------

// ThreadSanitizer's handlers have stacks of their own (lib/port/README.md).
constexpr bool kOnItsOwn = internal::kWithTsan;

struct AlternateStack {
  static constexpr std::size_t kSize = std::size_t{256} << 10;
  explicit AlternateStack(int flags = 0) {
    memory = static_cast<char*>(
        mmap(nullptr, kSize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    stack_t now{};
    now.ss_sp = memory, now.ss_size = kSize, now.ss_flags = flags;
    EXPECT_EQ(sigaltstack(&now, &before), 0);
  }
  ~AlternateStack() {
    EXPECT_EQ(sigaltstack(&before, nullptr), 0);
    munmap(memory, kSize);
  }
  AlternateStack(const AlternateStack&) = delete;
  AlternateStack& operator=(const AlternateStack&) = delete;
  bool holds(const void* p) const { return p >= memory && p < memory + kSize; }

  char* memory;
  stack_t before{};
};

constexpr int kAutoDisarm = static_cast<int>(1u << 31);  // SS_AUTODISARM

const void *irq_frame, *nmi_frame, *softirq_frame;

TEST_P(PortReplayStackTest, AHandlerRunsOnTheAlternateStackThatItsThreadHas) {
  if (kOnItsOwn) GTEST_SKIP() << "ThreadSanitizer";
  leave_out(irq_frame, softirq_frame);
  in_irq = [](int, siginfo_t*, void*) {
    irq_frame = __builtin_frame_address(0);
    signals::raise_softirq(0);
  };
  in_softirq[0] = [] { softirq_frame = __builtin_frame_address(0); };
  both_ways([](auto irq_comes) {
    stack_t none{};
    none.ss_flags = SS_DISABLE;
    stack_t before;
    ASSERT_EQ(sigaltstack(&none, &before), 0);
    irq_comes();
    char* const here = static_cast<char*>(__builtin_frame_address(0));
    EXPECT_LT(here - static_cast<const char*>(irq_frame), 1 << 20);
    ASSERT_EQ(sigaltstack(&before, nullptr), 0);

    const AlternateStack stack;
    irq_frame = softirq_frame = nullptr;
    irq_comes();
    EXPECT_TRUE(stack.holds(irq_frame));
    EXPECT_TRUE(stack.holds(softirq_frame));
    stack_t now;
    ASSERT_EQ(sigaltstack(nullptr, &now), 0);
    EXPECT_EQ(now.ss_flags, 0);
  });
}

// What interrupts the handler goes on below it, on the same stack.
TEST_P(PortReplayStackTest, AnNmiThatInterruptsAReplayedHandlerDamagesNothing) {
  if (kOnItsOwn) GTEST_SKIP() << "ThreadSanitizer";
  leave_out(irq_frame, nmi_frame);
  in_irq = [](int, siginfo_t*, void*) {
    volatile unsigned char own[4096];
    for (unsigned i = 0; i < sizeof own; ++i) own[i] = static_cast<unsigned char>(i * 7);
    irq_frame = __builtin_frame_address(0);
    arrive(nmi(), 2);
    for (unsigned i = 0; i < sizeof own; ++i)
      ASSERT_EQ(own[i], static_cast<unsigned char>(i * 7)) << i;
  };
  in_nmi = [](int, siginfo_t*, void*) {
    volatile unsigned char own[8192];
    for (unsigned i = 0; i < sizeof own; ++i) own[i] = 0xff;
    nmi_frame = __builtin_frame_address(0);
  };
  both_ways([](auto irq_comes) {
    const AlternateStack stack;
    irq_frame = nmi_frame = nullptr;
    irq_comes();
    EXPECT_TRUE(stack.holds(irq_frame));
    EXPECT_TRUE(stack.holds(nmi_frame));
    EXPECT_LT(nmi_frame, irq_frame);
  });
  EXPECT_EQ(nmis.size(), 2u);
}

// SS_AUTODISARM: while a handler runs its thread has no alternate stack, so that what interrupts it
// stays on this one.
TEST_P(PortReplayStackTest, AStackThatDisarmsItselfIsDisarmedAndArmedAgain) {
  if (kOnItsOwn) GTEST_SKIP() << "ThreadSanitizer";
  static stack_t during;
  leave_out(irq_frame, nmi_frame, during);
  in_irq = [](int, siginfo_t*, void*) {
    irq_frame = __builtin_frame_address(0);
    sigaltstack(nullptr, &during);
    arrive(nmi(), 2);
  };
  in_nmi = [](int, siginfo_t*, void*) { nmi_frame = __builtin_frame_address(0); };
  both_ways([](auto irq_comes) {
    const AlternateStack stack(kAutoDisarm);
    irq_frame = nmi_frame = nullptr, during = {};
    irq_comes();
    EXPECT_TRUE(stack.holds(irq_frame));
    EXPECT_TRUE(during.ss_flags & SS_DISABLE);
    EXPECT_LT(nmi_frame, irq_frame);
    stack_t now{};
    ASSERT_EQ(sigaltstack(nullptr, &now), 0);
    EXPECT_EQ(now.ss_sp, stack.memory);
    EXPECT_EQ(now.ss_flags, kAutoDisarm);
  });
}

// The reason for it: code on a stack where no handler has room.
TEST_P(PortReplayStackTest, AStackWithoutRoomIsNotUsed) {
  if (kOnItsOwn || !kBuiltConfig.smp) GTEST_SKIP() << "a thread besides, and its alternate stack";
  in_irq = [](int, siginfo_t*, void*) {
    volatile char much[128 << 10];
    much[0] = 1;
    much[sizeof much - 1] = 1;
  };
  pthread_attr_t small;
  pthread_attr_init(&small);
  const std::size_t size = std::max<std::size_t>(64 << 10, PTHREAD_STACK_MIN);  // AArch64: 128 KiB
  ASSERT_EQ(pthread_attr_setstacksize(&small, size), 0);
  static unsigned handled;
  handled = 0;
  const auto body = [](void*) -> void* {
    const AlternateStack stack;
    {
      IrqSection section;
      arrive(irq(0), 1);
    }
    handled = irqs.size();
    return nullptr;
  };
  pthread_t thread;
  ASSERT_EQ(pthread_create(&thread, &small, body, nullptr), 0);
  pthread_join(thread, nullptr);
  pthread_attr_destroy(&small);
  EXPECT_EQ(handled, 1u);
}

#if defined(__aarch64__)

// Registers that find no room in the kernel's frame: it says where they lie, on a stack that is gone when the irq
// is replayed.
TEST_P(PortReplayStackTest, AContextSaysNothingOfWhatIsGone) {
  constexpr int kLong = 256;  // bytes of a vector register, the longest there is
  const int before = prctl(PR_SVE_GET_VL);
  if (before < 0) GTEST_SKIP() << "a processor without SVE";
  ASSERT_GE(prctl(PR_SVE_SET_VL, kLong), 0);
  if ((prctl(PR_SVE_GET_VL) & PR_SVE_VL_LEN_MASK) < 128)
    GTEST_SKIP() << "the processor's vector registers are short";
  static unsigned records, outside;
  in_irq = [](int, siginfo_t*, void* c) {
    records = outside = 0;
    const auto& all = context_of(c).uc_mcontext.__reserved;
    _aarch64_ctx record{};
    for (std::size_t at = 0; at + sizeof record <= sizeof all; at += record.size) {
      std::memcpy(&record, all + at, sizeof record);
      if (record.size < sizeof record) break;
      records += 1;
      outside += record.magic == EXTRA_MAGIC;
    }
  };
  arrive(irq(0), 1);
  EXPECT_GT(records, 1u);
  EXPECT_EQ(outside, 1u) << "the frame had room for all: nothing was shown";
  {
    IrqSection section;
    arrive(irq(0), 2);
  }
  EXPECT_GT(records, 0u);
  EXPECT_EQ(outside, 0u);
  prctl(PR_SVE_SET_VL, before & PR_SVE_VL_LEN_MASK);
}

#endif

}  // namespace
}  // namespace nestlock::port_testing
