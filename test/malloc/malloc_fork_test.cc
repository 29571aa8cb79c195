// fork() in a storm: while two threads allocate and their handlers do, too, a third forks, in task context
// and in a handler that interrupted its own call. In the child the heap is whole: the child goes on with
// what the forking thread had, frees what another thread had, and has large blocks as its own.
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <thread>

#include "gtest/gtest.h"
#include "nestlock/malloc.h"
#include "nestlock/system_slab.h"
#include "test/malloc/storm.h"

namespace nestlock::test_support {
namespace {

constexpr StormOptions kOptions{.use = {nestlock_malloc, nestlock_calloc, nestlock_realloc,
                                        nestlock_aligned_alloc, nestlock_free},
                                .least = 16,
                                .most = std::size_t{3} << 20,
                                .threads = 2,
                                .period_ns = 300'000,
                                .seconds = 0};

// What another thread allocated, and then has while everybody forks.
struct Theirs {
  static constexpr unsigned kBlocks = 24;
  unsigned char* at[kBlocks]{};
  static std::size_t size(unsigned i) { return std::size_t{16} << i % 19; }  // to 4 MiB

  void allocate() {
    for (unsigned i = 0; i < kBlocks; ++i) {
      at[i] = static_cast<unsigned char*>(nestlock_malloc(size(i)));
      if (at[i]) std::memset(at[i], static_cast<int>(i + 1), size(i));
    }
  }
  bool intact() const {
    for (unsigned i = 0; i < kBlocks; ++i)
      for (std::size_t k = 0; k < size(i); k += 1 + size(i) / 64)
        if (!at[i] || at[i][k] != i + 1) return false;
    return true;
  }
  // False: a large block's memory is still there. Nobody else maps any meanwhile.
  bool free_all() {
    bool right = true;
    for (unsigned i = 0; i < kBlocks; ++i) {
      nestlock_free(at[i]);
      if (size(i) > std::size_t{1} << 20)
        right &= msync(at[i], kPageSize, MS_ASYNC) == -1 && errno == ENOMEM;
    }
    return right;
  }
};

constexpr unsigned kForks = 6;  // of each kind
storm::Owner mine, in_handler;
Theirs theirs;
std::atomic<bool> in_call, handler_in_call;
volatile sig_atomic_t child = -1;  // what fork() said in the handler; -1: it did not come yet
unsigned forks, inside, in_a_lock, failed;
timer_t timer;

// Of a child, in task context: 0 if all is right. What is wrong with a pointer ends it by abort(), a
// lock that nobody gives back by SIGALRM.
int live() {
  for (int i = 0; i < 100; ++i) mine.turn();
  bool right = theirs.intact() && theirs.free_all();
  mine.give_all_back(), in_handler.give_all_back();
  void* const p = nestlock_malloc(std::size_t{5} << 20);
  const std::size_t mapped = nestlock_malloc_counts().mapped;
  right &= nestlock_malloc_usable_size(p) >= std::size_t{5} << 20 && mapped >= std::size_t{5} << 20;
  nestlock_free(p);
  for (const storm::Owner* o : {&mine, &in_handler})
    right &= !o->overlaps && !o->nulls && !o->misaligned;
  return right ? 0 : 1;
}
void be_a_child() {
  alarm(60);
  _exit(live());
}

void wait_for(pid_t pid) {
  int status = 0;
  if (pid > 0 && waitpid(pid, &status, 0) == pid && status == 0) return;
  if (failed++ == 0)
    std::printf("fork %u: pid %d, status %#x\n", forks, static_cast<int>(pid), status);
}

void on_fork_signal(int) {
  const int saved = errno;
  inside += in_call.load(std::memory_order_relaxed);
  in_a_lock += nestlock_interrupted() != Floor::none;
  for (int i = 0; i < 4; ++i) in_handler.turn();
  child = fork();
  if (child == 0) alarm(60);
  for (int i = 0; i < 4; ++i) in_handler.turn();  // before what was interrupted goes on, in both
  errno = saved;
}

// A fork in task context, and one in a handler; the child goes on where that came.
bool fork_twice() {
  for (int i = 0; i < 50; ++i) mine.turn();
  const pid_t pid = fork();
  if (pid == 0) be_a_child();
  wait_for(pid);
  child = -1;
  const itimerspec soon{.it_interval = {}, .it_value = {0, 50'000 + 7'000 * (forks % 16)}};
  timer_settime(timer, 0, &soon, nullptr);
  while (child == -1) mine.turn();
  if (child == 0) be_a_child();
  wait_for(static_cast<pid_t>(child));
  ++forks;
  return failed == 0 && (forks < kForks || inside == 0);
}

TEST(MallocFork, TheChildHasAWholeHeap) {
  mine.start(kOptions, 101, in_call), in_handler.start(kOptions, 102, handler_in_call);
  std::atomic<int> stage{0};
  std::thread other([&] {
    theirs.allocate();
    stage = 1, stage.notify_one();
    stage.wait(1);
  });
  stage.wait(0);
  struct sigaction action{};
  action.sa_handler = on_fork_signal;
  action.sa_flags = SA_RESTART;
  sigaction(SIGUSR2, &action, nullptr);
  sigevent event{};
  event.sigev_notify = SIGEV_THREAD_ID;
  event.sigev_signo = SIGUSR2;
  event._sigev_un._tid = gettid();
  ASSERT_EQ(timer_create(CLOCK_MONOTONIC, &event, &timer), 0);
  StormOptions options = kOptions;
  options.more = fork_twice;
  const StormResult r = run_storm(options);
  timer_delete(timer);
  std::printf(
      "%u forks in a handler, %u inside a call, %u with a lock held; %llu handlers meanwhile\n",
      forks, inside, in_a_lock, static_cast<unsigned long long>(r.entries));
  EXPECT_TRUE(r.ok());
  if (r.hung) std::_Exit(1);  // its threads would go on
  EXPECT_EQ(failed, 0u) << "children that ended badly";
  EXPECT_GE(inside, 1u);
  EXPECT_TRUE(theirs.intact());
  stage = 2, stage.notify_one();
  other.join();
  theirs.free_all();
  mine.give_all_back(), in_handler.give_all_back();
  EXPECT_EQ(mine.overlaps + in_handler.overlaps, 0u);
  EXPECT_EQ(nestlock_malloc_counts().mapped, 0u)
      << "what the children freed is the parent's all the same";
  EXPECT_TRUE(system_slab().consistent() && system_pages().consistent());
}

}  // namespace
}  // namespace nestlock::test_support
