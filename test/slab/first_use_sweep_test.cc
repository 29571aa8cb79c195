// A thread's very first call of the library, interrupted after every instruction by a handler whose
// calls are the thread's first, too: it claims the CPU, keeps what it allocates, and returns.
//
// Each boundary has a new thread, so that all is as it is for a first call: no CPU, no exit hook.
// Its end must give the CPU back whoever claimed it. Stepping from the start for each of them makes
// this quadratic: the first boundaries one by one (the CPU is claimed there), then a sample.
#include <bit>
#include <cstdio>
#include <string>
#include <thread>
#include <utility>

#include "gtest/gtest.h"
#include "nestlock/lock/local_trylock.h"
#include "nestlock/lock/percpu.h"
#include "nestlock/lock/try_spinlock.h"
#include "nestlock/testing/instruction_sweep.h"
#include "test/support/kernels.h"
#include "test/support/slab_sweeps.h"
#include "test/support/verify_line.h"

namespace nestlock::test_support {
namespace {

using testing::SweepResult;

unsigned cpus_in_use() {
  unsigned n = 0;
  for (const auto& word : hosted::process().cpus_taken)
    n += static_cast<unsigned>(std::popcount(word.load()));
  return n;
}

constexpr std::uint64_t kDense = 80, kThen = 8;

template <class K>
struct FirstUse {
  using M = SlabMachine<K, policy::PerLockByte<K>>;
  using P = typename K::Port;
  struct Local {
    BasicLocalTryLock<K> lock;
    unsigned owner = 0;
  };
  struct Op {
    const char* name;
    void (*run)();
  };

  static inline M m;
  static inline BasicTrySpinLock<K> lock;
  static inline BasicPerCpu<K, Local> locals;
  static inline typename M::Pages::Page *page, *kept_page;  // of the code, of the handler
  static inline Served served;
  static inline std::uint64_t refused;         // the handler found a lock held
  static inline unsigned in_code, in_handler;  // the CPU
  static inline bool wrong, claims;
  static inline std::uint64_t claimed_by_code, claimed_by_handler;

  static constexpr Op kOps[] = {
      {"cpu_id", [] { in_code = P::cpu_id(); }},
      {"irq_save",
       [] {
         const auto s = P::irq_save();
         P::irq_restore(s);
       }},
      {"lock",
       [] {
         lock.lock();
         lock.unlock();
       }},
      {"a local try",
       [] {
         // Refused: by a handler that holds nothing any more, never.
         if (auto l = locals.template try_lock_here<&Local::lock>()) return void(l->owner = 1);
         wrong = true;
       }},
      {"kmalloc", [] { m.one_alloc(); }},
      {"kfree", [] { m.one_free(); }},
      {"alloc_pages", [] { page = m.pages->alloc_pages(gfp::kernel, 0); }},
      {"free_pages", [] { m.pages->free_pages(std::exchange(page, nullptr), 0); }},
  };

  static void prepare() {
    m.reset();
    m.take(3);
    page = m.pages->alloc_pages(gfp::kernel, 0);
    kept_page = nullptr, wrong = false;
    in_code = in_handler = P::kMaxCpus;
  }
  static void interruption() {
    ++(hosted::self().cpu.load(hosted::kRelaxed) ? claimed_by_code : claimed_by_handler);
    const auto s = P::irq_save();
    P::irq_restore(s);
    if (lock.try_lock())
      lock.unlock();
    else
      ++refused;
    if (auto l = locals.template try_lock_here<&Local::lock>())
      l->owner = 2;
    else
      ++refused;
    m.interrupt(0, served);
    kept_page = m.pages->alloc_pages_nolock(gfp::none, 0);
    if (!kept_page) ++refused;  // the zone is held, the CPU's cache empty
    in_handler = P::cpu_id();
  }
  // In the thread, afterwards.
  static bool as_it_should() {
    return !wrong && (!kept_page || kept_page != page) && in_handler < P::kMaxCpus &&
           in_handler == P::cpu_id() && (in_code == P::kMaxCpus || in_code == in_handler) &&
           m.wrong() == Wrong::nothing;
  }

  // Runs the operation in a new thread, interrupted at boundary k (0: at none, but counted).
  static SweepResult in_a_new_thread(const Op& op, std::uint64_t k, bool& right) {
    static const testing::CodeRanges program = testing::CodeRanges::whole_program();
    SweepResult r;
    prepare();
    std::thread([&] {
      // Debug with one CPU: this thread is the only one that uses the locks meanwhile.
      hosted::process().one_thread.store(0, hosted::kRelaxed);
      if (k == 0) {
        r = testing::sweep_through([&] { op.run(); }, [] {}, {.ranges = program});
        claims = hosted::self().cpu.load(hosted::kRelaxed) != 0;
        return;
      }
      r = testing::run_interrupted_at(
          k, [&] { op.run(); }, [] { interruption(); }, {.ranges = program});
      right = as_it_should();
    }).join();
    return r;
  }

  static void sweep(const Op& op) {
    const std::string what = std::string(name_of(K::kConfig)) + ", " + op.name;
    P::cpu_id();  // this thread's
    const unsigned cpus = cpus_in_use();
    bool right = true;
    const std::uint64_t length = in_a_new_thread(op, 0, right).boundaries;
    const std::uint64_t then = length < kDense + kThen ? 1 : (length - kDense) / kThen;
    std::uint64_t boundaries = 0, failed = 0;
    claimed_by_code = claimed_by_handler = 0;
    for (std::uint64_t k = 1; k <= length; k += k < kDense ? 1 : then) {
      const SweepResult r = in_a_new_thread(op, k, right);
      ++boundaries;
      if (r.ok() && right && cpus_in_use() == cpus) continue;
      ++failed;
      EXPECT_NE(failed, 1u) << what << ", boundary " << k << ": " << r.text() << "; CPUs "
                            << cpus_in_use() << ", not " << cpus << "; code's " << in_code
                            << ", handler's " << in_handler << "; " << name_of(m.wrong());
      if (failed == 5) break;
    }
    EXPECT_GT(claimed_by_handler, 0u) << what << ": never the first";
    EXPECT_EQ(claimed_by_code != 0, claims) << what << ": always the first";
    VerifyLine("sweep", "a thread's first call", name_of(K::kConfig))
        .put("case", op.name)
        .ok(failed == 0 && boundaries != 0)
        .put("boundaries", boundaries)
        .put("complete", then == 1 ? "yes" : "no")
        .put("runs", boundaries + 1)
        .put("hits", claimed_by_handler)
        .put("count.claimed_before", claimed_by_code);
  }
};

struct FirstUseSweep : ::testing::Test {
  void SetUp() override {
    if (const char* const why = testing::internal::why_unsupported()) GTEST_SKIP() << why;
  }
};

TEST_F(FirstUseSweep, AHandlerMayInterruptAnyFirstCallAnywhere) {
  for_each_kernel([]<class K>() {
    if (K::kConfig.debug && K::kConfig.preempt_rt) return;  // the same first call, and long
    for (const auto& op : FirstUse<K>::kOps) FirstUse<K>::sweep(op);
    EXPECT_GT(FirstUse<K>::served.served, 0u);
    EXPECT_GT(FirstUse<K>::refused, 0u) << "no handler found a lock held";
  });
}

}  // namespace
}  // namespace nestlock::test_support
