// The SMP word among real-time threads of one processor: whoever waits there keeps the owner from it, unless
// he sleeps. Where SCHED_FIFO is permitted.
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>

#include <atomic>
#include <thread>

#include "gtest/gtest.h"
#include "nestlock/nestlock.h"
#include "test/support/real_time.h"

namespace nestlock {
namespace {

using Lock = BasicSpinLock<KernelOf<configs::smp, HostedPort<configs::smp>>>;

using test_support::become_realtime;

struct Event {
  Event() { sem_init(&sem, 0, 0); }
  void signal() { sem_post(&sem); }
  void wait() {
    while (sem_wait(&sem)) {
    }
  }
  sem_t sem;
};

// The owner has the lowest priority, and is preempted by two threads that want the lock: the first leads, the
// second finds a leader and parks. Each would keep the owner from the processor by looking on.
TEST(ParkPriority, WaitersOfHigherPriorityLetThePreemptedOwnerRun) {
  Lock lock;
  Event let_middle, let_high;
  std::atomic<bool> permitted{true};
  std::atomic<int> ready{0}, asking{0}, through{0};
  int order[2] = {};
  const auto waiter = [&](int priority, Event& let) {
    if (!become_realtime(priority)) permitted = false;
    ++ready;
    let.wait();
    if (!permitted) return;
    ++asking;
    lock.lock();
    order[through++] = priority;
    lock.unlock();
  };
  std::thread high([&] { waiter(30, let_high); }), middle([&] { waiter(20, let_middle); });
  std::thread low([&] {
    while (ready < 2) sched_yield();
    if (!become_realtime(10)) permitted = false;
    const bool locked = permitted;
    if (locked) lock.lock();
    let_middle.signal(), let_high.signal();
    if (!locked) return;
    while (asking < 2) sched_yield();  // this one is on its way again, so both of them sleep
    EXPECT_EQ(through.load(), 0);
    lock.unlock();
  });
  low.join(), middle.join(), high.join();
  if (!permitted) GTEST_SKIP() << "SCHED_FIFO is not permitted here";
  EXPECT_EQ(through.load(), 2);
  EXPECT_EQ(order[0] + order[1], 50);
}

}  // namespace
}  // namespace nestlock
