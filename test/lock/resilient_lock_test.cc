// ResilientSpinLock: what it answers in each context to who holds it, who waits for each other, and who
// waits for a thread that is gone.
#include <sched.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <thread>
#include <vector>

#include "gtest/gtest.h"
#include "nestlock/nestlock.h"
#include "test/support/findings.h"
#include "test/support/interrupts.h"
#include "test/support/kernels.h"

namespace nestlock::test_support {
namespace {

using std::chrono::minutes;

template <class Lock>
std::vector<unsigned char> bytes_of(const Lock& lock) {
  std::vector<unsigned char> v(sizeof lock);
  std::memcpy(v.data(), static_cast<const void*>(&lock), sizeof lock);
  return v;
}

// ---- each context, in each configuration -------------------------------------------------------

template <class K>
class ResilientContexts : public InterruptTest {};
TYPED_TEST_SUITE(ResilientContexts, AllKernels, KernelName);

TYPED_TEST(ResilientContexts, TheHolderIsToldThatItIsItself) {
  constexpr Config kC = TypeParam::kConfig;
  static_assert(kC.debug || sizeof(BasicResilientSpinLock<TypeParam>) == (kC.smp ? 4 : 1));
  const Findings findings;
  BasicResilientSpinLock<TypeParam> lock;
  for (const Where where : kWheres)
    for (const bool held : {false, true}) {
      for (const contexts::Call call : {contexts::Call::lock, contexts::Call::try_lock}) {
        const auto cell = contexts::cell(LockType::resilient_spin, call, kC, context_of(where));
        EXPECT_TRUE(cell.allowed);
        if (call == contexts::Call::try_lock) {
          EXPECT_TRUE(cell.held == contexts::Answer::refused &&
                      cell.free == contexts::Answer::granted);
        }
        if (held) {
          ASSERT_TRUE(lock.try_lock());
        }
        const ThreadCounts before = counts();
        const auto bytes = bytes_of(lock);
        Refusal why{};
        interrupt(where, [&] {
          const LockResult r =
              call == contexts::Call::lock ? lock.lock(std::chrono::seconds(2)) : lock.try_lock();
          why = r.why();
          EXPECT_EQ(static_cast<bool>(r), why == Refusal::none);
          EXPECT_EQ(lock.held_by_caller(), true);
          if (r) lock.unlock();
        });
        EXPECT_EQ(why, !held                          ? Refusal::none
                       : call == contexts::Call::lock ? Refusal::deadlock
                                                      : Refusal::held_by_me)
            << name_of(where) << ' ' << name_of(call) << ": " << name_of(why);
        EXPECT_EQ(counts(), before);
        if (held) {
          EXPECT_EQ(bytes_of(lock), bytes);
          lock.unlock();
        }
        EXPECT_FALSE(lock.is_locked() || lock.held_by_caller() || lock.is_contended());
      }
    }
  EXPECT_EQ(findings.size(), 0u) << findings.text();
}

// ---- several CPUs ------------------------------------------------------------------------------

using Smp = HostedKernel<configs::smp>;
using Lock = BasicResilientSpinLock<Smp>;

class Resilient : public InterruptTest {};

// Runs f while another thread holds the lock.
template <class L, class F>
void while_another_holds(L& lock, F f) {
  std::atomic<unsigned> at{0};
  std::thread other([&] {
    ASSERT_TRUE(lock.try_lock());
    at = 1;
    while (at != 2) sched_yield();
    lock.unlock();
  });
  while (at != 1) sched_yield();
  f();
  at = 2;
  other.join();
}

TEST_F(Resilient, AnotherHoldsIt) {
  Lock lock;
  while_another_holds(lock, [&] {
    const auto before = bytes_of(lock);
    for (const Where where : kWheres)
      interrupt(where, [&] {
        EXPECT_EQ(lock.try_lock().why(), Refusal::held_by_other);
        EXPECT_EQ(lock.lock(Spins{0}).why(), Refusal::timeout);
        EXPECT_EQ(lock.lock(Spins{1000}).why(), Refusal::timeout);
        EXPECT_EQ(lock.lock(std::chrono::milliseconds(-1)).why(), Refusal::timeout);
        EXPECT_EQ(lock.lock(std::chrono::microseconds(300)).why(), Refusal::timeout);
        EXPECT_FALSE(lock.held_by_caller());
      });
    EXPECT_EQ(bytes_of(lock), before) << "who gave up has left a trace";
    EXPECT_FALSE(lock.is_contended());
  });
  EXPECT_TRUE(lock.lock(Spins{0}));
  lock.unlock();
}

TEST_F(Resilient, AWaiterGetsItWhenItIsGivenBack) {
  Lock lock;
  std::atomic<bool> waits{false};
  ASSERT_TRUE(lock.try_lock());
  std::thread waiter([&] {
    waits = true;
    EXPECT_TRUE(lock.lock(minutes(1)));
    lock.unlock();
  });
  while (!waits) sched_yield();
  lock.unlock();
  waiter.join();
  EXPECT_FALSE(lock.is_locked());
}

using Time = std::chrono::steady_clock::time_point;

// When the last of a ring began to wait, and when the first was told.
struct RingTimes {
  std::atomic<Time> asked{Time::min()}, told{Time::max()};
};

// Each of `n` holds one and waits for the next one's; answers to each.
template <unsigned kN, class Timeout>
std::array<Refusal, kN> ring(Timeout timeout, RingTimes* times = nullptr) {
  Lock lock[kN];
  std::array<Refusal, kN> why{};
  std::atomic<unsigned> hold{0};
  std::vector<std::thread> threads;
  for (unsigned i = 0; i < kN; ++i)
    threads.emplace_back([&, i] {
      ASSERT_TRUE(lock[i].try_lock());
      ++hold;
      while (hold < kN) sched_yield();
      const Time asked = std::chrono::steady_clock::now();
      const LockResult r = lock[(i + 1) % kN].lock(timeout);
      const Time told = std::chrono::steady_clock::now();
      if (times) {
        for (Time t = times->asked; t < asked && !times->asked.compare_exchange_weak(t, asked);) {
        }
        for (Time t = times->told; told < t && !times->told.compare_exchange_weak(t, told);) {
        }
      }
      if (r) lock[(i + 1) % kN].unlock();
      why[i] = r.why();
      lock[i].unlock();
    });
  for (std::thread& t : threads) t.join();
  for (const Lock& l : lock) EXPECT_FALSE(l.is_locked());
  return why;
}

TEST_F(Resilient, AbbaIsFoundByOneOfTheTwo) {
  for (unsigned round = 0; round < 20; ++round) {
    unsigned deadlocks = 0;
    for (const Refusal r : ring<2>(minutes(1))) {
      EXPECT_TRUE(r == Refusal::none || r == Refusal::deadlock) << name_of(r);
      deadlocks += r == Refusal::deadlock;
    }
    EXPECT_GE(deadlocks, 1u);
  }
}

// Soon, where both CPUs run: a millisecond. Beside other programs a round takes what the scheduler takes,
// so rounds go on until it is seen.
TEST_F(Resilient, AbbaIsFoundWithinAMillisecond) {
  using Us = std::chrono::duration<double, std::micro>;
  Us least = std::chrono::hours(1);
  for (const Time end = std::chrono::steady_clock::now() + minutes(1);
       least > std::chrono::milliseconds(1) && std::chrono::steady_clock::now() < end;) {
    RingTimes times;
    const auto why = ring<2>(std::chrono::seconds(5), &times);
    if (why[0] == Refusal::deadlock || why[1] == Refusal::deadlock)
      least = std::min<Us>(least, times.told.load() - times.asked.load());
  }
  EXPECT_LE(least, std::chrono::milliseconds(1)) << least.count() << " us at the least";
}

TEST_F(Resilient, ALongerCycleEndsByTime) {
  unsigned timeouts = 0;
  for (const Refusal r : ring<3>(std::chrono::milliseconds(5))) {
    EXPECT_TRUE(r == Refusal::none || r == Refusal::timeout) << name_of(r);
    timeouts += r == Refusal::timeout;
  }
  EXPECT_GE(timeouts, 1u);
}

// In one order, and given back in both: nobody ever waits for whom waits for him.
TEST_F(Resilient, NoDeadlockIsFoundWhereThereIsNone) {
  constexpr unsigned kThreads = 4, kRounds = nestlock::internal::kWithTsan ? 500 : 5000;
  Lock lock[3];
  unsigned long sum = 0;
  std::atomic<unsigned> wrong{0};
  std::vector<std::thread> threads;
  for (unsigned t = 0; t < kThreads; ++t)
    threads.emplace_back([&, t] {
      for (unsigned i = 0; i < kRounds; ++i) {
        for (Lock& l : lock)
          if (!l.lock(minutes(10))) ++wrong;
        ++sum;
        for (unsigned k = 0; k < 3; ++k) lock[(i + t) % 2 ? k : 2 - k].unlock();
      }
    });
  for (std::thread& t : threads) t.join();
  EXPECT_EQ(wrong, 0u);
  EXPECT_EQ(sum, kThreads * kRounds);
}

// Many locks at once, given back in each order; and the next ABBA is found.
TEST_F(Resilient, ManyLocksInEachOrder) {
  Lock lock[20];
  for (unsigned step : {1u, 3u, 7u, 19u}) {
    for (Lock& l : lock) ASSERT_TRUE(l.try_lock());
    for (unsigned i = 0; i < 20; ++i) lock[i * step % 20].unlock();
    for (Lock& l : lock) EXPECT_FALSE(l.is_locked());
  }
  const auto why = ring<2>(minutes(1));
  EXPECT_TRUE(why[0] == Refusal::deadlock || why[1] == Refusal::deadlock);
}

TEST_F(Resilient, TheThreadThatHeldItIsGone) {
  const Findings findings;  // a thread ends in a section, which debug configurations report
  Lock lock;
  std::thread([&] { ASSERT_TRUE(lock.try_lock()); }).join();
  EXPECT_EQ(lock.try_lock().why(), Refusal::held_by_other);
  // Joined is not yet gone: the kernel knows the thread's id for a moment more.
  while (lock.lock(Spins{0}).why() == Refusal::timeout) sched_yield();
  EXPECT_EQ(lock.lock(Spins{0}).why(), Refusal::abandoned);
  EXPECT_EQ(lock.lock(minutes(1)).why(), Refusal::abandoned);
  // Its CPU has another thread by now; what it held is not that one's.
  std::thread([&] {
    Lock other;
    EXPECT_TRUE(other.try_lock());
    EXPECT_FALSE(lock.held_by_caller());
    other.unlock();
  }).join();
}

TEST_F(Resilient, AForkedChildHoldsWhatItsThreadHeld) {
  Lock lock, others;
  ASSERT_TRUE(lock.try_lock());
  while_another_holds(others, [&] {
    const Outcome o = in_child([&] {
      const bool as_it_was = lock.held_by_caller() &&
                             lock.lock(minutes(1)).why() == Refusal::deadlock &&
                             others.lock(minutes(1)).why() == Refusal::abandoned;
      lock.unlock();
      const bool again = static_cast<bool>(lock.try_lock());
      if (!as_it_was || !again) _exit(1);
    });
    EXPECT_TRUE(o.returned) << o.text();
  });
  lock.unlock();
}

}  // namespace
}  // namespace nestlock::test_support
