// The locks between threads: exclusion, order, the kernel's priority-inheriting queue, and memory
// that goes away with the lock. Under ThreadSanitizer, too.
#include <linux/futex.h>
#include <sched.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <thread>
#include <vector>

#include "gtest/gtest.h"
#include "test/support/findings.h"
#include "test/support/interrupts.h"
#include "test/support/locks.h"

namespace nestlock::test_support {
namespace {

constexpr unsigned kLess = nestlock::internal::kWithTsan ? 5 : 1;  // TSan's atomics are slow

void wait_until(auto condition) {
  while (!condition()) sched_yield();
}

// The lock words, as bytes: what is in them is part of each lock's documentation.
std::uint32_t pi_word(const AnyLock& lock) {
  return __atomic_load_n(static_cast<const std::uint32_t*>(lock.address()), __ATOMIC_RELAXED);
}
bool between_threads(const LockCalls& c) {
  return c.lock &&
         (c.sleeps || (c.config.smp && c.type != LockType::local && c.type != LockType::local_try));
}
bool spins(const LockCalls& c) { return between_threads(c) && !c.sleeps; }

// ---- all that threads may share -----------------------------------------------------------------

class BetweenThreads : public ::testing::TestWithParam<const LockCalls*> {};
INSTANTIATE_TEST_SUITE_P(All, BetweenThreads, ::testing::ValuesIn(locks_where(between_threads)),
                         name_of_lock);

TEST_P(BetweenThreads, OneAtATime) {
  AnyLock lock(*GetParam());
  constexpr unsigned kThreads = 4;
  const unsigned rounds = 20000 / kLess;
  const bool tries = GetParam()->try_lock;
  unsigned long counter = 0;  // no atomic: TSan checks the order, the sum checks exclusion
  std::atomic<unsigned long> sections{0};
  std::atomic<unsigned> by_try{0};
  std::vector<std::thread> threads;
  for (unsigned t = 0; t < kThreads; ++t)
    threads.emplace_back([&, t] {
      unsigned i = 0;
      // If every try met a holder, until one does not.
      for (; i < rounds || (tries && by_try.load() == 0); ++i) {
        if (tries && (i + t) % 4 == 0 && lock.try_lock())
          by_try.fetch_add(1);
        else
          lock.lock();
        ++counter;
        lock.unlock();
      }
      sections.fetch_add(i);
    });
  for (std::thread& t : threads) t.join();
  EXPECT_EQ(counter, sections.load());
  EXPECT_FALSE(lock.is_locked());
}

TEST_P(BetweenThreads, ALosingTryOfAnotherThreadChangesNothing) {
  if (!GetParam()->try_lock) return;
  AnyLock lock(*GetParam());
  lock.lock();
  const AnyLock::Bytes bytes = lock.bytes();
  std::thread([&] {
    const ThreadCounts before = counts();
    EXPECT_FALSE(lock.try_lock());
    EXPECT_EQ(counts(), before);
  }).join();
  EXPECT_EQ(lock.bytes(), bytes);
  lock.unlock();
  std::thread([&] {
    EXPECT_TRUE(lock.try_lock());
    lock.unlock();
  }).join();
}

// R10: the next owner may free the memory the lock is in as soon as it has given it back; the
// former owner's unlock() must not look at it again.
TEST_P(BetweenThreads, UnlockDoesNotTouchTheLockAfterIt) {
  const std::size_t size = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  for (unsigned i = 0; i < 30 / kLess; ++i) {
    void* const page =
        mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    ASSERT_NE(page, MAP_FAILED);
    GetParam()->make(page, Place::here());
    GetParam()->lock(page, Place::here());
    std::atomic<bool> waiting{false};
    std::thread next([&] {
      waiting.store(true);
      GetParam()->lock(page, Place::here());
      GetParam()->unlock(page, Place::here());
      munmap(page, size);
    });
    wait_until([&] { return waiting.load(); });
    if (i % 2) std::this_thread::sleep_for(std::chrono::microseconds(200));
    GetParam()->unlock(page, Place::here());
    next.join();
  }
}

// ---- SMP: waiters that spin, nap and sleep (park_lock_test has the word by itself) ---------------

class Spinning : public InterruptTest, public ::testing::WithParamInterface<const LockCalls*> {};
INSTANTIATE_TEST_SUITE_P(All, Spinning, ::testing::ValuesIn(locks_where(spins)), name_of_lock);

// A handler that came upon a waiter may have the lock as soon as it is free: the waiter below it
// has no claim to it, and nobody else is there.
std::atomic<AnyLock*> tried_on_a_waiter{nullptr};
std::atomic<bool> is_there{false}, is_free{false}, was_granted{false};

TEST_P(Spinning, AnNmiOnAWaiterIsGrantedTheFreeLock) {
  if (!GetParam()->try_lock) return;
  AnyLock lock(*GetParam());
  tried_on_a_waiter = &lock;
  is_there = is_free = was_granted = false;
  lock.lock();
  std::thread waiter([&] {
    lock.lock();
    lock.unlock();
  });
  wait_until([&] { return lock.is_contended(); });
  set_default(Where::nmi, [] {
    is_there = true;
    while (!is_free) sched_yield();
    if (!tried_on_a_waiter.load()->try_lock()) return;
    was_granted = true;
    tried_on_a_waiter.load()->unlock();
  });
  pthread_kill(waiter.native_handle(), detail::kNmiSignal);
  wait_until([&] { return is_there.load(); });
  lock.unlock();
  is_free = true;
  waiter.join();
  set_default(Where::nmi, nullptr);
  EXPECT_TRUE(was_granted);
  EXPECT_FALSE(lock.is_locked());
}

// ---- RT: the kernel's priority-inheriting queue -------------------------------------------------

// (Debug on one CPU reports that there are two threads.)
bool is_sleeping(const LockCalls& c) {
  return c.sleeps && c.lock && (c.config.smp || !c.config.debug);
}
class Sleeping : public InterruptTest, public ::testing::WithParamInterface<const LockCalls*> {};
INSTANTIATE_TEST_SUITE_P(All, Sleeping, ::testing::ValuesIn(locks_where(is_sleeping)),
                         name_of_lock);

// A holder, and a waiter that sleeps in the kernel until the holder lets go.
class SleepingPair {
 public:
  explicit SleepingPair(AnyLock& lock) : lock_(lock) {
    const std::uint64_t entries = hosted::process().pi_lock_entries.load();
    lock_.lock();
    waiter_ = std::thread([this] {
      waiter_tid_.store(hosted::thread_id());
      lock_.lock();
      owned_by_waiter_ = pi_word(lock_) & FUTEX_TID_MASK;
      lock_.unlock();
    });
    wait_until([&] { return pi_word(lock_) & FUTEX_WAITERS; });
    entered_ = hosted::process().pi_lock_entries.load() - entries;
  }
  void release() {
    lock_.unlock();
    waiter_.join();
  }
  std::uint64_t entered() const { return entered_; }
  std::uint32_t owned_by_waiter() const { return owned_by_waiter_; }
  std::uint32_t waiter_tid() const { return waiter_tid_.load(); }
  pthread_t waiter() { return waiter_.native_handle(); }

 private:
  AnyLock& lock_;
  std::thread waiter_;
  std::atomic<std::uint32_t> waiter_tid_{0};
  std::uint32_t owned_by_waiter_ = 0;
  std::uint64_t entered_ = 0;
};

TEST_P(Sleeping, AWaiterSleepsInTheKernelAndTheWordNamesTheOwner) {
  AnyLock lock(*GetParam());
  SleepingPair pair(lock);
  EXPECT_GT(pair.entered(), 0u);
  EXPECT_EQ(pi_word(lock), hosted::thread_id() | FUTEX_WAITERS);
  EXPECT_TRUE(lock.is_contended());
  pair.release();
  EXPECT_EQ(pair.owned_by_waiter(), pair.waiter_tid());
  EXPECT_EQ(pi_word(lock), 0u);
}

// R2: an nmi that arrives while its own thread is inside the lock's slow path, in the kernel. The
// gate refuses before the lock is touched; so it does in the thread that holds it.
std::atomic<AnyLock*> tried_by_nmi{nullptr};
std::atomic<unsigned> nmis_refused{0}, nmis_granted{0};

TEST_P(Sleeping, R2_AnNmiInTheSlowPathIsRefusedAndTouchesNothing) {
  if (!contexts::promised(GetParam()->type)) return;
  AnyLock lock(*GetParam());
  SleepingPair pair(lock);
  const AnyLock::Bytes bytes = lock.bytes();
  nmis_refused = nmis_granted = 0;
  tried_by_nmi = &lock;
  set_default(Where::nmi,
              [] { (tried_by_nmi.load()->try_lock() ? nmis_granted : nmis_refused).fetch_add(1); });
  for (unsigned i = 1; i <= 5; ++i) {
    pthread_kill(pair.waiter(), detail::kNmiSignal);
    wait_until([&] { return nmis_refused + nmis_granted == i; });
  }
  interrupt(Where::nmi, [&] { EXPECT_FALSE(lock.try_lock()); });
  set_default(Where::nmi, nullptr);
  EXPECT_EQ(nmis_refused.load(), 5u);
  EXPECT_EQ(lock.bytes(), bytes);
  pair.release();
}

}  // namespace
}  // namespace nestlock::test_support
