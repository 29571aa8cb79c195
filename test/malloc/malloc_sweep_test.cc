// malloc's functions interrupted after every machine instruction by a handler that calls them as well and
// keeps what it gets; where this thread has free blocks at hand, and where all has to be made: sheaves, slabs,
// pages, mappings. And at depth 2, the handler itself interrupted by another.
//
// At depth 2, and where the handler forks, a sample; NESTLOCK_LONG=1 takes more. Where blocks are at hand it
// takes all pairs: 139,439 of malloc(), 101,988 of free(). Where all has to be made there are 46 and 13 million,
// which would take a day: it takes of the code's boundaries (6,000 of malloc(), 1,500 of free()) one of 5, and of the
// handler's 8,000 there one of 41, which is one pair of 205. (Each of the code's costs some 85 ms, however few of the
// handler's are taken there: so long is the handler stepped to learn its way.) And where the handler forks, 30 ms and
// more each, it takes one boundary of 7.
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <thread>

#include "gtest/gtest.h"
#include "nestlock/config/annotations.h"
#include "nestlock/malloc.h"
#include "nestlock/system_slab.h"
#include "nestlock/testing/instruction_sweep.h"
#include "test/malloc/sweep_blocks.h"
#include "test/support/verify_line.h"

namespace nestlock::test_support {
namespace {

using testing::SweepResult;

Level outer, inner;
Block mine, more;  // the code's
bool code_wrong;

void prepare(bool at_hand) {
  // Each run must be like the others, so that the sweep can take breakpoints: by the clock one would give
  // memory back and the next would not, and what the last one left on the CPU's lists of pages goes.
  system_pages().set_decay(1u << 30);
  for (Level* l : {&outer, &inner}) l->clean_up();
  mine.give_back(), more.give_back();
  system_slab().shrink_all();
  system_pages().drain_all_pages();
  outer.prepare(0x10), inner.prepare(0x20);
  mine.set(nestlock_malloc(kSize), kSize, 0x77);
  code_wrong = false;
  if (!at_hand) {
    system_slab().shrink_all();
    return;
  }
  for (const std::size_t size : {kSize, std::size_t{300}}) {
    void* some[3];
    for (void*& p : some) p = nestlock_malloc(size);
    for (void* const p : some) nestlock_free(p);
  }
}

struct Case {
  const char* name;
  void (*code)();
};
constexpr Case kCases[] = {
    {"malloc", [] { more.set(nestlock_malloc(kSize), 1, 0x55); }},
    {"free", [] { mine.give_back(); }},
    {"realloc", [] { code_wrong |= !mine.grow(nestlock_realloc(mine.at(), 300), 300); }},
    {"calloc", [] { more.set(nestlock_calloc(2, 100), 1, 0x55); }},
    {"aligned_alloc", [] { more.set(nestlock_aligned_alloc(256, 200), 1, 0x55); }},
    {"pages", [] { more.set(nestlock_malloc(20000), 1, 0x55), more.give_back(); }},
    {"mapping",
     [] {
       more.set(nestlock_malloc(kLarge), 1, 0x55);
       code_wrong |= !more.grow(nestlock_realloc(more.at(), 2 * kLarge), 1);
       more.give_back();
     }},
};

bool is_right(const testing::Boundary& at) {
  const bool right = !code_wrong && outer.right() && (at.inner == 0 || inner.right()) &&
                     (!mine.at() || mine.intact()) && (!more.at() || more.intact());
  return right;
}

bool all_of_it() { return std::getenv("NESTLOCK_LONG") != nullptr; }

// By default one of so many: of the code's boundaries at depth 2, of the handler's there, and of those with a
// fork. With AddressSanitizer the code has three to eight times as many, which are as much slower to learn.
struct Samples {
  std::uint64_t at_hand, to_be_made, handler, fork;
};
constexpr Samples kPlain{13, 331, 41, 61}, kWithChecks{101, 4999, 401, 1009};
constexpr Samples kSamples = internal::kWithAsan ? kWithChecks : kPlain;
struct Pairs {
  std::uint64_t code, handler;
};
Pairs pairs_of(bool at_hand) {
  if (all_of_it()) return at_hand ? Pairs{1, 1} : Pairs{5, 41};
  return {at_hand ? kSamples.at_hand : kSamples.to_be_made, kSamples.handler};
}

// Of what there is, one of `sampled` was swept.
void look_at(const SweepResult& r, const char* name, bool at_hand, std::uint64_t sampled) {
  const std::string text = std::string(name) + (at_hand ? ", at hand" : ", to be made");
  const std::string sample = sampled == 1 ? "all" : "sampled 1 of " + std::to_string(sampled);
  std::printf("%-26s %s; %s\n", text.c_str(), r.text().c_str(), sample.c_str());
  EXPECT_TRUE(r.ok()) << text << ": " << r.text();
  EXPECT_TRUE(r.complete) << text << ": ended before the code did";
  swept("malloc", name_of(kBuiltConfig), text, r, sampled == 1);
}

TEST(MallocSweep, EveryInstruction) {
  for (const bool at_hand : {true, false}) {
    for (const Case& c : kCases) {
      const SweepResult r =
          testing::sweep_each([&] { prepare(at_hand); }, c.code, [] { outer.run(0x10); }, is_right);
      look_at(r, c.name, at_hand, 1);
    }
  }
}

SweepResult sweep_pairs(const Case& c, bool at_hand, const testing::Sample& code,
                        const testing::Sample& handler) {
  return testing::sweep_pairs([&] { prepare(at_hand); }, c.code, [] { outer.run(0x10); },
                              [] { inner.run(0x20); }, is_right,
                              {.boundaries = code, .inner = handler});
}

// Of the code one boundary of `code`, of the handler there one of `handler`. The code is swept in parts of 61
// boundaries; in each part the handler's sample begins 17 later, so that by and by it comes to each of them, and
// the code's sample one later.
SweepResult sweep_pairs_in_parts(const Case& c, bool at_hand, std::uint64_t code,
                                 std::uint64_t handler) {
  constexpr std::uint64_t kPart = 61, kLater = 17;
  SweepResult all;
  for (std::uint64_t part = 0; !all.complete; ++part) {
    SweepResult r = sweep_pairs(
        c, at_hand, {.first = 1 + part * kPart, .last = (part + 1) * kPart, .every = code},
        {.first = 1 + part * kLater % handler, .every = handler});
    // The code's last boundary was the last of a part.
    const bool beyond = part > 0 && r.complete && r.boundaries == 0;
    if (beyond) r.trouble = nullptr;
    r.boundaries += all.boundaries, r.runs += all.runs, r.traps += all.traps;
    r.addresses = std::max(r.addresses, all.addresses), r.unseen = 0;
    if (all.failed) r.first_failed = all.first_failed;
    r.failed += all.failed;
    all = r;
    if (r.trouble || !r.supported) break;
  }
  return all;
}

TEST(MallocSweep, AHandlerInAHandler) {
  for (const bool at_hand : {true, false}) {
    for (const Case& c : {kCases[0], kCases[1]}) {
      const auto [code, handler] = pairs_of(at_hand);
      const SweepResult r = all_of_it() && !at_hand
                                ? sweep_pairs_in_parts(c, at_hand, code, handler)
                                : sweep_pairs(c, at_hand, {.every = code}, {.every = handler});
      look_at(r, (std::string(c.name) + ", depth 2").c_str(), at_hand, code * handler);
    }
  }
}

// ---- fork() in the handler ----
// Of what another thread's CPU has in store for these calls all comes back in the child, where the code that
// was interrupted may hold the locks that this takes.
class AnotherCpu {
 public:
  AnotherCpu()
      : thread_([this] {
          for (const std::size_t size : {kSize, std::size_t{300}}) {
            void* some[40];
            for (void*& p : some) p = nestlock_malloc(size);
            for (void* const p : some) nestlock_free(p);
          }
          stage_ = 1, stage_.notify_one();
          stage_.wait(1);
        }) {
    stage_.wait(0);
  }
  ~AnotherCpu() {
    stage_ = 2, stage_.notify_one();
    thread_.join();
  }

 private:
  std::atomic<int> stage_{0};
  std::thread thread_;
};

bool child_failed;

// Not outer.run() in both: what the child keeps is seen there alone.
void fork_here() {
  const pid_t pid = child_failed ? -1 : fork();  // one hang is enough
  if (pid == 0) {
    alarm(20);  // a hang is a death by SIGALRM
    outer.run(0x10);
    _exit(outer.right() ? 0 : 1);
  }
  int status = 0;
  if (pid < 0 || waitpid(pid, &status, 0) != pid || status != 0) child_failed = true;
  if (!child_failed) outer.run(0x10);  // it would hang here, where nothing ends it
}

TEST(MallocSweep, AForkInAHandler) {
  const AnotherCpu there;
  const std::uint64_t every = all_of_it() ? 7 : kSamples.fork;
  for (const Case& c : {kCases[0], kCases[1]}) {
    const auto right = [](const testing::Boundary& at) { return is_right(at) && !child_failed; };
    const SweepResult r = testing::sweep_each([] { prepare(false); }, c.code, fork_here, right,
                                              {.boundaries = {.every = every}});
    look_at(r, (std::string(c.name) + ", fork").c_str(), false, every);
  }
}

}  // namespace
}  // namespace nestlock::test_support
