// Kind 4: what lies in other CPUs' sheaves is found when memory runs short, also an idle thread's (slab/reach_inl.h).
// In the four kernels that have other CPUs. The premises, too: no barrier to be had, an owner in the middle of a call,
// a handler that comes, forks.
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <cstring>
#include <functional>
#include <random>
#include <semaphore>
#include <thread>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "nestlock/slab.h"
#include "test/support/asked_thread.h"
#include "test/support/kernels.h"
#include "test/support/slab_floors.h"

namespace nestlock {
namespace {

using test_support::AskedThread;

// What happens at a reach's first barrier and at its second, by the thread that reaches; false: it is not to be had.
struct Barriers {
  static inline std::function<bool()> first, second;
  static inline thread_local bool is_second = false;
  static inline bool none = false;  // in a child, for whose parent the hooks were
  static inline thread_local std::function<void()> waits;
};
template <Config kC>
struct HookedPort : HostedPort<kC> {
  static bool barrier_on_all_cpus() noexcept {
    if (Barriers::none) return HostedPort<kC>::barrier_on_all_cpus();
    const auto hook = std::exchange(Barriers::is_second, !Barriers::is_second) ? Barriers::second
                                                                               : Barriers::first;
    const bool had = !hook || hook();
    if (!had) Barriers::is_second = false;
    return had && HostedPort<kC>::barrier_on_all_cpus();
  }
  // A fork that waits for a lock naps.
  static void nap(const void* word, std::uint64_t ns) noexcept {
    if (const auto waits = std::exchange(Barriers::waits, nullptr)) waits();
    HostedPort<kC>::nap(word, ns);
  }
};
static_assert(BarrierPort<HookedPort<configs::smp>>);

// Stops a thread behind its next acquisition of its CPU's sheaves.
struct StopsInside {
  static inline thread_local bool armed = false;
  static inline std::binary_semaphore inside{0}, go_on{0};
  static void acquiring(const LockRef&) noexcept {}
  static void acquired(const LockRef& l, bool) noexcept {
    if (l.type != LockType::local_try || !std::exchange(armed, false)) return;
    inside.release();
    go_on.acquire();
  }
  static void refused(const LockRef&) noexcept {}
  static void releasing(const LockRef&) noexcept {}
};

template <Config kC>
using Kernel = KernelOf<kC, HookedPort<kC>, StopsInside>;

template <class K>
struct SlabReach : ::testing::Test {
  void SetUp() override {
    before_ = hosted::set_report_sink(test_support::ignore);
    floors_.reset();
    cache_ = slabs().create("theirs", 64);
    ASSERT_NE(cache_, nullptr);
  }
  void TearDown() override {
    Barriers::first = Barriers::second = nullptr;
    hosted::set_report_sink(before_);
  }
  // Leaves `n` free objects where the calling thread's CPU has them, half of them in use before.
  void use(unsigned n) {
    std::vector<void*> all(n);
    for (void*& p : all) ASSERT_NE(p = cache_->alloc(gfp::kernel), nullptr);
    for (void* p : all) EXPECT_TRUE(cache_->free(p));
  }
  void expect_whole() {
    EXPECT_EQ(cache_->stats().allocs(), cache_->stats().frees());
    EXPECT_TRUE(slabs().destroy(cache_));
    EXPECT_EQ(floors_.live(), 0u);
  }
  auto& slabs() { return *floors_.slabs; }
  auto& pages() { return *floors_.pages; }

  static test_support::Floors<K> floors_;
  BasicKmemCache<K>* cache_ = nullptr;
  hosted::ReportSink before_ = nullptr;
};
template <class K>
test_support::Floors<K> SlabReach<K>::floors_;

using Kernels = ::testing::Types<Kernel<configs::smp>, Kernel<configs::smp_debug>,
                                 Kernel<configs::smp_rt>, Kernel<configs::smp_rt_debug>>;
TYPED_TEST_SUITE(SlabReach, Kernels, test_support::KernelName);

TYPED_TEST(SlabReach, AnIdleThreadsObjectsComeBackAndItGoesOn) {
  auto& cache = *this->cache_;
  AskedThread owner;
  for (unsigned round = 0; round < 3; ++round) {
    owner.does([&] { this->use(10'000); });
    const auto before = cache.stats();
    ASSERT_GT(before.slabs, 0u);
    this->slabs().shrink_all();
    EXPECT_GT(cache.stats().reached, before.reached);
    EXPECT_EQ(cache.stats().slabs, 0u);
    // Nothing of it is there now, and nothing is asked for in vain.
    const auto reached = cache.stats().reached;
    bool barrier = false;
    Barriers::first = [&] { return barrier = true; };
    cache.shrink();
    Barriers::first = nullptr;
    EXPECT_FALSE(barrier);
    EXPECT_EQ(cache.stats().reached, reached);
  }
  owner.does([&] { this->use(300); });
  this->expect_whole();
}

TYPED_TEST(SlabReach, AnAllocationThatFindsNoMemoryAsksForThem) {
  const std::size_t memory = std::size_t{TypeParam::kConfig.debug ? 1u : 4u} << 20;
  this->floors_.reset(memory);
  auto& s = this->slabs();
  AskedThread owner;
  owner.does([&] {
    for (unsigned i = 0; i < std::remove_reference_t<decltype(s)>::kClasses; ++i) {
      std::vector<void*> all;
      for (int n = 0; n < 60; ++n)
        if (void* const p = s.kmalloc(s.class_size(i), gfp::nowait)) all.push_back(p);
      for (void* p : all) EXPECT_TRUE(s.kfree(p));
    }
  });
  const PageStats stats = this->pages().stats(0);
  ASSERT_GT(s.kmalloc_cache(0).stats().slabs, 0u);
  std::vector<void*> taken;
  while (void* const p = s.kmalloc(kPageSize, gfp::kernel)) taken.push_back(p);
  // A slab of this size takes eight pages; the reserve, and less than one slab, may be left.
  EXPECT_GE(taken.size() + stats.min + 8, stats.committed);
  EXPECT_EQ(s.kmalloc_cache(0).stats().slabs, 0u);
  for (void* p : taken) EXPECT_TRUE(s.kfree(p));
  EXPECT_EQ(this->floors_.live(), 0u);
}

// Who is in the middle of a call is left alone, and what he has is there the next time.
TYPED_TEST(SlabReach, AnOwnerInACallIsLeftAlone) {
  auto& cache = *this->cache_;
  AskedThread owner;
  owner.does([&] { this->use(40); });
  for (const bool frees : {false, true}) {
    void* p = nullptr;
    if (frees) owner.does([&] { p = cache.alloc(gfp::kernel); });
    owner.begins([&] {
      StopsInside::armed = true;
      frees ? (void)cache.free(p) : (void)(p = cache.alloc(gfp::kernel));
    });
    StopsInside::inside.acquire();
    const auto before = cache.stats().reached;
    cache.shrink();
    EXPECT_EQ(cache.stats().reached, before);
    StopsInside::go_on.release();
    owner.ends();
    if (!frees) owner.does([&] { EXPECT_TRUE(cache.free(p)); });
  }
  cache.shrink();
  EXPECT_GT(cache.stats().reached, 0u);
  EXPECT_EQ(cache.stats().slabs, 0u);
  this->expect_whole();
}

// Who comes when he is turned away already, and is inside at the second look, finds all as it was; and who comes, and
// finds nothing, goes elsewhere, and has his sheaves anew.
TYPED_TEST(SlabReach, AnOwnerThatComesMeanwhile) {
  auto& cache = *this->cache_;
  for (const bool stays : {true, false}) {
    AskedThread owner;
    owner.does([&] { this->use(40); });
    void* p = nullptr;
    Barriers::second = [&] {
      owner.begins([&] {
        StopsInside::armed = stays;
        p = cache.alloc(gfp::kernel);
      });
      stays ? StopsInside::inside.acquire() : owner.ends();
      return true;
    };
    const auto before = cache.stats();
    cache.shrink();
    Barriers::second = nullptr;
    EXPECT_EQ(cache.stats().reached > before.reached, !stays);
    if (stays) {
      StopsInside::go_on.release();
      owner.ends();
      EXPECT_EQ(cache.stats().fast_allocs, before.fast_allocs + 1);
    }
    ASSERT_NE(p, nullptr);
    owner.does([&] {
      EXPECT_TRUE(cache.free(p));
      this->use(40);
    });
  }
  this->expect_whole();
}

TYPED_TEST(SlabReach, WithoutABarrierAllStaysAsItIs) {
  auto& cache = *this->cache_;
  AskedThread owner;
  owner.does([&] { this->use(200); });
  const auto before = cache.stats();
  for (auto* const barrier : {&Barriers::first, &Barriers::second}) {
    bool asked = false;
    *barrier = [&] { return asked = true, false; };
    cache.shrink();
    *barrier = nullptr;
    EXPECT_TRUE(asked);
    EXPECT_EQ(cache.stats().reached, before.reached);
    owner.does([&] {
      void* const p = cache.alloc(gfp::kernel);
      EXPECT_TRUE(cache.free(p));
    });
  }
  EXPECT_EQ(cache.stats().fast_allocs, before.fast_allocs + 2)
      << "the fast paths find what there was";
  EXPECT_EQ(cache.stats().fast_frees, before.fast_frees + 2);
  this->expect_whole();
}

TYPED_TEST(SlabReach, NoHandlerRunsMeanwhile) {
  static std::atomic<unsigned> handled;
  handled = 0;
  struct sigaction act{}, was;
  act.sa_handler = [](int) { handled.fetch_add(1); };
  ASSERT_EQ(sigaction(SIGUSR1, &act, &was), 0);
  AskedThread owner;
  owner.does([&] { this->use(200); });
  Barriers::second = [&] {
    pthread_kill(pthread_self(), SIGUSR1);
    return handled.load() == 0;
  };
  this->cache_->shrink();
  EXPECT_EQ(handled.load(), 1u);
  EXPECT_EQ(this->cache_->stats().slabs, 0u);
  sigaction(SIGUSR1, &was, nullptr);
  this->expect_whole();
}

// Two that reach at once: one does, the other leaves it at that.
TYPED_TEST(SlabReach, OneAtATime) {
  auto& cache = *this->cache_;
  AskedThread owner, other;
  owner.does([&] { this->use(200); });
  unsigned begun = 0;
  Barriers::first = [&] {
    if (++begun == 1) other.does([&] { cache.shrink(); });
    return true;
  };
  cache.shrink();
  EXPECT_EQ(begun, 1u);
  EXPECT_EQ(cache.stats().slabs, 0u);
  this->expect_whole();
}

// A fork by what interrupts a reach (a handler of a trap), and by another thread meanwhile: the child's memory is
// whole, and it reaches again.
TYPED_TEST(SlabReach, AForkMeanwhile) {
  if (internal::kWithTsan) GTEST_SKIP() << "a child of several threads";
  auto& s = this->slabs();
  auto& cache = *this->cache_;
  for (const bool by_us : {true, false}) {
    AskedThread owner, other;
    owner.does([&] { this->use(200); });
    pid_t pid = -1;
    const auto works_in_child = [&] {  // (What a thread that is gone had taken already is lost.)
      Barriers::none = true;
      cache.shrink();
      const auto fast = cache.stats().fast_allocs;
      for (int n = 0; n < 2; ++n)
        if (void* const p = cache.alloc(gfp::kernel); !p || !cache.free(p)) _exit(2);
      if (cache.stats().fast_allocs == fast) _exit(3);
      // (Where another thread forked, what this one had in its hands may be counted on one side alone.)
      _exit(!by_us || (cache.consistent() && this->pages().consistent()) ? 0 : 4);
    };
    std::binary_semaphore waits_or_has(0);
    const auto forks = [&] {
      if (!by_us) Barriers::waits = [&] { waits_or_has.release(); };
      s.before_fork();
      pid = fork();
      s.after_fork(pid == 0);
      if (!by_us && pid == 0) works_in_child();
      if (std::exchange(Barriers::waits, nullptr)) waits_or_has.release();
    };
    Barriers::first = [&] {
      if (by_us) return forks(), true;
      other.begins(forks);
      return waits_or_has.acquire(), true;
    };
    cache.shrink();
    Barriers::first = nullptr;
    if (pid == 0) works_in_child();
    if (!by_us) other.ends();
    int status = -1;
    ASSERT_EQ(waitpid(pid, &status, 0), pid);
    EXPECT_EQ(status, 0);
    EXPECT_EQ(cache.stats().slabs, 0u);
  }
  this->expect_whole();
}

// Objects that go from thread to thread, each stamped by who has it, while another thread reaches and reaches.
TYPED_TEST(SlabReach, BesideBusyOwnersNothingIsGivenTwice) {
  constexpr unsigned kThreads = 3, kReaches = internal::kWithTsan ? 40 : 400;
  auto& cache = *this->cache_;
  std::atomic<bool> over{false};
  std::atomic<unsigned> wrong{0};
  std::vector<std::thread> threads;
  for (unsigned id = 1; id <= kThreads; ++id)
    threads.emplace_back([&, id] {
      std::minstd_rand random(id);
      std::array<unsigned char*, 100> mine{};
      const auto give_back = [&](unsigned char*& p) {
        if (!p) return;
        for (unsigned i = 8; i < 64; ++i) wrong += p[i] != id;
        EXPECT_TRUE(cache.free(std::exchange(p, nullptr)));
      };
      while (!over.load()) {
        // Up and down over sheaves' ends, in steps of a few.
        const unsigned upto = random() % mine.size();
        for (unsigned i = 0; i < mine.size(); ++i)
          if (i >= upto)
            give_back(mine[i]);
          else if (!mine[i] && (mine[i] = static_cast<unsigned char*>(cache.alloc(gfp::kernel))))
            std::memset(mine[i], static_cast<int>(id), 64);
      }
      for (auto& p : mine) give_back(p);
      this->slabs().flush_cpu();
    });
  while (cache.stats().reached < kReaches) cache.shrink();
  over = true;
  for (std::thread& t : threads) t.join();
  EXPECT_EQ(wrong.load(), 0u);
  cache.shrink();
  EXPECT_EQ(cache.stats().slabs, 0u);
  this->expect_whole();
}

}  // namespace
}  // namespace nestlock
