// What the priority-inheriting lock says where it cannot be had: deadlock, an owner that is gone, a kernel that
// refuses (P3 and P7 in lib/port/README.md); and what the sleeping locks of the PREEMPT_RT configurations make
// of these answers.
#include <linux/filter.h>
#include <linux/futex.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <sys/prctl.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <iterator>
#include <thread>

#include "nestlock/nestlock.h"
#include "test/port/pi_testing.h"

namespace nestlock::port_testing {
namespace {

// ---- P3: lock() that cannot succeed -------------------------------------------------------------

TEST_F(PiLockTest, TheHolderItselfIsToldOfADeadlock) {
  static PiLock lock;
  for (const bool spins : {false, true}) {
    if (spins) wait_as_by_default();
    ASSERT_EQ(lock.lock(), SleepResult::acquired);
    const std::uint32_t held = word_of(lock);
    errno = 7;
    EXPECT_EQ(lock.lock(), SleepResult::deadlock);
    EXPECT_EQ(errno, 7);
    EXPECT_EQ(word_of(lock), held);
    interrupt_with([] { EXPECT_EQ(lock.lock(), SleepResult::deadlock); });
    EXPECT_EQ(word_of(lock), held);
    lock.unlock();
    EXPECT_EQ(word_of(lock), 0u);
  }
}

// Linux may tell both: each queues up first and walks the chain of owners then, so that each may
// find the other waiting. At least one is told, and nobody waits for ever.
TEST_F(PiLockTest, OfTwoThatWaitForEachOtherAtLeastOneIsTold) {
  constexpr int kRounds = 200;
  int one_told = 0, both_told = 0;
  // And on until there was a round in which the other went on.
  for (int round = 0; round < kRounds || one_told == 0; ++round) {
    PiLock a, b;
    std::atomic<int> ready{0};
    SleepResult first{}, second{};
    auto cross = [&ready](PiLock& mine, PiLock& other, SleepResult& result) {
      ASSERT_EQ(mine.lock(), SleepResult::acquired);
      ++ready;
      while (ready < 2) sched_yield();
      result = other.lock();
      if (result == SleepResult::acquired) other.unlock();
      mine.unlock();
    };
    std::thread one([&] { cross(a, b, first); }), two([&] { cross(b, a, second); });
    one.join();
    two.join();
    for (const SleepResult r : {first, second})
      ASSERT_TRUE(r == SleepResult::acquired || r == SleepResult::deadlock) << round;
    const int told = (first == SleepResult::deadlock) + (second == SleepResult::deadlock);
    ASSERT_GE(told, 1) << "round " << round << ": both had both locks";
    ++(told == 1 ? one_told : both_told);
    EXPECT_EQ(word_of(a), 0u);
    EXPECT_EQ(word_of(b), 0u);
  }
  std::printf("one was told %d times, both %d times\n", one_told, both_told);
}

// Leaves `lock` held by a thread that is gone.
template <class Lock>
void take_and_exit(Lock& lock) {
  std::thread([&] { (void)lock.lock(); }).join();
}

TEST_F(PiLockTest, AnOwnerThatExitedIsReported) {
  for (const bool spins : {false, true}) {
    if (spins) wait_as_by_default();
    PiLock lock;
    take_and_exit(lock);
    const std::uint32_t held = word_of(lock);
    errno = 7;
    EXPECT_EQ(lock.lock(), SleepResult::owner_gone);
    EXPECT_FALSE(lock.try_lock());
    EXPECT_EQ(errno, 7);
    EXPECT_EQ(lock.owner(), held);
  }
}

// Runs `wait` while another thread holds `lock`, and ends that one when `lock` is contended.
template <class Lock, class Wait>
void owner_dies_during(Lock& lock, Wait wait) {
  std::atomic<bool> held{false};
  std::thread owner([&] {
    (void)lock.lock();
    held = true;
    while (!lock.is_contended()) sched_yield();
  });
  while (!held) sched_yield();
  wait();
  owner.join();
}

TEST_F(PiLockTest, AWaiterInheritsTheLockOfAnOwnerThatDied) {
  PiLock lock;
  owner_dies_during(lock, [&] {
    EXPECT_EQ(lock.lock(), SleepResult::owner_died);
    EXPECT_EQ(lock.owner(), static_cast<std::uint32_t>(thread_id()));
    EXPECT_FALSE(word_of(lock) & FUTEX_OWNER_DIED);
    EXPECT_FALSE(lock.try_lock());
    lock.unlock();
  });
  EXPECT_EQ(word_of(lock), 0u);
  EXPECT_EQ(lock.lock(), SleepResult::acquired);
  lock.unlock();
}

// What the kernel leaves of a dead owner without waiters: the one case in which a try asks it.
TEST_F(PiLockTest, ATryMayTakeTheLockOfADeadOwner) {
  PiLock lock;
  set_word(lock, FUTEX_OWNER_DIED);
  errno = 7;
  EXPECT_TRUE(lock.try_lock());
  EXPECT_EQ(errno, 7);
  EXPECT_EQ(word_of(lock) & ~std::uint32_t{FUTEX_WAITERS}, static_cast<std::uint32_t>(thread_id()));
  lock.unlock();
  EXPECT_EQ(word_of(lock), 0u);
}

// ---- P7: a kernel that refuses --------------------------------------------------------------------

// Refuses the calling thread all waiting for PI futexes, as a kernel without them, one without memory or a
// sandbox would. False: such filters are not permitted here.
bool refuse_pi_futexes(int error) {
  constexpr std::uint32_t kLockPi2 = 13;
  const auto load = [](std::size_t at) -> sock_filter {
    return BPF_STMT(BPF_LD | BPF_W | BPF_ABS, static_cast<std::uint32_t>(at));
  };
  const auto equal = [](std::uint32_t what, std::uint8_t then,
                        std::uint8_t or_else) -> sock_filter {
    return BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, what, then, or_else);
  };
  sock_filter filter[] = {
      load(offsetof(seccomp_data, nr)),
      equal(SYS_futex, 0, 5),
      load(offsetof(seccomp_data, args[1])),
      BPF_STMT(BPF_ALU | BPF_AND | BPF_K, static_cast<std::uint32_t>(FUTEX_CMD_MASK)),
      equal(FUTEX_LOCK_PI, 1, 0),
      equal(kLockPi2, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | static_cast<std::uint32_t>(error)),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  const sock_fprog program{std::size(filter), filter};
  return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
         prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

// f(error) on a thread of its own, to which the kernel says `error` whenever it wants to wait.
template <class F>
void where_the_kernel_refuses(F f) {
  for (const int error : {ENOSYS, ENOMEM, EPERM, EACCES}) {
    SCOPED_TRACE(std::strerror(error));
    std::thread([&] {
      if (refuse_pi_futexes(error))
        f();
      else
        std::printf("skipped: filters of system calls are not permitted\n");
    }).join();
  }
}

TEST_F(PiLockTest, WhereTheKernelRefusesAWaiterLooksAgain) {
  where_the_kernel_refuses([] {
    PiLock lock;
    std::atomic<bool> held{false};
    const std::uint64_t before = entries();
    std::thread owner([&] {  // inherits the filter, and needs the kernel for nothing
      EXPECT_EQ(lock.lock(), SleepResult::acquired);
      held = true;
      while (entries() < before + 3) sched_yield();
      lock.unlock();
    });
    while (!held) sched_yield();
    errno = 7;
    EXPECT_EQ(lock.lock(), SleepResult::acquired);
    EXPECT_EQ(errno, 7);
    EXPECT_TRUE(lock.held_by_caller());
    lock.unlock();
    owner.join();
    EXPECT_EQ(word_of(lock), 0u);
  });
}

TEST_F(PiLockTest, WhereTheKernelRefusesWaitsEndAllTheSame) {
  where_the_kernel_refuses([] {
    PiLock lock;
    EXPECT_EQ(lock.lock(), SleepResult::acquired);
    EXPECT_EQ(lock.lock(), SleepResult::deadlock);
    timespec end{};
    clock_gettime(CLOCK_MONOTONIC, &end);
    end.tv_nsec = (end.tv_nsec + 1'000'000) % 1'000'000'000;
    if (end.tv_nsec < 1'000'000) ++end.tv_sec;
    std::thread([&] {
      EXPECT_EQ(lock.lock_until(hosted::PiClock::monotonic, end), SleepResult::timeout);
    }).join();
    lock.unlock();
    take_and_exit(lock);
    errno = 7;
    EXPECT_EQ(lock.lock(), SleepResult::owner_gone);
    EXPECT_EQ(errno, 7);
  });
}

// ---- the locks on top of it ---------------------------------------------------------------------

template <Config kC>
using RtLock = BasicSpinLock<KernelOf<kC, HostedPort<kC>>>;

template <class Lock>
class RtLockTest : public PiLockTest {};
using RtLocks = ::testing::Types<RtLock<configs::up_rt>, RtLock<configs::up_rt_debug>,
                                 RtLock<configs::smp_rt>, RtLock<configs::smp_rt_debug>>;
struct RtLockNames {
  template <class Lock>
  static std::string GetName(int) {
    return name_of(Lock::Kernel::kConfig);
  }
};
TYPED_TEST_SUITE(RtLockTest, RtLocks, RtLockNames);

TYPED_TEST(RtLockTest, ALockThatCanNeverBeHadIsAFatalFinding) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  TypeParam lock;
  const auto twice = [&] {
    lock.lock();
    lock.lock();
  };
  EXPECT_DEATH(twice(),
               TypeParam::Kernel::kConfig.debug ? "the caller holds it already" : "deadlock");
}

TYPED_TEST(RtLockTest, AnOwnerThatIsGoneIsAFatalFinding) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  TypeParam lock;
  take_and_exit(lock);
  EXPECT_DEATH(lock.lock(), "the owner's thread is gone");
}

TYPED_TEST(RtLockTest, AnOwnerThatDiedIsAFindingAndTheLockIsHad) {
  Findings findings;
  TypeParam lock;
  owner_dies_during(lock, [&] {
    lock.lock();
    EXPECT_TRUE(lock.is_locked());
    lock.unlock();
  });
  EXPECT_FALSE(lock.is_locked());
  // Debug says before that the owner ended inside the section, and on one CPU that it was a second thread.
  constexpr Config kC = TypeParam::Kernel::kConfig;
  std::vector<Finding> expected;
  if (kC.debug && !kC.smp) expected.push_back(Finding::second_thread);
  if (kC.debug) expected.push_back(Finding::left_open);
  expected.push_back(Finding::owner_died);
  ASSERT_EQ(findings.all(), expected);
  const Report& died = findings[findings.size() - 1];
  EXPECT_FALSE(died.fatal);
  EXPECT_EQ(died.lock, &lock);
  EXPECT_EQ(died.config, kC);
}

}  // namespace
}  // namespace nestlock::port_testing
