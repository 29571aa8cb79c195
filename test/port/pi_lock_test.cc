// The priority-inheriting lock of the hosted port: who has it, tries that lose, exclusion, fork (P1, P2 and P4
// in lib/port/README.md). Its refusals are pi_refusal_test, priorities pi_priority_test.
#include <pthread.h>
#include <sched.h>
#include <sys/wait.h>

#include <cerrno>
#include <chrono>
#include <cstdio>
#include <thread>

#include "test/port/pi_testing.h"

namespace nestlock::port_testing {
namespace {

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

}  // namespace
}  // namespace nestlock::port_testing
