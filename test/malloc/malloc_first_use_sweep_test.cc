// A thread's very first call of malloc() or its kin, interrupted after every instruction by a handler that calls
// them as well, so that its calls may be the thread's first, too: it claims the virtual CPU, keeps what it
// allocates, and returns. One CPU for both, given back when the thread ends; blocks of its own for each, and
// none lost.
//
// Twice. In new threads, one for each boundary, where all is as it is for a first call: until 200 instructions
// after the CPU was claimed (to step to each boundary from the start makes this quadratic), of malloc() each of these
// boundaries, of its kin one of 7. And in one thread that has given its CPU back before each run, where breakpoints
// lead to the boundary: one of 31 of the whole first call. NESTLOCK_LONG=1 takes each in both.
#include <bit>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <thread>

#include "gtest/gtest.h"
#include "nestlock/config/annotations.h"
#include "nestlock/malloc.h"
#include "nestlock/port/hosted.h"
#include "nestlock/system_slab.h"
#include "nestlock/testing/instruction_sweep.h"
#include "test/malloc/sweep_blocks.h"
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
// By default one of so many: of malloc() and of its kin in new threads, and where the CPU was given back. With
// AddressSanitizer the code has three to eight times as many boundaries, and its end of a thread takes long.
struct Samples {
  std::uint64_t malloc, kin, given_back;
};
constexpr Samples kPlain{1, 7, 31}, kWithChecks{61, 61, 997}, kAll{1, 1, 1};
bool all_of_it() { return std::getenv("NESTLOCK_LONG") != nullptr; }
Samples samples() { return all_of_it() ? kAll : internal::kWithAsan ? kWithChecks : kPlain; }
bool has_cpu() { return hosted::self().cpu.load(hosted::kRelaxed) != 0; }

Level handler;
Block mine, more;  // the code's
bool code_wrong;

// What a handler found when it came: whether the thread had its CPU by then, and whether the code held a lock.
struct Found {
  std::uint64_t no_cpu = 0, cpu = 0, lock_held = 0;
};
Found found;

void clean_up() {
  handler.clean_up();
  for (Block* b : {&mine, &more}) b->give_back();
  system_slab().shrink_all();
  system_pages().drain_all_pages();
}
// Blocks that lie in the barn are at hand for the first call of a new thread.
void prepare(bool in_barn) {
  system_pages().set_decay(1u << 30);  // by the clock no two runs would be alike
  clean_up();
  handler.prepare(0x10);
  mine.set(nestlock_malloc(kSize), kSize, 0x77);
  code_wrong = false;
  system_slab().shrink_all();
  if (!in_barn) return;
  for (const std::size_t size : {kSize, std::size_t{200}, std::size_t{256}, std::size_t{300}}) {
    void* some[3];
    for (void*& p : some) p = nestlock_malloc(size);
    for (void* const p : some) nestlock_free(p);
  }
}
void interruption() {
  ++(has_cpu() ? found.cpu : found.no_cpu);
  found.lock_held += nestlock_interrupted() != Floor::none;
  handler.run(0x10);
}
// In the thread, afterwards.
bool is_right() {
  bool right = !code_wrong && handler.right() && has_cpu();
  for (const Block* b : {&mine, &more}) right &= !b->at() || b->intact();
  return right;
}

struct Op {
  const char* name;
  void (*run)();
};
// (Blocks beyond 1 MiB are mapped one by one, which needs no CPU.)
constexpr Op kOps[] = {
    {"malloc", [] { more.set(nestlock_malloc(kSize), kSize, 0x55); }},
    {"free", [] { mine.give_back(); }},
    {"calloc",
     [] {
       auto* const zeroes = static_cast<unsigned char*>(nestlock_calloc(2, 100));
       for (std::size_t i = 0; zeroes && i < 200; ++i) code_wrong |= zeroes[i] != 0;
       more.set(zeroes, 200, 0x55);
     }},
    {"realloc", [] { code_wrong |= !mine.grow(nestlock_realloc(mine.at(), 300), 300); }},
    {"memalign", [] { more.set(nestlock_memalign(256, 200), 200, 0x55); }},
    {"malloc, pages", [] { more.set(nestlock_malloc(20000), 1, 0x55); }},
};

std::string text_of(const char* how, const Op& op, bool in_barn) {
  return std::string(how) + ", " + op.name + (in_barn ? ", in the barn" : ", to be made");
}

// What a run leaves in use when all blocks have been given back.
std::size_t in_use() {
  clean_up();
  return nestlock_malloc_counts().in_use + nestlock_malloc_counts().mapped;
}

void tell(const std::string& what, bool ok, std::uint64_t boundaries, std::uint64_t every) {
  std::printf(
      "%-46s %5llu boundaries (1 of %llu), %llu before the CPU, %llu with it, %llu "
      "with a lock held\n",
      what.c_str(), static_cast<unsigned long long>(boundaries),
      static_cast<unsigned long long>(every), static_cast<unsigned long long>(found.no_cpu),
      static_cast<unsigned long long>(found.cpu), static_cast<unsigned long long>(found.lock_held));
  VerifyLine("sweep", "malloc, a thread's first call", name_of(kBuiltConfig))
      .put("case", what)
      .ok(ok && boundaries != 0)
      .put("boundaries", boundaries)
      .put("complete", every == 1 ? "yes" : "no")
      .put("hits", found.no_cpu)
      .put("count.claimed_before", found.cpu)
      .put("count.lock_held", found.lock_held);
}

// ---- a new thread for each boundary ----

constexpr std::uint64_t kAfterClaim = 200, kFarEnough = 4000;

const testing::CodeRanges& program() {
  static const testing::CodeRanges all = testing::CodeRanges::whole_program();
  return all;
}
SweepResult in_a_new_thread(const Op& op, std::uint64_t k, bool& right) {
  SweepResult r;
  prepare(false);
  std::thread([&] {
    right = !has_cpu();
    r = testing::run_interrupted_at(k, op.run, interruption, {.ranges = program()});
    right &= is_right();
  }).join();
  return r;
}
// At which boundary the code has claimed the CPU.
std::uint64_t claimed_at(const Op& op) {
  std::uint64_t claimed = 0;
  prepare(false);
  std::thread([&] {
    const auto look = [&](const testing::Boundary& at) {
      if (claimed == 0 && has_cpu()) claimed = at.k;
    };
    testing::sweep_through(op.run, look, {.ranges = program(), .boundaries = {.last = kFarEnough}});
  }).join();
  return claimed;
}

void sweep_new_threads(const Op& op, std::uint64_t every) {
  const std::string what = text_of("new threads", op, false);
  found = {};
  const std::size_t used = in_use();
  const unsigned cpus = cpus_in_use();
  claimed_at(op);  // the first run differs: lazy binding
  const std::uint64_t claimed = claimed_at(op);
  ASSERT_GT(claimed, 0u) << what << ": needs no CPU";
  std::uint64_t boundaries = 0, failed = 0;
  for (std::uint64_t k = 1; k <= claimed + kAfterClaim && failed < 5; k += every) {
    bool right = false;
    const SweepResult r = in_a_new_thread(op, k, right);
    ++boundaries;
    if (r.ok() && right && cpus_in_use() == cpus) continue;
    ++failed;
    ADD_FAILURE() << what << ", boundary " << k << ": " << r.text() << "; CPUs " << cpus_in_use()
                  << ", not " << cpus;
  }
  EXPECT_EQ(in_use(), used) << what << ": lost";
  EXPECT_GT(found.no_cpu, 0u) << what << ": the handler was never the first";
  EXPECT_GT(found.cpu, 0u) << what << ": the handler was always the first";
  tell(what, failed == 0, boundaries, every);
}

// ---- one thread that gives its CPU back before each run ----

void sweep_after_give_back(const Op& op, bool in_barn) {
  const std::string what = text_of("CPU given back", op, in_barn);
  const std::uint64_t every = samples().given_back;
  found = {};
  const std::size_t used = in_use();
  const unsigned cpus = cpus_in_use();  // with this thread's own
  std::uint64_t boundaries = 0;
  const auto as_it_should = [&] {
    ++boundaries;
    return is_right() && cpus_in_use() == cpus;
  };
  const auto as_new = [&] {
    prepare(in_barn);
    hosted::give_back_cpu();
  };
  const SweepResult r = testing::sweep_each(as_new, op.run, interruption, as_it_should,
                                            {.boundaries = {.every = every}});
  EXPECT_TRUE(r.ok() && r.complete) << what << ": " << r.text();
  EXPECT_EQ(in_use(), used) << what << ": lost";
  EXPECT_GT(found.no_cpu, 0u) << what << ": the handler was never the first";
  EXPECT_GT(found.cpu, 0u) << what << ": the handler was always the first";
  tell(what, r.ok(), boundaries, every);
}

struct MallocFirstUseSweep : ::testing::Test {
  void SetUp() override {
    if (const char* const why = testing::internal::why_unsupported()) GTEST_SKIP() << why;
  }
};

TEST_F(MallocFirstUseSweep, InANewThread) {
  std::uint64_t lock_held = 0;
  for (const Op& op : kOps) {
    sweep_new_threads(op, &op == kOps ? samples().malloc : samples().kin);
    lock_held += found.lock_held;
  }
  EXPECT_GT(lock_held, 0u) << "no handler found a lock held";
}

TEST_F(MallocFirstUseSweep, OfAThreadThatGaveItsCpuBack) {
  std::uint64_t lock_held = 0;
  for (const bool in_barn : {true, false}) {
    for (const Op& op : kOps) {
      if (internal::kWithAsan && &op - kOps >= 2) break;  // to learn each first call takes seconds
      sweep_after_give_back(op, in_barn), lock_held += found.lock_held;
    }
  }
  EXPECT_GT(lock_held, 0u) << "no handler found a lock held";
}

}  // namespace
}  // namespace nestlock::test_support
