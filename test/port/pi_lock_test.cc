// The priority-inheriting lock of the hosted port (P1..P7 in lib/port/README.md), and what the
// sleeping locks of the PREEMPT_RT configurations make of its answers.
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include <chrono>
#include <cstdio>
#include <cstring>
#include <new>
#include <thread>

#include "nestlock/nestlock.h"
#include "test/port/port_testing.h"
#include "test/support/real_time.h"

namespace nestlock::port_testing {
namespace {

using hosted::PiLock;

// The kernel's word.
std::uint32_t word_of(const PiLock& lock) {
  std::uint32_t w;
  std::memcpy(&w, static_cast<const void*>(&lock), sizeof w);
  return w;
}
void set_word(PiLock& lock, std::uint32_t w) {
  std::memcpy(static_cast<void*>(&lock), &w, sizeof w);
}

std::uint64_t entries() { return hosted::process().pi_lock_entries.load(); }

class PiLockTest : public ::testing::Test {
 protected:
  void SetUp() override { straight_to_the_kernel(); }
  void TearDown() override { wait_as_by_default(); }
  static void straight_to_the_kernel() { wait_first(0, 0, 0); }
  static void nap_only(std::uint32_t naps) { wait_first(0, 0, naps); }
  void wait_as_by_default() { wait_first(pauses_, yields_, naps_); }

 private:
  static void wait_first(std::uint32_t pauses, std::uint32_t yields, std::uint32_t naps) {
    hosted::PiWaiting& w = hosted::process().pi_waiting;
    w.pauses = pauses, w.yields = yields, w.naps = naps;
  }
  const std::uint32_t pauses_ = hosted::process().pi_waiting.pauses,
                      yields_ = hosted::process().pi_waiting.yields,
                      naps_ = hosted::process().pi_waiting.naps;
};

// A handler that nobody registered, on the calling thread.
void (*in_handler)();
void interrupt_with(void (*f)()) {
  in_handler = f;
  struct sigaction action{};
  action.sa_handler = [](int) { in_handler(); };
  sigaction(SIGUSR2, &action, nullptr);
  raise(SIGUSR2);
}

// ---- P1: the uncontended paths ------------------------------------------------------------------

TEST_F(PiLockTest, UncontendedItIsOneWordThatHoldsTheOwnersThreadId) {
  static_assert(sizeof(PiLock) == 4);
  const std::uint64_t before = entries();
  PiLock lock;
  EXPECT_FALSE(lock.is_locked());
  EXPECT_EQ(lock.lock(), SleepResult::acquired);
  EXPECT_EQ(word_of(lock), static_cast<std::uint32_t>(thread_id()));
  EXPECT_EQ(lock.owner(), static_cast<std::uint32_t>(thread_id()));
  EXPECT_TRUE(lock.is_locked() && lock.held_by_caller());
  EXPECT_FALSE(lock.is_contended());
  lock.unlock();
  EXPECT_EQ(word_of(lock), 0u);
  EXPECT_TRUE(lock.try_lock());
  EXPECT_TRUE(lock.held_by_caller());
  std::thread([&] { EXPECT_FALSE(lock.held_by_caller()); }).join();
  lock.unlock();
  EXPECT_EQ(word_of(lock), 0u);
  EXPECT_EQ(entries(), before);
}

TEST_F(PiLockTest, ManyCyclesAreFollowedByAsManySuccessfulTries) {
  PiLock lock;
  for (int i = 0; i < 1000; ++i) {
    ASSERT_EQ(lock.lock(), SleepResult::acquired);
    lock.unlock();
  }
  for (int i = 0; i < 1000; ++i) {
    ASSERT_TRUE(lock.try_lock());
    lock.unlock();
  }
}

TEST_F(PiLockTest, AWaiterSleepsInTheKernelAndTheWordSaysSo) {
  PiLock lock;
  const std::uint64_t before = entries();
  ASSERT_EQ(lock.lock(), SleepResult::acquired);
  int data = 0;
  std::uint32_t waiter = 0;
  std::thread thread([&] {
    errno = 7;
    EXPECT_EQ(lock.lock(), SleepResult::acquired);
    EXPECT_EQ(errno, 7);
    waiter = static_cast<std::uint32_t>(thread_id());
    EXPECT_EQ(lock.owner(), waiter);
    EXPECT_EQ(data, 1);  // ordered by the kernel's hand-over alone
    lock.unlock();
    EXPECT_EQ(errno, 7);
  });
  while (!lock.is_contended()) sched_yield();
  EXPECT_EQ(lock.owner(), static_cast<std::uint32_t>(thread_id()));
  EXPECT_FALSE(lock.try_lock());
  data = 1;
  errno = 7;
  lock.unlock();
  EXPECT_EQ(errno, 7);
  thread.join();
  EXPECT_NE(waiter, 0u);
  EXPECT_EQ(word_of(lock), 0u);
  EXPECT_EQ(entries(), before + 1);
}

// ---- P2: a try that loses changes nothing -------------------------------------------------------

TEST_F(PiLockTest, ALosingTryChangesNoByteAndKeepsTheOwnersUnlockInUserSpace) {
  static PiLock lock;
  static std::uint32_t held;
  ASSERT_EQ(lock.lock(), SleepResult::acquired);
  held = word_of(lock);
  std::thread([&] { EXPECT_FALSE(lock.try_lock()); }).join();
  EXPECT_EQ(word_of(lock), held);
  interrupt_with([] {
    EXPECT_FALSE(lock.try_lock());
    EXPECT_EQ(word_of(lock), held);
  });
  EXPECT_FALSE(lock.try_lock());  // its own holder's
  EXPECT_EQ(word_of(lock), held);
  // unlock() is one compare-exchange from exactly this word, the system call is for others.
  EXPECT_EQ(word_of(lock), static_cast<std::uint32_t>(thread_id()));
  lock.unlock();
  EXPECT_EQ(word_of(lock), 0u);
}

TEST_F(PiLockTest, AHandlerMayTakeAndGiveBackAFreeLock) {
  static PiLock lock;
  interrupt_with([] {
    EXPECT_TRUE(lock.try_lock());
    lock.unlock();
  });
  EXPECT_EQ(word_of(lock), 0u);
}

// ---- mutual exclusion ---------------------------------------------------------------------------

// Four threads for a while, signals on top whose handlers try the lock, half a turn of tries.
// `shared` is plain: the compiler, the processor and TSan may assume that the lock orders it.
class Hammer {
 public:
  void run() {
    static Hammer* now;
    now = this;
    struct sigaction action{};
    action.sa_handler = [](int) {
      const int saved = errno;
      if (now->lock_.try_lock()) {
        ++now->shared_;
        now->lock_.unlock();
        ++now->handlers_got_;
      } else {
        ++now->handlers_refused_;
      }
      errno = saved;
    };
    sigaction(SIGUSR2, &action, nullptr);
    std::thread threads[4];
    for (std::thread& t : threads) t = std::thread([this] { turns(); });
    const auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds(400);
    while (std::chrono::steady_clock::now() < end || handlers_refused_ == 0) {
      for (std::thread& t : threads) pthread_kill(t.native_handle(), SIGUSR2);
      std::this_thread::sleep_for(std::chrono::microseconds(100));
    }
    stop_ = true;
    for (std::thread& t : threads) t.join();
    EXPECT_EQ(shared_, total_ + handlers_got_);
    EXPECT_EQ(word_of(lock_), 0u);
    EXPECT_GT(total_, 0u);
    std::printf("%lu sections; handlers: %lu locked, %lu refused\n",
                static_cast<unsigned long>(shared_), static_cast<unsigned long>(handlers_got_),
                static_cast<unsigned long>(handlers_refused_));
  }

 private:
  void turns() {
    std::uint64_t mine = 0;
    for (std::uint64_t n = 0; !stop_; ++n) {
      if (n % 8 == 7 ? !lock_.try_lock() : lock_.lock() != SleepResult::acquired) {
        EXPECT_EQ(n % 8, 7u) << "lock() did not acquire";
        continue;
      }
      ++shared_;
      lock_.unlock();
      ++mine;
    }
    total_ += mine;
  }

  PiLock lock_;
  std::uint64_t shared_ = 0;
  std::atomic<std::uint64_t> total_{0}, handlers_got_{0}, handlers_refused_{0};
  std::atomic<bool> stop_{false};
};

TEST_F(PiLockTest, ThreadsExcludeEachOtherByTheKernel) {
  const std::uint64_t before = entries();
  Hammer().run();
  EXPECT_GT(entries(), before);
}

TEST_F(PiLockTest, ThreadsExcludeEachOtherBySpinningAndYielding) {
  wait_as_by_default();
  Hammer().run();
}

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

// ---- P4: fork -----------------------------------------------------------------------------------

// What the forking thread held is its child's to give back, as with std::mutex: so a pthread_atfork()
// handler may unlock in both.
TEST_F(PiLockTest, AForkedChildHasItsOwnThreadIdAndGivesBackWhatItsThreadHeld) {
  PiLock lock;
  ASSERT_EQ(lock.lock(), SleepResult::acquired);
  const pid_t child = fork();
  if (child == 0) {
    int wrong = lock.held_by_caller() ? 0 : 1;
    lock.unlock();
    if (lock.is_locked()) wrong |= 2;
    if (lock.lock() != SleepResult::acquired) wrong |= 4;
    if (lock.owner() != static_cast<std::uint32_t>(getpid())) wrong |= 8;
    lock.unlock();
    if (lock.is_locked()) wrong |= 16;
    _exit(wrong);
  }
  int status = -1;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  EXPECT_TRUE(lock.held_by_caller());
  lock.unlock();
  EXPECT_EQ(word_of(lock), 0u);
}

// ---- P6: priority inheritance -------------------------------------------------------------------

using test_support::become_realtime;

void burn(std::chrono::milliseconds of_cpu_time) {
  timespec t;
  const auto now = [&t] {
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return std::chrono::seconds(t.tv_sec) + std::chrono::nanoseconds(t.tv_nsec);
  };
  const auto end = now() + of_cpu_time;
  while (now() < end) {
  }
}

// Low holds the lock, middle hogs the one processor, high wants the lock. Whether high gets it
// while middle still has work to do; -1: real-time scheduling is not permitted.
int high_comes_before_middle(PiLock& lock) {
  using std::chrono::milliseconds;
  std::atomic<int> step{0}, refused{0}, started{0};
  std::atomic<bool> middle_done{false};
  int before = 0;
  const auto wait_for = [&step](int n) {
    while (step < n) std::this_thread::sleep_for(std::chrono::microseconds(200));
  };
  const auto start = [&](int priority) {
    if (!become_realtime(priority)) ++refused;
    ++started;
  };
  std::thread high([&] {
    start(30);
    wait_for(1);
    if (refused) return;
    step = 2;  // middle starts when this one sleeps
    EXPECT_EQ(lock.lock(), SleepResult::acquired);
    before = !middle_done;
    lock.unlock();
  });
  std::thread middle([&] {
    start(20);
    wait_for(2);
    if (refused) return;
    burn(milliseconds(200));
    middle_done = true;
  });
  std::thread low([&] {
    while (started < 2) std::this_thread::sleep_for(std::chrono::microseconds(200));
    start(10);
    if (refused) {
      step = 2;
      return;
    }
    EXPECT_EQ(lock.lock(), SleepResult::acquired);
    step = 1;
    burn(milliseconds(10));
    lock.unlock();
  });
  low.join(), middle.join(), high.join();
  return refused ? -1 : before;
}

TEST_F(PiLockTest, TheOwnerInheritsThePriorityOfTheWaiter) {
  for (const bool spins : {false, true}) {
    if (spins) wait_as_by_default();
    PiLock lock;
    const int result = high_comes_before_middle(lock);
    if (result < 0) {
      std::printf("skipped: SCHED_FIFO not permitted\n");
      return;
    }
    EXPECT_EQ(result, 1) << "high waited for middle" << (spins ? ", spinning first" : "");
  }
}

// How often that thread of this process has gone to sleep.
unsigned long sleeps_of(int tid) {
  char path[64], line[128];
  std::snprintf(path, sizeof path, "/proc/self/task/%d/status", tid);
  unsigned long n = 0;
  if (std::FILE* const f = std::fopen(path, "re")) {
    while (std::fgets(line, sizeof line, f) &&
           std::sscanf(line, "voluntary_ctxt_switches: %lu", &n) != 1) {
    }
    std::fclose(f);
  }
  return n;
}

// Whether a waiter, started on a held lock, goes to the kernel's queue; else it sleeps again and again.
bool enters_the_kernel(bool real_time) {
  PiLock lock;
  EXPECT_EQ(lock.lock(), SleepResult::acquired);
  std::atomic<int> waiter{0};  // its id, -1: real-time scheduling is not permitted
  std::thread thread([&] {
    waiter = real_time && !become_realtime(10) ? -1 : static_cast<int>(thread_id());
    errno = 7;
    EXPECT_EQ(lock.lock(), SleepResult::acquired);
    EXPECT_EQ(errno, 7);
    lock.unlock();
  });
  while (!waiter) sched_yield();
  bool entered = waiter == -1;
  if (!entered) {
    const unsigned long before = sleeps_of(waiter);
    while (!lock.is_contended() && sleeps_of(waiter) < before + 10) sched_yield();
    entered = lock.is_contended();
  } else {
    std::printf("skipped: SCHED_FIFO not permitted\n");
  }
  lock.unlock();
  thread.join();
  EXPECT_EQ(word_of(lock), 0u);
  return entered;
}

TEST_F(PiLockTest, AWaiterNapsBeforeItAsksTheKernelIfItHasNoPriorityToLend) {
  nap_only(~0u);
  const std::uint64_t before = entries();
  EXPECT_FALSE(enters_the_kernel(false));
  EXPECT_EQ(entries(), before);
  EXPECT_TRUE(enters_the_kernel(true));
  nap_only(3);
  EXPECT_TRUE(enters_the_kernel(false));
}

TEST_F(PiLockTest, ATimedWaitEndsAmongTheNaps) {
  nap_only(~0u);
  PiLock lock;
  ASSERT_EQ(lock.lock(), SleepResult::acquired);
  std::thread([&] {
    timespec end{};
    clock_gettime(CLOCK_MONOTONIC, &end);
    ++end.tv_sec;
    EXPECT_EQ(lock.lock_until(hosted::PiClock::monotonic, end), SleepResult::timeout);
    timespec now{};
    clock_gettime(CLOCK_MONOTONIC, &now);
    EXPECT_TRUE(now.tv_sec > end.tv_sec || now.tv_nsec >= end.tv_nsec);
  }).join();
  lock.unlock();
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
