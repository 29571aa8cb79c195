// Virtual CPUs: one for each thread that uses the library, whichever context asks first, and given
// back when the thread ends.
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>

#include <algorithm>
#include <bit>
#include <condition_variable>
#include <cstdlib>
#include <mutex>
#include <set>
#include <thread>

#include "nestlock/nestlock.h"
#include "nestlock/testing/instruction_sweep.h"
#include "test/port/port_testing.h"

namespace nestlock::port_testing {
namespace {

using Smp = HostedPort<configs::smp_debug>;
using Up = HostedPort<configs::up_debug>;

unsigned cpus_in_use() {
  unsigned n = 0;
  for (const auto& word : hosted::process().cpus_taken) n += std::popcount(word.load());
  return n;
}

// Threads that hold until released. Each runs `first` and keeps what it returns.
class Crowd {
 public:
  template <class First>
  Crowd(unsigned size, First first) : cpu_(size) {
    for (unsigned i = 0; i < size; ++i)
      threads_.emplace_back([this, i, first] {
        const unsigned cpu = first();
        std::unique_lock lock(mutex_);
        cpu_[i] = cpu, ++arrived_;
        changed_.notify_all();
        changed_.wait(lock, [this] { return released_; });
      });
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return arrived_ == size; });
  }
  ~Crowd() { release(); }
  void release() {
    {
      const std::lock_guard lock(mutex_);
      released_ = true;
    }
    changed_.notify_all();
    for (auto& t : threads_)
      if (t.joinable()) t.join();
  }
  const std::vector<unsigned>& cpus() const { return cpu_; }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<unsigned> cpu_;
  unsigned arrived_ = 0;
  bool released_ = false;
  std::vector<std::thread> threads_;
};

class PortCpuTest : public PortTest {
 protected:
  void SetUp() override {
    PortTest::SetUp();
    Smp::cpu_id();  // this thread's
    before_ = cpus_in_use();
  }
  void TearDown() override {
    EXPECT_EQ(cpus_in_use(), before_) << "a thread kept its virtual CPU";
    PortTest::TearDown();
  }
  unsigned before_ = 0;
};

TEST_F(PortCpuTest, AThreadKeepsItsOwnAndUniprocessorConfigurationsHaveOne) {
  const unsigned mine = Smp::cpu_id();
  EXPECT_LT(mine, Smp::kMaxCpus);
  EXPECT_EQ(Smp::cpu_id(), mine);
  EXPECT_EQ(Up::cpu_id(), 0u);
  EXPECT_EQ(Up::kMaxCpus, 1u);
  unsigned other = mine;
  std::thread([&] {
    other = Smp::cpu_id();
    EXPECT_EQ(Up::cpu_id(), 0u);
  }).join();
  EXPECT_NE(other, mine);
}

TEST_F(PortCpuTest, ThreadsAtTheSameTimeHaveDifferentOnes) {
  Crowd crowd(16, [] { return Smp::cpu_id(); });
  std::set<unsigned> all(crowd.cpus().begin(), crowd.cpus().end());
  all.insert(Smp::cpu_id());
  EXPECT_EQ(all.size(), 17u);
  EXPECT_LT(*all.rbegin(), Smp::kMaxCpus);
}

TEST_F(PortCpuTest, AThreadThatEndsGivesItsOwnBack) {
  std::set<unsigned> all;
  for (unsigned i = 0; i < 2 * kHostedMaxCpus; ++i)
    std::thread([&] { all.insert(Smp::cpu_id()); }).join();
  EXPECT_EQ(all.count(Smp::kMaxCpus), 0u);
  EXPECT_EQ(cpus_in_use(), before_);
}

// ---- none left ----------------------------------------------------------------------------------

// Beside the kernel's reuse of their ids and stacks. NESTLOCK_LONG=1: a hundred thousand.
TEST_F(PortCpuTest, ThreadsThatComeAndGoLeaveEveryCpuFree) {
  const unsigned all = std::getenv("NESTLOCK_LONG")    ? 100'000
                       : nestlock::internal::kWithTsan ? 500
                                                       : 5'000;
  for (unsigned done = 0; done < all; done += 4) {
    std::thread four[4];
    for (std::thread& t : four)
      t = std::thread([] {
        const IrqSection section;
        EXPECT_LT(Smp::cpu_id(), Smp::kMaxCpus);
      });
    for (std::thread& t : four) t.join();
    ASSERT_EQ(cpus_in_use(), before_) << "after " << done + 4;
  }
}

struct Cache {
  BasicLocalTryLock<KernelOf<configs::smp_debug, Smp>> lock;
  int taken = 0;
};
BasicPerCpu<KernelOf<configs::smp_debug, Smp>, Cache> caches;

TEST_F(PortCpuTest, WithoutOneAThreadWorksWithoutPerCpuDataUntilOneIsFree) {
  Crowd crowd(kHostedMaxCpus - before_, [] { return Smp::cpu_id(); });
  EXPECT_EQ(cpus_in_use(), kHostedMaxCpus);
  std::atomic<bool> go{false};
  std::atomic<int> step{0};
  std::thread late([&] {
    EXPECT_EQ(Smp::cpu_id(), Smp::kMaxCpus);
    EXPECT_FALSE(caches.try_lock_here<&Cache::lock>());
    // Its irqs are held back by the kernel's queue, for want of a slot, and none is lost.
    {
      IrqSection section;
      arrive(irq(0), 1);
      arrive(irq(0), 2);
      EXPECT_EQ(irqs.size(), 0u);
    }
    EXPECT_EQ(irqs.size(), 2u);
    EXPECT_EQ(not_quiet(), "");
    step = 1;
    while (!go) sched_yield();
    EXPECT_LT(Smp::cpu_id(), Smp::kMaxCpus);
    EXPECT_TRUE(caches.try_lock_here<&Cache::lock>());
  });
  while (!step) sched_yield();
  crowd.release();
  go = true;
  late.join();
}

TEST_F(PortCpuTest, PerCpuDataThatMustBeThereIsAFatalFinding) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");  // there are threads
  Crowd crowd(kHostedMaxCpus - before_, [] { return Smp::cpu_id(); });
  EXPECT_DEATH(std::thread([] { caches.here(); }).join(), "no virtual CPU left");
}

// ---- the first use in a handler, and interrupted by one -----------------------------------------

TEST_F(PortCpuTest, AHandlerMayBeTheFirstUser) {
  static unsigned seen;
  leave_out(seen);
  in_irq = [](int, siginfo_t*, void*) { seen = Smp::cpu_id(); };
  std::thread([] {
    seen = Smp::kMaxCpus;
    arrive(irq(0));
    EXPECT_LT(seen, Smp::kMaxCpus);
    EXPECT_EQ(Smp::cpu_id(), seen);
  }).join();
}

// A handler that interrupts the first use claims one itself; both must mean the same one.
TEST_F(PortCpuTest, AHandlerMayInterruptTheFirstUseAnywhere) {
  if (nestlock::internal::kWithTsan) GTEST_SKIP() << "stepping all of TSan's runtime takes minutes";
  static unsigned in_task, in_handler;
  const unsigned mine = Smp::cpu_id();
  const testing::SweepResult r = testing::sweep_each(
      [] {
        hosted::give_back_cpu();
        in_task = in_handler = Smp::kMaxCpus;
      },
      [] { in_task = Smp::cpu_id(); }, [] { in_handler = Smp::cpu_id(); },
      [&] {
        return in_task < Smp::kMaxCpus && in_task == in_handler && in_task == Smp::cpu_id() &&
               cpus_in_use() == before_;
      });
  if (!r.supported) GTEST_SKIP() << r.text();
  EXPECT_TRUE(r.ok() && r.complete) << r.text();
  std::printf("first use: %s\n", r.text().c_str());
  EXPECT_EQ(Smp::cpu_id(), mine);
}

// ---- the end of a thread ------------------------------------------------------------------------

// Another library's exit hook, which runs in as many passes as it likes and uses ours in some. Its
// key is younger than the port's, so the C library calls it later in each pass.
std::atomic<int> late_uses, late_without_cpu;
pthread_key_t late_key;
void use_late() {
  ++late_uses;
  if (Smp::cpu_id() >= Smp::kMaxCpus) ++late_without_cpu;
  if (auto c = caches.try_lock_here<&Cache::lock>()) ++c->taken;
}
void late_user(void* passes) {  // a bit for each pass to come, above them a last 1
  const auto p = reinterpret_cast<std::uintptr_t>(passes);
  if (p & 1) use_late();
  if (p >> 1 > 1) pthread_setspecific(late_key, reinterpret_cast<void*>(p >> 1));
}
struct LateObject {
  ~LateObject() { use_late(); }
};

TEST_F(PortCpuTest, OtherLibrariesExitHooksMayUseIt) {
  constexpr unsigned kPasses = hosted::kExitPasses, kLast = 1u << (kPasses - 1);
  ASSERT_EQ(pthread_key_create(&late_key, late_user), 0);
  for (std::uintptr_t passes = 1; passes < 2 * kLast; ++passes) {
    late_uses = late_without_cpu = 0;
    std::thread([&] {
      static thread_local LateObject late;
      (void)&late;
      Smp::cpu_id();
      pthread_setspecific(late_key, reinterpret_cast<void*>(passes | 2 * kLast));
    }).join();
    EXPECT_EQ(late_uses, std::popcount(passes) + 1);
    // Behind the port's own hook in the last pass it works without a CPU: nobody would give it
    // back.
    EXPECT_EQ(late_without_cpu, passes & kLast ? 1 : 0);
    EXPECT_EQ(cpus_in_use(), before_) << "uses in the passes " << passes;
  }
  pthread_key_delete(late_key);
}

TEST_F(PortCpuTest, TheFirstUseMayBeInAnExitHook) {
  ASSERT_EQ(pthread_key_create(&late_key, late_user), 0);
  late_uses = late_without_cpu = 0;
  std::thread([] { pthread_setspecific(late_key, reinterpret_cast<void*>(3)); }).join();
  EXPECT_EQ(late_uses, 1);
  EXPECT_EQ(late_without_cpu, 0);
  EXPECT_EQ(cpus_in_use(), before_);
  pthread_key_delete(late_key);
}

struct CountingHook : hosted::OfflineHook {
  std::atomic<int> runs{0};
  std::atomic<unsigned> cpu{0}, irqs_then{0};
  std::atomic<bool> still_taken{false}, blocked{false};
};
CountingHook counting_hook;

TEST_F(PortCpuTest, OfflineHooksRunOnceAfterTheLastIrqAndBeforeTheCpuIsGivenBack) {
  static const bool pushed [[maybe_unused]] = [] {
    counting_hook.run = [](hosted::OfflineHook& hook, unsigned cpu) noexcept {
      auto& h = static_cast<CountingHook&>(hook);
      ++h.runs;
      h.cpu = cpu;
      h.irqs_then = irqs.size();
      h.still_taken = hosted::process().cpus_taken[cpu / 64].load() >> (cpu % 64) & 1;
      h.blocked = (real_mask() & (irq_class() | bit(nmi()))) == (irq_class() | bit(nmi()));
    };
    hosted::on_cpu_offline(counting_hook);
    return true;
  }();
  counting_hook.runs = 0;
  unsigned cpu = 0;
  std::thread([&] {
    cpu = Smp::cpu_id();
    // It ends in an irq-off section, with one irq in a slot and one in the kernel's queue.
    port->irq_disable();
    arrive(irq(0), 1);
    arrive(irq(0), 2);
  }).join();
  EXPECT_EQ(irqs.values(), (std::vector{1, 2}));
  EXPECT_EQ(counting_hook.runs, 1);
  EXPECT_EQ(counting_hook.cpu, cpu);
  EXPECT_EQ(counting_hook.irqs_then, 2u);
  EXPECT_TRUE(counting_hook.still_taken);
  EXPECT_TRUE(counting_hook.blocked);
}

TEST_F(PortCpuTest, AThreadThatNeverUsedItRunsNoHook) {
  counting_hook.runs = 0;
  std::thread([] {}).join();
  EXPECT_EQ(counting_hook.runs, 0);
}

// To ThreadSanitizer a handler is a fibre, which no jump leaves.
#if !NESTLOCK_WITH_TSAN
// A handler was left by a jump with an irq held back in it: that one runs before the thread ends.
TEST_F(PortCpuTest, AThreadThatAbandonedAHandlerEnds) {
  static thread_local sigjmp_buf outside;
  in_irq = [](int, siginfo_t*, void*) {
    real_mask(SIG_UNBLOCK, irq_class());
    arrive(irq(1));
    siglongjmp(outside, 1);
  };
  std::thread([] {
    Smp::cpu_id();
    if (!sigsetjmp(outside, 1)) arrive(irq(0));
    in_irq = nullptr;
  }).join();
  EXPECT_EQ(irqs.size(), 2u);
}
#endif

}  // namespace
}  // namespace nestlock::port_testing
