// Kind 3: fork(). The allocators work in the child of a process whose other threads were in the middle of
// calls, in a child of a child, and after a fork in a handler; what other threads' CPUs cached comes back.
#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <barrier>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <semaphore>
#include <thread>
#include <vector>

#include "gtest/gtest.h"
#include "nestlock/slab.h"
#include "nestlock/testing/instruction_sweep.h"
#include "test/support/interrupts.h"
#include "test/support/kernels.h"
#include "test/support/slab_floors.h"

namespace nestlock {
namespace {

using test_support::HostedKernel;
using test_support::KernelName;

constexpr std::size_t kSizes[] = {16, 64, 200, 1024, 4000, 9000, 40000};

struct Counting : NullObserver {
  static inline std::atomic<unsigned> taken{0};
  static void acquired(const LockRef&, bool) noexcept { taken.fetch_add(1); }
};

// Before all others, which are not alone any more. Nobody else is in the middle of a call, and what a handler's
// fork interrupted goes on in the child: so each lock that is taken touches a page in vain, here and there.
TEST(SlabForkOfALoneThread, TakesNoLock) {
  static test_support::Floors<KernelOf<configs::smp, HostedPort<configs::smp>, Counting>> floors;
  floors.reset();
  auto& s = *floors.slabs;
  if (!hosted::is_alone()) GTEST_SKIP() << "the C library does not tell, or a tool has a thread";
  void* const object = s.kmalloc(64, gfp::kernel);
  ASSERT_NE(object, nullptr);
  const unsigned before = Counting::taken.load();
  s.before_fork();
  s.before_fork();  // of a handler in the middle
  EXPECT_EQ(Counting::taken.load(), before);
  const pid_t pid = ::fork();
  if (pid == 0) alarm(60);
  s.after_fork(pid == 0);
  s.after_fork(pid == 0);
  if (pid == 0) {
    void* const other = s.kmalloc(64, gfp::kernel);
    _exit(other && other != object && s.kfree(object) && s.kfree(other) && floors.live() == 0 ? 0
                                                                                              : 1);
  }
  int status = 0;
  ASSERT_EQ(waitpid(pid, &status, 0), pid);
  EXPECT_EQ(status, 0);
  EXPECT_EQ(Counting::taken.load(), before);
  EXPECT_TRUE(s.kfree(object));

  std::atomic<bool> over{false};
  std::thread company([&] {
    while (!over) sched_yield();
  });
  const unsigned alone = Counting::taken.load();
  s.before_fork();
  EXPECT_GT(Counting::taken.load(), alone) << "another thread may be in the middle of a call";
  s.after_fork(false);
  over = true;
  company.join();
  EXPECT_EQ(floors.live(), 0u);
}

template <class K>
struct SlabFork : ::testing::Test {
  using Pages = BasicPageAllocator<K>;
  using Slabs = BasicSlabAllocator<K>;
  static inline Pages* pages;
  static inline Slabs* slabs;
  void SetUp() override {
    // The forks are those of a process that is not alone.
    [[maybe_unused]] static const bool company = (std::thread([] { pause(); }).detach(), true);
    ASSERT_FALSE(hosted::is_alone());
    pages = new Pages;
    slabs = new Slabs;
    ASSERT_EQ(pages->set_up({.start = test_support::memory(), .size = test_support::kMemory}),
              PageSetup::ok);
    ASSERT_TRUE(slabs->set_up(*pages));
  }
  void TearDown() override {
    delete slabs;
    delete pages;
  }
  // As system_slab() does by pthread_atfork().
  static pid_t fork_now() {
    slabs->before_fork();
    const pid_t pid = ::fork();
    if (pid == 0) alarm(60);  // a hang is a death by SIGALRM
    slabs->after_fork(pid == 0);
    return pid;
  }
  // Objects of all floors: each full of its tag while it is out. False: trouble. No library of the
  // program's is called: another thread may have had its locks.
  static bool use() {
    unsigned char* at[96];
    unsigned n = 0;
    bool right = true;
    for (int round = 0; round < 4; ++round) {
      for (n = 0; n < 96; ++n) {
        const std::size_t size = kSizes[n % 7];
        at[n] = static_cast<unsigned char*>(slabs->kmalloc(size, gfp::nowait));
        if (!at[n]) break;
        std::memset(at[n], static_cast<int>(n + 1), size);
      }
      right = right && n == 96;
      while (n-- > 0) {
        const std::size_t size = kSizes[n % 7];
        right = right && at[n][0] == n + 1 && at[n][size - 1] == n + 1;
        right = slabs->kfree(at[n]) && right;
      }
      void* const p = slabs->kmalloc_nolock(64, gfp::none);
      right = right && p && slabs->kfree_nolock(p);
    }
    return right;
  }
  static void expect_end(pid_t pid) {
    int status = 0;
    ASSERT_EQ(waitpid(pid, &status, 0), pid);
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0)
        << (WIFSIGNALED(status) ? strsignal(WTERMSIG(status)) : "wrong objects");
  }
};
#ifdef NESTLOCK_TEST_KERNELS
using ForkKernels = ::testing::Types<NESTLOCK_TEST_KERNELS>;
#else
using ForkKernels = ::testing::Types<HostedKernel<configs::smp>, HostedKernel<configs::smp_debug>,
                                     HostedKernel<configs::smp_rt>>;
#endif
TYPED_TEST_SUITE(SlabFork, ForkKernels, KernelName);

TYPED_TEST(SlabFork, AChildOfBusyThreadsAllocates) {
  auto& s = *this->slabs;
  auto* const listed = s.create("by the list", 64, 0, slab::no_sheaves);  // each call has its lock
  ASSERT_TRUE(listed);
  std::atomic<bool> stop{false};
  std::atomic<unsigned> rounds{0};
  std::vector<std::thread> threads;
  for (unsigned t = 0; t < 3; ++t)
    threads.emplace_back([&, t] {
      for (unsigned i = t; !stop.load(); ++i) {
        void* all[40];
        for (void*& p : all) p = s.kmalloc(kSizes[i % 7], gfp::nowait);
        for (void* p : all) s.kfree(p);
        for (void*& p : all) p = listed->alloc(gfp::nowait);
        for (void* p : all) listed->free(p);
        rounds.fetch_add(1);
      }
    });
  for (int i = 0; i < 40; ++i) {
    for (const unsigned before = rounds.load(); rounds.load() - before < 4;)
      std::this_thread::yield();
    const pid_t pid = this->fork_now();
    if (pid == 0) {
      bool right = this->use();
      void* const p = listed->alloc(gfp::nowait);
      right = p && listed->free(p) && right;
      if (i % 4 == 0) {  // and a child of the child
        const pid_t next = this->fork_now();
        if (next == 0) _exit(this->use() ? 0 : 1);
        int status = 0;
        right = waitpid(next, &status, 0) == next && status == 0 && right;
      }
      _exit(right ? 0 : 1);
    }
    this->expect_end(pid);
  }
  stop.store(true);
  for (auto& t : threads) t.join();
  EXPECT_TRUE(this->use());
  EXPECT_TRUE(s.destroy(listed));
  EXPECT_TRUE(s.consistent());
  EXPECT_TRUE(this->pages->consistent());
}

// A thread that the child lacks had all that is free in its sheaves.
TYPED_TEST(SlabFork, WhatOtherCpusCachedComesBack) {
  auto& s = *this->slabs;
  auto* const cache = s.create("theirs", 64);
  std::binary_semaphore cached(0), over(0);
  std::thread other([&] {
    void* all[50];
    for (void*& p : all) p = cache->alloc(gfp::kernel);
    for (void* p : all) cache->free(p);
    cached.release();
    over.acquire();
  });
  cached.acquire();
  const pid_t pid = this->fork_now();
  if (pid == 0) {
    cache->shrink();  // what this CPU, the barn and the lists have
    std::uintptr_t out = 1;
    const bool right = cache->consistent(&out) && out == 0 && cache->stats().slabs == 0;
    _exit(right && this->pages->consistent() && s.destroy(cache) ? 0 : 1);
  }
  this->expect_end(pid);
  EXPECT_GT(cache->stats().slabs, 0u) << "in the parent they are the other thread's";
  over.release();
  other.join();
  EXPECT_TRUE(s.destroy(cache));
}

// The child of a fork in a handler goes on where the parent was interrupted.
TYPED_TEST(SlabFork, AHandlerForksInTheMiddleOfACall) {
  static std::atomic<unsigned> asked, forks, in_sections;
  static volatile bool child;
  static pid_t pids[32];
  asked = forks = in_sections = 0;
  child = false;
  struct sigaction act{};
  act.sa_handler = [](int) {
    if (forks.load() == 32 || child) return;
    if (TestFixture::slabs->interrupted() != Floor::none) in_sections.fetch_add(1);
    const pid_t pid = SlabFork<TypeParam>::fork_now();
    if (pid == 0)
      child = true;
    else
      pids[forks.fetch_add(1)] = pid;
  };
  struct sigaction before;
  ASSERT_EQ(sigaction(SIGUSR1, &act, &before), 0);
  std::atomic<bool> stop{false};
  std::thread busy([&] {
    while (!stop.load()) this->slabs->kfree(this->slabs->kmalloc(4000, gfp::nowait));
  });
  const pthread_t self = pthread_self();
  std::thread sender([&] {
    for (unsigned seen = 0; seen < 32; ++seen) {
      pthread_kill(self, SIGUSR1);
      while (forks.load() <= seen) std::this_thread::yield();
    }
  });
  bool right = true;
  while (forks.load() < 32 && !child) {
    void* all[30];
    for (void*& p : all) p = this->slabs->kmalloc(1024, gfp::nowait);
    for (void* p : all) right = this->slabs->kfree(p) && right;
  }
  if (child) _exit(this->use() && right ? 0 : 1);
  EXPECT_TRUE(right);
  stop.store(true);
  sender.join();
  busy.join();
  for (const pid_t pid : pids) this->expect_end(pid);
  EXPECT_EQ(sigaction(SIGUSR1, &before, nullptr), 0);
  EXPECT_TRUE(this->use());
}

// A CPU's lists are changed with irqs on, so nothing tells a fork in an unregistered handler that what it
// interrupted holds their lock; waiting for it there would be for ever. Without the fork itself; a sample, for
// each boundary in a section costs all the patience there is. All with NESTLOCK_LONG=1.
TYPED_TEST(SlabFork, AHandlerMayForkAnywhereInACall) {
  auto& s = *this->slabs;
  alarm(60);  // a hang is a death by SIGALRM
  auto& pages_under = *this->pages;
  std::function<void()> before = [] {};
  const auto sweep = [&](Floor floor, auto call) {
    bool right = false;
    unsigned inside = 0;
    before(), call();
    // Ever finer, until one came inside: a compiler that optimises leaves few boundaries there.
    for (const unsigned every : {std::getenv("NESTLOCK_LONG") ? 1u : 101u, 7u, 1u}) {
      const testing::SweepResult r = testing::sweep_each(
          [&] { before(); }, [&] { right = call(); },
          [&] {
            inside += s.interrupted() == floor;
            s.before_fork();
            s.after_fork(false);
          },
          [&] { return right; },
          {.boundaries = {.every = every}, .engine = testing::Engine::trap_flag});
      if (!r.supported) return;
      EXPECT_TRUE(r.ok()) << r.text();
      if (inside > 0) return;
    }
    ADD_FAILURE() << "no boundary was inside a section";
  };
  sweep(Floor::slab, [&] {
    void* const p = s.kmalloc(64, gfp::nowait);
    return p && s.kfree(p);
  });
  sweep(Floor::page, [&] {
    auto* const p = pages_under.alloc_pages(gfp::nowait, 0);
    return p && pages_under.free_pages(p, 0);
  });
  const unsigned mine = TypeParam::Port::cpu_id();
  before = [&] {  // one page on its list
    auto* const p = pages_under.alloc_pages(gfp::nowait, 0);
    pages_under.drain_cpu(mine);
    pages_under.free_pages(p, 0);
  };
  sweep(Floor::page, [&] { return pages_under.drain_cpu(mine), true; });
  alarm(0);
  EXPECT_TRUE(this->use() && s.consistent() && pages_under.consistent());
}

// The C library runs the handlers of several forks at once. Whoever comes second has what the first one took.
TYPED_TEST(SlabFork, ForksAtOnceShareTheLocks) {
  auto& s = *this->slabs;
  constexpr int kThreads = 3, kRounds = 20;
  std::atomic<int> wrong{0};
  std::barrier all(kThreads);
  const auto uses = [&] {
    auto* const cache = s.create("of a child", 72);
    return this->use() && s.destroy(cache) && s.consistent() && this->pages->consistent();
  };
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t)
    threads.emplace_back([&] {
      for (int i = 0; i < kRounds; ++i) {
        s.before_fork();
        all.arrive_and_wait();  // all are in the middle
        const pid_t pid = ::fork();
        if (pid == 0) alarm(60);
        s.after_fork(pid == 0);
        if (pid == 0) _exit(uses() ? 0 : 1);
        int status = 0;
        wrong += waitpid(pid, &status, 0) != pid || status != 0;
        all.arrive_and_wait();
      }
    });
  for (auto& t : threads) t.join();
  EXPECT_EQ(wrong, 0) << "children that ended badly";
  EXPECT_TRUE(uses());
}

// A handler forks in the middle of its thread's own fork, whose locks are given back by neither child.
TYPED_TEST(SlabFork, AForkInTheMiddleOfAForkSharesTheLocks) {
  auto& s = *this->slabs;
  s.before_fork();
  const pid_t inner = this->fork_now();
  const bool child = inner == 0;
  if (!child) this->expect_end(inner);
  EXPECT_NE(s.interrupted(), Floor::none) << "the outer fork's locks are still held";
  const pid_t outer = ::fork();
  if (outer == 0) alarm(60);
  s.after_fork(outer == 0);
  EXPECT_EQ(s.interrupted(), Floor::none);
  const bool right = this->use() && s.consistent() && this->pages->consistent();
  if (outer == 0) _exit(right ? 0 : 1);
  this->expect_end(outer);
  if (child) _exit(right && !::testing::Test::HasFailure() ? 0 : 1);
  EXPECT_TRUE(right);
}

// The premise of fork_hold.h, broken: nothing is given back that another thread's fork has.
TYPED_TEST(SlabFork, AnAfterForkAloneGivesNothingBack) {
  auto& s = *this->slabs;
  s.before_fork();
  std::thread([&] { s.after_fork(false); }).join();
  EXPECT_NE(s.interrupted(), Floor::none) << "the locks are still held";
  this->expect_end([&] {
    const pid_t pid = ::fork();
    if (pid == 0) alarm(60);
    s.after_fork(pid == 0);
    if (pid == 0) _exit(this->use() ? 0 : 1);
    return pid;
  }());
  EXPECT_EQ(s.interrupted(), Floor::none);
  EXPECT_TRUE(this->use());
}

// The turn to settle is held with irqs on, so nothing tells a fork in an unregistered handler that what it
// interrupted has it; waiting for it there would be for ever. On RT, where a hardirq's free is deferred.
// A sample, for each child is a process that waits its turn; all boundaries with NESTLOCK_LONG=1.
TYPED_TEST(SlabFork, AHandlerForksAnywhereInASettle) {
  if constexpr (TypeParam::kConfig.preempt_rt) {
    auto& s = *this->slabs;
    void* p = nullptr;
    bool settles = false, child = false;
    unsigned wrong = 0, forks = 0, in_turn = 0;
    const testing::SweepResult r = testing::sweep_each(
        [&] {
          p = s.kmalloc(64, gfp::nowait);
          settles = false;
          test_support::interrupt(test_support::Where::hardirq, [&] { s.kfree_nolock(p); });
        },
        [&] { settles = s.settle(); },
        [&] {
          const pid_t pid = this->fork_now();
          if (pid == 0) {
            child = true;  // and what was interrupted goes on there, too
            return;
          }
          ++forks;
          int status = 0;
          wrong += waitpid(pid, &status, 0) != pid || status != 0;
        },
        [&] {
          if (child) _exit(s.settle() && this->use() && s.consistent() ? 0 : 1);
          in_turn += settles;
          return settles;
        },
        {.boundaries = {.every = std::getenv("NESTLOCK_LONG") ? 1u : 97u},
         .engine = testing::Engine::trap_flag});
    if (!r.supported) GTEST_SKIP() << r.text();
    EXPECT_TRUE(r.ok()) << r.text();
    EXPECT_EQ(wrong, 0u) << "children that ended badly";
    EXPECT_GT(forks, 10u);
    EXPECT_GT(in_turn, 10u);
  } else {
    GTEST_SKIP() << "only RT's hardirq defers without a lock that is held";
  }
}

}  // namespace
}  // namespace nestlock
