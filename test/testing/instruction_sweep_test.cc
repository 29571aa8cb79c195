// The sweep itself: that it visits every boundary, once, in the state it promises, and that it can
// tell a lock that tells the truth from one that does not.
#include "nestlock/testing/instruction_sweep.h"

#include <dlfcn.h>
#include <errno.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <set>
#include <string>
#include <thread>
#include <tuple>
#include <vector>

#include "nestlock/lock/guard.h"
#include "nestlock/lock/irq.h"
#include "nestlock/lock/raw_spinlock.h"
#include "nestlock/lock/try_spinlock.h"
#include "nestlock/port/hosted.h"

#if defined(__x86_64__) && defined(__linux__)

// Functions whose every instruction is known.
extern "C" {
void sweep_test_nops();
void sweep_test_loop();
void sweep_test_copy(void* to, const void* from, long bytes);
void sweep_test_syscall();
void sweep_test_old_flags();
long sweep_test_flag_images();
}
asm(R"(
  .pushsection .text
  .macro sweep_test name
    .globl \name
    .hidden \name
    .type \name, @function
    \name:
  .endm
  sweep_test sweep_test_nops        # 10 instructions
    .rept 9
    nop
    .endr
    ret
  .size sweep_test_nops, .-sweep_test_nops
  sweep_test sweep_test_loop        # 1 + 5 * 2 + 1
    mov $5, %ecx
  1:
    dec %ecx
    jne 1b
    ret
  .size sweep_test_loop, .-sweep_test_loop
  sweep_test sweep_test_copy        # 1 + bytes + 1
    mov %rdx, %rcx
    rep movsb
    ret
  .size sweep_test_copy, .-sweep_test_copy
  sweep_test sweep_test_syscall     # 5, the one after the syscall unseen
    mov $39, %eax
    syscall
    nop
    nop
    ret
  .size sweep_test_syscall, .-sweep_test_syscall
  sweep_test sweep_test_old_flags   # clears the trap flag, as flags from before the sweep would
    pushfq
    andq $~0x100, (%rsp)
    popfq
    nop
    ret
  .size sweep_test_old_flags, .-sweep_test_old_flags
  sweep_test sweep_test_flag_images # pushes its flags five times; returns all of them, or-ed
    xor %eax, %eax
    mov $5, %ecx
  1:
    pushfq
    pop %rdx
    or %rdx, %rax
    dec %ecx
    jne 1b
    ret
  .size sweep_test_flag_images, .-sweep_test_flag_images
  .popsection
)");

namespace nestlock::testing {
namespace {

using Up = KernelOf<configs::up, HostedPort<configs::up>>;
using TryLock = BasicTrySpinLock<Up>;
using RawLock = BasicRawSpinLock<Up>;  // stateless: its try_lock() is always granted

CodeRanges code_of(void (*f)()) {
  const std::string name = describe(reinterpret_cast<const void*>(f));
  return CodeRanges::function(name.substr(0, name.find('+')));
}

// A field that another context may change. Plain, so that TSan checks the lock; relaxed where the
// test is about a lock that does not protect it, and TSan need not say so.
template <class T>
class RelaxedCell {
 public:
  RelaxedCell() = default;
  RelaxedCell(const RelaxedCell&) = delete;
  RelaxedCell& operator=(const RelaxedCell& other) { return *this = static_cast<T>(other); }
  RelaxedCell& operator=(T v) {
    value_.store(v, std::memory_order_relaxed);
    return *this;
  }
  operator T() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<T> value_{};
};
template <class T>
using PlainCell = T;

// A free list of four nodes under a lock that may refuse.
template <class Lock, template <class> class Cell>
struct ToyList {
  struct Node {
    Cell<Node*> next{};
  };

  void reset() {
    head = nullptr, count = 0;
    for (Node& n : pool) n.next = head, head = &n, count = count + 1;
  }
  Node* take() {
    if (!lock.try_lock()) return nullptr;
    Node* const n = head;
    if (n) head = n->next, count = count - 1;
    lock.unlock();
    return n;
  }
  bool give(Node* n) {
    if (!lock.try_lock()) return false;
    n->next = head, head = n, count = count + 1;
    lock.unlock();
    return true;
  }
  // All four nodes are on the list, `kept` apart, each once.
  bool intact(const Node* kept) const {
    std::set<const Node*> seen;
    for (const Node* n = head; n; n = n->next)
      if (n == kept || !seen.insert(n).second) return false;
    return seen.size() == count && seen.size() + (kept != nullptr) == std::size(pool);
  }

  Lock lock;
  Node pool[4];
  Cell<Node*> head{};
  Cell<unsigned> count{};
};

class InstructionSweep : public ::testing::Test {
 protected:
  void SetUp() override {
    const SweepResult r = run_interrupted_at(1, [] { sweep_test_nops(); }, [] {});
    if (!r.supported) GTEST_SKIP() << r.text();
  }
};

template <class Lock, template <class> class Cell = PlainCell>
struct Toy {
  ToyList<Lock, Cell> list;
  typename ToyList<Lock, Cell>::Node* kept = nullptr;
  unsigned served = 0, refused = 0;

  void prepare() { list.reset(), kept = nullptr; }
  void code() {
    if (auto* n = list.take()) list.give(n);
  }
  void take_and_keep() {
    kept = list.take();
    ++(kept ? served : refused);
  }
  // Pairs are quadratic: about `wanted` boundaries, spread over all of them.
  Sample about(std::uint64_t wanted) {
    prepare();
    return {.every = 1 + sweep_through([&] { code(); }, [] {}).boundaries / wanted};
  }
  SweepResult sweep(SweepOptions options = {}) {
    return sweep_each([&] { prepare(); }, [&] { code(); }, [&] { take_and_keep(); },
                      [&] { return list.intact(kept); }, options);
  }
};

TEST_F(InstructionSweep, FindsNothingWrongWithALockThatTellsTheTruth) {
  Toy<TryLock> toy;
  const SweepResult r = toy.sweep();
  EXPECT_TRUE(r.ok()) << r.text();
  EXPECT_TRUE(r.complete);
  EXPECT_EQ(r.failed, 0u);
  EXPECT_GT(toy.served, 0u);
  EXPECT_GT(toy.refused, 0u);
  EXPECT_EQ(toy.served + toy.refused, r.boundaries);
}

// The historic bug, kept for good: the sweep must see it.
TEST_F(InstructionSweep, SeesTheStatelessLockCorruptTheList) {
  Toy<RawLock, RelaxedCell> toy;
  const SweepResult r = toy.sweep();
  EXPECT_GT(r.failed, 0u) << r.text();
  EXPECT_FALSE(r.ok());
  EXPECT_EQ(toy.refused, 0u);
  EXPECT_NE(r.first_failed.k, 0u);
  EXPECT_NE(r.text().find("the first at boundary"), std::string::npos) << r.text();
}

// Why the interruption must keep something.
TEST_F(InstructionSweep, BalancedInterruptionHidesTheCorruption) {
  Toy<RawLock, RelaxedCell> toy;
  const SweepResult r =
      sweep_each([&] { toy.prepare(); }, [&] { toy.code(); },
                 [&] {
                   if (auto* n = toy.list.take()) toy.list.give(n);
                 },
                 [&] { return toy.list.intact(nullptr); }, {.boundaries = toy.about(32)});
  EXPECT_TRUE(r.ok()) << r.text();
}

TEST_F(InstructionSweep, VisitsEachInstructionOfStraightCodeOnce) {
  std::vector<const void*> seen;
  const SweepResult r = sweep_each([] {}, [] { sweep_test_nops(); },
                                   [&](const Boundary& at) {
                                     EXPECT_EQ(at.k, seen.size() + 1);
                                     seen.push_back(at.address);
                                   },
                                   [] {}, {.ranges = code_of(sweep_test_nops)});
  EXPECT_TRUE(r.ok()) << r.text();
  EXPECT_EQ(r.boundaries, 10u);
  EXPECT_EQ(r.addresses, 10u);
  ASSERT_EQ(seen.size(), 10u);
  for (std::size_t i = 0; i < seen.size(); ++i)
    EXPECT_EQ(seen[i], reinterpret_cast<const char*>(&sweep_test_nops) + i);
}

TEST_F(InstructionSweep, VisitsEachIteration) {
  const SweepOptions loop{.ranges = code_of(sweep_test_loop)};
  const SweepResult r = sweep_each([] {}, [] { sweep_test_loop(); }, [] {}, [] {}, loop);
  EXPECT_EQ(r.boundaries, 12u) << r.text();
  EXPECT_EQ(r.addresses, 4u);

  char from[6] = "12345", to[6] = "";
  const SweepResult rep = sweep_each(
      [&] { std::memset(to, 0, sizeof to); }, [&] { sweep_test_copy(to, from, sizeof to); }, [] {},
      [&] { EXPECT_STREQ(to, from); }, {.ranges = CodeRanges::function("sweep_test_copy")});
  EXPECT_EQ(rep.boundaries, 1 + sizeof to + 1) << rep.text();
}

TEST_F(InstructionSweep, DoesNotSeeTheBoundaryAfterASystemCall) {
  const SweepResult r = sweep_each([] {}, [] { sweep_test_syscall(); }, [] {}, [] {},
                                   {.ranges = code_of(sweep_test_syscall)});
  EXPECT_EQ(r.boundaries, 4u) << r.text();
  EXPECT_EQ(r.unseen, 1u);
  EXPECT_NE(
      r.text().find("not seen: what comes after syscall at boundary 2 (sweep_test_syscall+0x5"),
      std::string::npos)
      << r.text();
  EXPECT_EQ(sweep_each([] {}, [] { sweep_test_nops(); }, [] {}, [] {},
                       {.ranges = code_of(sweep_test_nops)})
                .unseen,
            0u);
}

// One function of several, by its name; of the others nothing is interrupted.
TEST_F(InstructionSweep, SweepsOneFunctionByItsName) {
  const auto* const loop = reinterpret_cast<const char*>(&sweep_test_loop);
  for (const Engine engine : {Engine::trap_flag, Engine::breakpoints}) {
    const SweepResult r =
        sweep_each([] {},
                   [] {
                     sweep_test_nops();
                     sweep_test_loop();
                     sweep_test_syscall();
                   },
                   [&](const Boundary& at) {
                     EXPECT_GE(at.address, static_cast<const void*>(loop));
                     EXPECT_EQ(describe(at.address).rfind("sweep_test_loop+", 0), 0u);
                   },
                   [] {}, {.ranges = CodeRanges::function("sweep_test_loop"), .engine = engine});
    EXPECT_TRUE(r.ok() && r.complete) << r.text();
    EXPECT_EQ(r.boundaries, 12u) << r.text();
  }
}

NESTLOCK_SWEPT int marked(int x) { return x * 3 + 1; }

TEST_F(InstructionSweep, SweepsMarkedFunctionsAlone) {
  volatile int x = 1;
  const CodeRanges swept = CodeRanges::swept();
  const SweepResult r =
      sweep_each([] {}, [&] { x = marked(x); },
                 [&](const Boundary& at) { EXPECT_TRUE(swept.contains(at.address)); }, [] {},
                 {.ranges = swept});
  EXPECT_TRUE(r.ok()) << r.text();
  EXPECT_GE(r.boundaries, 2u);
}

TEST_F(InstructionSweep, NoBoundaryIsNotOk) {
  const SweepResult elsewhere = sweep_each([] {}, [] { sweep_test_nops(); }, [] {}, [] {},
                                           {.ranges = code_of(sweep_test_loop)});
  EXPECT_TRUE(elsewhere.supported);
  EXPECT_EQ(elsewhere.boundaries, 0u);
  EXPECT_FALSE(elsewhere.ok());
  EXPECT_NE(elsewhere.text().find("no boundary"), std::string::npos) << elsewhere.text();

  const SweepResult nowhere =
      sweep_each([] {}, [] { sweep_test_nops(); }, [] {}, [] {},
                 {.ranges = CodeRanges::function("there_is_no_such_function")});
  EXPECT_FALSE(nowhere.ok());
  EXPECT_NE(nowhere.text().find("no function"), std::string::npos) << nowhere.text();

  EXPECT_FALSE(run_interrupted_at(
                   99, [] { sweep_test_nops(); }, [] {}, {.ranges = code_of(sweep_test_nops)})
                   .ok());
}

TEST_F(InstructionSweep, OnePassInterruptsEveryBoundaryOfOneRun) {
  unsigned runs = 0;
  std::vector<std::uint64_t> seen;
  const SweepResult r = sweep_through([&] { sweep_test_loop(), ++runs; },
                                      [&](const Boundary& at) { seen.push_back(at.k); },
                                      {.ranges = code_of(sweep_test_loop)});
  EXPECT_TRUE(r.ok()) << r.text();
  EXPECT_EQ(runs, 1u);
  EXPECT_EQ(r.boundaries, 12u);
  EXPECT_EQ(r.addresses, 4u);
  ASSERT_EQ(seen.size(), 12u);
  EXPECT_EQ(seen.front(), 1u);
  EXPECT_EQ(seen.back(), 12u);
}

TEST_F(InstructionSweep, OnePassOverALock) {
  Toy<TryLock> toy;
  toy.prepare();
  const SweepResult r = sweep_through([&] { toy.code(); },
                                      [&] {
                                        auto* const n = toy.list.take();
                                        ++(n ? toy.served : toy.refused);
                                        if (n) toy.list.give(n);
                                      });
  EXPECT_TRUE(r.ok()) << r.text();
  EXPECT_GT(toy.served, 0u);
  EXPECT_GT(toy.refused, 0u);
  EXPECT_TRUE(toy.list.intact(nullptr));
}

TEST_F(InstructionSweep, OneBoundary) {
  std::uint64_t k = 0;
  const void* address = nullptr;
  const SweepResult r = run_interrupted_at(
      4, [] { sweep_test_nops(); }, [&](const Boundary& at) { k = at.k, address = at.address; },
      {.ranges = code_of(sweep_test_nops)});
  EXPECT_TRUE(r.ok()) << r.text();
  EXPECT_EQ(r.boundaries, 1u);
  EXPECT_EQ(k, 4u);
  EXPECT_EQ(address, reinterpret_cast<const char*>(&sweep_test_nops) + 3);
  const SweepResult last = run_interrupted_at(
      10, [] { sweep_test_nops(); }, [] {}, {.ranges = code_of(sweep_test_nops)});
  EXPECT_EQ(last.traps, r.traps + 6) << "what comes after the boundary runs free";
}

TEST_F(InstructionSweep, Sampling) {
  const auto sampled = [](Sample s, auto sweep) {
    std::vector<std::uint64_t> seen;
    const auto note = [&](const Boundary& at) { seen.push_back(at.k); };
    const SweepResult r =
        sweep(note, SweepOptions{.ranges = code_of(sweep_test_nops), .boundaries = s});
    EXPECT_TRUE(r.ok()) << r.text();
    EXPECT_EQ(r.boundaries, seen.size());
    EXPECT_EQ(r.complete, s.last > 10);
    return seen;
  };
  const auto each = [](auto note, const SweepOptions& o) {
    return sweep_each([] {}, [] { sweep_test_nops(); }, note, [] {}, o);
  };
  const auto through = [](auto note, const SweepOptions& o) {
    return sweep_through([] { sweep_test_nops(); }, note, o);
  };
  using Ks = std::vector<std::uint64_t>;
  const Sample middle{.first = 2, .last = 7, .every = 2}, end{.first = 9};
  EXPECT_EQ(sampled(middle, each), (Ks{2, 4, 6}));
  EXPECT_EQ(sampled(middle, through), (Ks{2, 4, 6}));
  EXPECT_EQ(sampled(end, each), (Ks{9, 10}));
  EXPECT_EQ(sampled(end, through), (Ks{9, 10}));
}

TEST_F(InstructionSweep, PairsAreExact) {
  std::set<std::pair<std::uint64_t, std::uint64_t>> pairs;
  unsigned alone = 0, seconds = 0;
  const char* const outer = reinterpret_cast<const char*>(&sweep_test_nops);
  const CodeRanges loop = code_of(sweep_test_loop), both = code_of(sweep_test_nops).add(loop);
  const SweepResult r =
      sweep_pairs([] {}, [] { sweep_test_nops(); }, [] { sweep_test_loop(); }, [&] { ++seconds; },
                  [&](const Boundary& at) {
                    EXPECT_EQ(at.address, outer + at.k - 1);
                    if (at.inner == 0) return void(++alone);
                    EXPECT_TRUE(loop.contains(at.inner_address));
                    EXPECT_TRUE(pairs.emplace(at.k, at.inner).second);
                  },
                  {.ranges = both});
  EXPECT_TRUE(r.ok()) << r.text();
  EXPECT_TRUE(r.complete);
  EXPECT_EQ(r.boundaries, 10u * 12u);
  EXPECT_EQ(pairs.size(), 10u * 12u);
  EXPECT_EQ(seconds, 10u * 12u);
  EXPECT_EQ(alone, 10u);
}

TEST_F(InstructionSweep, PairsFindWhatNeedsTwoInterruptions) {
  constexpr std::uint64_t kFew = nestlock::internal::kWithTsan ? 6 : 24;
  const auto sweep = [](auto& toy) {
    return sweep_pairs([&] { toy.prepare(); }, [&] { toy.code(); }, [&] { toy.code(); },
                       [&] { toy.take_and_keep(); }, [&] { return toy.list.intact(toy.kept); },
                       {.boundaries = toy.about(kFew), .inner = toy.about(kFew)});
  };
  Toy<TryLock> truthful;
  const SweepResult good = sweep(truthful);
  EXPECT_TRUE(good.ok()) << good.text();
  EXPECT_GT(truthful.served, 0u);
  EXPECT_GT(truthful.refused, 0u);
  Toy<RawLock, RelaxedCell> stateless;
  const SweepResult bad = sweep(stateless);
  EXPECT_GT(bad.failed, 0u) << bad.text();
}

// ---- the two engines ----------------------------------------------------------------------------

// What one sweep saw: where each boundary lies, what the interruption got and what became of it.
struct Seen {
  std::uint64_t k, inner;
  const void *address, *inner_address;
  bool served, intact;
  friend bool operator==(const Seen&, const Seen&) = default;
};

template <class Toy>
std::vector<Seen> all_seen(Toy& toy, Engine engine) {
  std::vector<Seen> seen;
  const SweepResult r =
      sweep_each([&] { toy.prepare(); }, [&] { toy.code(); }, [&] { toy.take_and_keep(); },
                 [&](const Boundary& at) {
                   seen.push_back({at.k, 0, at.address, nullptr, toy.kept != nullptr,
                                   toy.list.intact(toy.kept)});
                 },
                 {.boundaries = toy.about(150), .engine = engine});
  EXPECT_EQ(r.engine, engine) << r.text();
  EXPECT_TRUE(r.complete) << r.text();
  EXPECT_EQ(r.boundaries, seen.size());
  return seen;
}

TEST_F(InstructionSweep, EnginesAgree) {
  if (nestlock::internal::kWithTsan) GTEST_SKIP() << "stepping all of TSan's runtime takes minutes";
  Toy<TryLock> truthful;
  EXPECT_EQ(all_seen(truthful, Engine::trap_flag), all_seen(truthful, Engine::breakpoints));
  Toy<RawLock, RelaxedCell> stateless;
  EXPECT_EQ(all_seen(stateless, Engine::trap_flag), all_seen(stateless, Engine::breakpoints));
}

TEST_F(InstructionSweep, EnginesAgreeOnPairs) {
  if (nestlock::internal::kWithTsan) GTEST_SKIP() << "stepping all of TSan's runtime takes minutes";
  Toy<RawLock, RelaxedCell> toy;
  const auto sweep = [&](Engine engine) {
    std::vector<Seen> seen;
    const SweepResult r =
        sweep_pairs([&] { toy.prepare(); }, [&] { toy.code(); }, [&] { toy.code(); },
                    [&] { toy.take_and_keep(); },
                    [&](const Boundary& at) {
                      seen.push_back({at.k, at.inner, at.address, at.inner_address,
                                      toy.kept != nullptr, toy.list.intact(toy.kept)});
                    },
                    {.boundaries = toy.about(6), .inner = toy.about(6), .engine = engine});
    EXPECT_EQ(r.engine, engine) << r.text();
    EXPECT_TRUE(r.complete) << r.text();
    return seen;
  };
  EXPECT_EQ(sweep(Engine::trap_flag), sweep(Engine::breakpoints));
}

RelaxedCell<int> progress;

// Down and up again: each address at several depths, each depth at several addresses.
NESTLOCK_SWEPT int recursive(int n) {
  progress = progress + 1;
  const int below = n == 0 ? 0 : recursive(n - 1) + n;
  progress = progress + 1;
  return below;
}

// The state tells the n-th arrival at an address from the first.
TEST_F(InstructionSweep, EnginesAgreeOnLoopsAndRecursion) {
  if (nestlock::internal::kWithTsan) GTEST_SKIP() << "it steps; TSan has nothing to say of it";
  const char from[4] = "123";
  char to[4] = "";
  long flags = 0;
  const auto code = [&] {
    sweep_test_loop();
    flags |= sweep_test_flag_images();
    sweep_test_copy(to, from, sizeof to);
    sweep_test_syscall();
    if (recursive(4) != 10) ADD_FAILURE();
    for (int i = 0; i < 3; ++i) recursive(0);
  };
  const CodeRanges ranges = CodeRanges::swept()
                                .add(code_of(sweep_test_loop))
                                .add(CodeRanges::function("sweep_test_flag_images"))
                                .add(CodeRanges::function("sweep_test_copy"))
                                .add(code_of(sweep_test_syscall));
  const auto sweep = [&](Engine engine) {
    std::vector<std::tuple<std::uint64_t, const void*, int, std::size_t>> seen;
    int done = 0;
    std::size_t copied = 0;
    const SweepResult r =
        sweep_each([&] { flags = 0, progress = 0, std::memset(to, 0, sizeof to); }, code,
                   [&] { done = progress, copied = std::strlen(to); },
                   [&](const Boundary& at) {
                     seen.emplace_back(at.k, at.address, done, copied);
                     // Breakpoints leave no trace in what the code reads of its flags.
                     EXPECT_TRUE(engine == Engine::trap_flag || !(flags & 0x100));
                   },
                   {.ranges = ranges, .engine = engine});
    EXPECT_EQ(r.engine, engine) << r.text();
    EXPECT_TRUE(r.ok()) << r.text();
    return seen;
  };
  const auto stepped = sweep(Engine::trap_flag);
  EXPECT_GT(stepped.size(), 12u + (2 + 5 * 5 + 1) + 6 + 4);
  EXPECT_EQ(stepped, sweep(Engine::breakpoints));
}

// The stages to each step of a trace, followed along it: they end there, with the traps promised.
TEST(Breakpoints, StagesLeadToTheirStepInFewerTraps) {
  using namespace internal;
  // A function of two instructions, called from three places, with a loop of four in the middle.
  std::vector<Step> trace;
  for (std::uintptr_t place = 1; place <= 3; ++place) {
    trace.push_back({place, 8});
    for (int i = 0; i < 4; ++i) {
      trace.push_back({10, 24}), trace.push_back({11, 24});
      if (i == 1) trace.push_back({10, 40});  // the same code, deeper
    }
  }
  const auto ways = ways_to(trace);
  std::vector<Stage> stages;
  std::uint64_t all = 0, straight = 0;
  for (std::uint32_t k = 0; k < trace.size(); ++k) {
    stages_of(trace, ways, k, stages);
    std::size_t at = 0;
    std::uint64_t traps = 0;
    std::uint32_t left = stages[0].occurrence, end = 0;
    for (;; ++end) {
      ASSERT_LT(end, trace.size()) << "step " << k << " is never reached";
      const Step &here = trace[end], &wanted = stages[at].step;
      if (here.address != wanted.address) continue;
      ++traps;
      if (here.stack == wanted.stack && --left == 0) {
        if (++at == stages.size()) break;
        ASSERT_NE(stages[at].step.address, here.address) << "its breakpoint would be in the way";
        left = stages[at].occurrence;
      } else {
        ++traps;  // over the instruction
      }
    }
    EXPECT_EQ(end, k);
    EXPECT_EQ(traps, ways[k].traps) << k;
    all += traps;
    straight += 2 * std::count_if(trace.begin(), trace.begin() + k + 1,
                                  [&](Step s) { return s.address == trace[k].address; }) -
                1;
  }
  std::printf("%zu steps: %llu traps by stages, %llu without\n", trace.size(),
              static_cast<unsigned long long>(all), static_cast<unsigned long long>(straight));
  EXPECT_LT(all, straight);
}

TEST_F(InstructionSweep, BreakpointsAreTakenUnasked) {
  const SweepResult r = sweep_each([] {}, [] { sweep_test_loop(); }, [] {}, [] {},
                                   {.ranges = code_of(sweep_test_loop)});
  EXPECT_TRUE(r.ok()) << r.text();
  EXPECT_EQ(r.engine, Engine::breakpoints);
}

TEST_F(InstructionSweep, CodeThatDoesNotRepeatItselfIsStepped) {
  unsigned runs = 0;
  const auto sweep = [&](auto varying, Engine engine = Engine::automatic) {
    runs = 0;
    return sweep_each(
        [] {}, varying, [] {}, [] {},
        {.ranges = code_of(sweep_test_nops).add(code_of(sweep_test_loop)), .engine = engine});
  };
  const auto alternates = [&] {
    if (++runs % 2) sweep_test_loop();
    sweep_test_nops();
  };
  const SweepResult steps = sweep(alternates);
  EXPECT_TRUE(steps.ok()) << steps.text();
  EXPECT_EQ(steps.engine, Engine::trap_flag);
  EXPECT_GE(steps.boundaries, 10u);
  const SweepResult forced = sweep(alternates, Engine::breakpoints);
  EXPECT_FALSE(forced.ok());
  EXPECT_NE(forced.text().find("does not repeat"), std::string::npos) << forced.text();

  // First the same, then shorter: a breakpoint is not met.
  const SweepResult shorter = sweep([&] {
    if (++runs < 6) sweep_test_loop();
    sweep_test_nops();
  });
  EXPECT_TRUE(shorter.ok()) << shorter.text();
  EXPECT_EQ(shorter.engine, Engine::trap_flag);
  EXPECT_EQ(shorter.boundaries, 10u);
  EXPECT_TRUE(shorter.complete);

  // Shorter for two runs only: what was not reached does not count as interrupted.
  std::uint64_t interruptions = 0;
  runs = 0;
  const SweepResult twice =
      sweep_each([] {},
                 [&] {
                   if (++runs != 6 && runs != 7) sweep_test_loop();
                   sweep_test_nops();
                 },
                 [&] { ++interruptions; }, [] {},
                 {.ranges = code_of(sweep_test_nops).add(code_of(sweep_test_loop))});
  EXPECT_TRUE(twice.ok()) << twice.text();
  EXPECT_EQ(twice.boundaries, interruptions);

  // First the same, then longer: all are met, and still it is not the whole.
  const SweepResult longer = sweep([&] {
    if (++runs >= 6) sweep_test_loop();
    sweep_test_nops();
  });
  EXPECT_TRUE(longer.ok()) << longer.text();
  EXPECT_EQ(longer.engine, Engine::trap_flag);
  EXPECT_EQ(longer.boundaries, 22u);
}

TEST_F(InstructionSweep, ThreadsThatMeetABreakpointWait) {
  std::atomic<bool> stop{false};
  std::atomic<std::uint64_t> rounds{0};
  std::thread other([&] {
    while (!stop.load(std::memory_order_relaxed)) sweep_test_loop(), ++rounds;
  });
  while (rounds == 0) std::this_thread::yield();
  SweepOptions options{.ranges = code_of(sweep_test_loop)};
  const auto sweep = [&] {
    return sweep_each([] {}, [] { sweep_test_loop(); }, [] {}, [] {}, options);
  };
  const SweepResult stepped = sweep();
  EXPECT_TRUE(stepped.ok()) << stepped.text();
  EXPECT_EQ(stepped.engine, Engine::trap_flag) << "breakpoints, although another thread is there";
  options.engine = Engine::breakpoints;
  for (int i = 0; i < 100; ++i) {
    const SweepResult r = sweep();
    EXPECT_TRUE(r.ok()) << r.text();
    EXPECT_EQ(r.boundaries, 12u);
  }
  stop = true;
  other.join();
}

TEST_F(InstructionSweep, CodeIsLeftAsItWas) {
  const auto* const code = reinterpret_cast<const unsigned char*>(&sweep_test_loop);
  const auto address = reinterpret_cast<std::uintptr_t>(code);
  const std::vector<unsigned char> before(code, code + 8);
  const SweepResult r =
      sweep_each([] {}, [] { sweep_test_loop(); }, [] {}, [] {},
                 {.ranges = code_of(sweep_test_loop), .engine = Engine::breakpoints});
  EXPECT_TRUE(r.ok()) << r.text();
  EXPECT_EQ(before, std::vector<unsigned char>(code, code + 8));
  std::ifstream maps("/proc/self/maps");
  for (std::string line; std::getline(maps, line);) {
    std::uintptr_t lo = 0, hi = 0;
    char mode[5] = "";
    ASSERT_EQ(std::sscanf(line.c_str(), "%lx-%lx %4s", &lo, &hi, mode), 3);
    if (address < lo || hi <= address) continue;
    EXPECT_STREQ(mode, "r-xp");
  }
}

// ---- what the interruption finds ----------------------------------------------------------------

volatile sig_atomic_t arrivals;
const void* volatile arrived_at;

void on_signal(int, siginfo_t*, void* context) {
  arrivals = arrivals + 1;
  arrived_at =
      reinterpret_cast<void*>(static_cast<ucontext_t*>(context)->uc_mcontext.gregs[REG_RIP]);
}

void handle_usr1() {
  struct sigaction action{};
  action.sa_sigaction = on_signal;
  action.sa_flags = SA_SIGINFO;
  ASSERT_EQ(sigaction(SIGUSR1, &action, nullptr), 0);
}
void send_usr1() { syscall(SYS_tgkill, getpid(), gettid(), SIGUSR1); }

TEST_F(InstructionSweep, BlockedSignalArrivesAtTheBoundary) {
  if (nestlock::internal::kWithTsan) GTEST_SKIP() << "TSan delivers signals when it likes";
  handle_usr1();
  const void* boundary = nullptr;
  const SweepResult r = sweep_each([] { arrivals = 0; }, [] { sweep_test_nops(); },
                                   [&](const Boundary& at) {
                                     send_usr1();
                                     EXPECT_EQ(arrivals, 0);
                                     boundary = at.address;
                                   },
                                   [&] {
                                     EXPECT_EQ(arrivals, 1);
                                     EXPECT_EQ(arrived_at, boundary);
                                   },
                                   {.ranges = code_of(sweep_test_nops), .blocked = kAllSignals});
  EXPECT_TRUE(r.ok()) << r.text();
  signal(SIGUSR1, SIG_DFL);
}

TEST_F(InstructionSweep, UnblockedSignalArrivesInTheInterruption) {
  if (nestlock::internal::kWithTsan) GTEST_SKIP() << "TSan delivers signals when it likes";
  handle_usr1();
  const SweepResult r =
      sweep_each([] { arrivals = 0; }, [] { sweep_test_nops(); },
                 [] {
                   send_usr1();
                   EXPECT_EQ(arrivals, 1);
                 },
                 [] { EXPECT_EQ(arrivals, 1); }, {.ranges = code_of(sweep_test_nops)});
  EXPECT_TRUE(r.ok()) << r.text();
  signal(SIGUSR1, SIG_DFL);
}

// A handler in the code runs free in both engines, also through code that is swept.
TEST_F(InstructionSweep, HandlersInTheCodeAreNotSwept) {
  if (nestlock::internal::kWithTsan) GTEST_SKIP() << "TSan delivers signals when it likes";
  static int depth, handled;
  const auto sweep = [](Engine engine, bool block_all) {
    struct sigaction action{};
    action.sa_handler = [](int) {
      ++handled, ++depth;
      sweep_test_loop();
      --depth;
    };
    if (block_all) sigfillset(&action.sa_mask);
    EXPECT_EQ(sigaction(SIGUSR1, &action, nullptr), 0);
    handled = 0;
    const SweepResult r = sweep_each([] {}, [] { send_usr1(), sweep_test_loop(), send_usr1(); },
                                     [] { EXPECT_EQ(depth, 0); }, [] {},
                                     {.ranges = code_of(sweep_test_loop), .engine = engine});
    EXPECT_TRUE(r.ok()) << r.text();
    EXPECT_EQ(r.boundaries, 12u);
    EXPECT_EQ(handled, 2 * static_cast<int>(r.runs));
    signal(SIGUSR1, SIG_DFL);
    return r.engine;
  };
  EXPECT_EQ(sweep(Engine::trap_flag, false), Engine::trap_flag);
  EXPECT_EQ(sweep(Engine::automatic, false), Engine::breakpoints);
  // A breakpoint in such a handler would be the end of the process.
  EXPECT_EQ(sweep(Engine::automatic, true), Engine::trap_flag);
}

TEST_F(InstructionSweep, MaskedIrqsDoNotKeepItOut) {
  using Port = Up::Port;
  unsigned masked = 0, open = 0;
  TryLock lock;
  const SweepResult r = sweep_each([] {}, [&] { Guard g(lock, irq_save); },
                                   [&] { ++(Port::irqs_disabled() ? masked : open); },
                                   [] { return !Port::irqs_disabled(); });
  EXPECT_TRUE(r.ok()) << r.text();
  EXPECT_GT(masked, 0u);
  EXPECT_GT(open, 0u);
}

TEST_F(InstructionSweep, ErrnoIsKept) {
  const SweepResult r = sweep_each([] { errno = 7; }, [] { sweep_test_nops(); }, [] { errno = 8; },
                                   [] { return errno == 7; }, {.ranges = code_of(sweep_test_nops)});
  EXPECT_TRUE(r.ok()) << r.text();
}

TEST_F(InstructionSweep, CodeThatClearsTheTrapFlagIsReported) {
  const SweepResult r = sweep_each([] {}, [] { sweep_test_old_flags(); }, [] {}, [] {},
                                   {.ranges = code_of(sweep_test_old_flags)});
  EXPECT_FALSE(r.ok());
  EXPECT_NE(r.text().find("popf"), std::string::npos) << r.text();
}

// ---- what it leaves behind ----------------------------------------------------------------------

int foreign_traps;

TEST_F(InstructionSweep, FormerHandlerAndStackComeBack) {
  static char own_stack[1 << 14];
  stack_t stack{}, stack_after{};
  stack.ss_sp = own_stack, stack.ss_size = sizeof own_stack;
  stack_t stack_before{};
  ASSERT_EQ(sigaltstack(&stack, &stack_before), 0);
  struct sigaction action{}, before{}, after{};
  action.sa_handler = [](int) { ++foreign_traps; };
  ASSERT_EQ(sigaction(SIGTRAP, &action, &before), 0);

  foreign_traps = 0;
  unsigned checks = 0;
  const SweepResult r = sweep_each([] {}, [] { sweep_test_nops(), raise(SIGTRAP); }, [] {},
                                   [&] { ++checks; }, {.ranges = code_of(sweep_test_nops)});
  EXPECT_TRUE(r.ok()) << r.text();
  EXPECT_EQ(foreign_traps, static_cast<int>(r.runs)) << "a SIGTRAP that was not the sweep's";

  foreign_traps = 0;
  raise(SIGTRAP);
  EXPECT_EQ(foreign_traps, 1);
  ASSERT_EQ(sigaction(SIGTRAP, &before, &after), 0);
  EXPECT_EQ(after.sa_handler, action.sa_handler);
  ASSERT_EQ(sigaltstack(&stack_before, &stack_after), 0);
  EXPECT_EQ(stack_after.ss_sp, static_cast<void*>(own_stack));
}

TEST_F(InstructionSweep, SweepInsideAnInterruption) {
  const SweepOptions nops{.ranges = code_of(sweep_test_nops)};
  unsigned inner_boundaries = 0;
  const SweepResult r = sweep_through(
      [] { sweep_test_nops(); },
      [&] {
        inner_boundaries +=
            static_cast<unsigned>(sweep_through([] { sweep_test_nops(); }, [] {}, nops).boundaries);
      },
      nops);
  EXPECT_EQ(r.boundaries, 10u) << r.text();
  EXPECT_EQ(inner_boundaries, 100u);
}

TEST_F(InstructionSweep, ThreadsSweepAtTheSameTime) {
  std::atomic<unsigned> good{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 3; ++i)
    threads.emplace_back([&] {
      Toy<TryLock> toy;
      for (int round = 0; round < 3; ++round) {
        const SweepResult r = toy.sweep({.boundaries = toy.about(4)});
        EXPECT_TRUE(r.ok()) << r.text();
        good += r.ok();
      }
    });
  for (std::thread& t : threads) t.join();
  EXPECT_EQ(good, 9u);
}

// ---- ranges -------------------------------------------------------------------------------------

TEST(CodeRanges, WholeProgramIsOursAlone) {
  const CodeRanges program = CodeRanges::whole_program();
  EXPECT_EQ(program.trouble(), nullptr);
  EXPECT_TRUE(program.contains(reinterpret_cast<const void*>(&sweep_test_nops)));
  EXPECT_TRUE(program.contains(reinterpret_cast<const void*>(&marked)));
  EXPECT_FALSE(program.contains(dlsym(RTLD_DEFAULT, "qsort")));
  EXPECT_FALSE(program.contains(dlsym(RTLD_NEXT, "malloc")));
#if NESTLOCK_WITH_TSAN
  EXPECT_FALSE(program.contains(dlsym(RTLD_DEFAULT, "__tsan_func_entry")));
  EXPECT_FALSE(program.contains(dlsym(RTLD_DEFAULT, "__tsan_read4")));
#endif
}

TEST(CodeRanges, SetOperations) {
  CodeRanges r;
  EXPECT_TRUE(r.empty());
  r.add(10, 20).add(30, 40).add(15, 35);
  EXPECT_TRUE(r.contains(reinterpret_cast<const void*>(10)));
  EXPECT_TRUE(r.contains(reinterpret_cast<const void*>(39)));
  EXPECT_FALSE(r.contains(reinterpret_cast<const void*>(40)));
  r.remove(12, 38);
  EXPECT_TRUE(r.contains(reinterpret_cast<const void*>(11)));
  EXPECT_FALSE(r.contains(reinterpret_cast<const void*>(12)));
  EXPECT_FALSE(r.contains(reinterpret_cast<const void*>(37)));
  EXPECT_TRUE(r.contains(reinterpret_cast<const void*>(38)));
  r.remove(0, 100);
  EXPECT_TRUE(r.empty());
}

TEST(CodeRanges, NamesFunctions) {
  const auto* const nops = reinterpret_cast<const char*>(&sweep_test_nops);
  EXPECT_EQ(describe(nops + 3), "sweep_test_nops+0x3");
  const std::string text = describe(reinterpret_cast<const void*>(&marked));
  EXPECT_EQ(text, "nestlock::testing::(anonymous namespace)::marked(int)+0");
  for (const char* name : {"nestlock::testing::(anonymous namespace)::marked(int)",
                           "nestlock::testing::(anonymous namespace)::marked"})
    EXPECT_TRUE(CodeRanges::function(name).contains(reinterpret_cast<const void*>(&marked)));
  EXPECT_TRUE(CodeRanges::function("marked").empty());
}

}  // namespace
}  // namespace nestlock::testing

#else

TEST(InstructionSweep, SaysThatItIsNotSupported) {
  const auto r = nestlock::testing::sweep_each([] {}, [] {}, [] {}, [] {});
  EXPECT_FALSE(r.supported);
  EXPECT_FALSE(r.ok());
  EXPECT_EQ(r.text().rfind("not supported", 0), 0u);
}

#endif
