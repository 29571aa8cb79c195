// malloc's functions interrupted after every machine instruction by a handler that calls them as well and
// keeps what it gets; where this thread has free blocks at hand, and where all has to be made: sheaves, slabs,
// pages, mappings. And at depth 2, the handler itself interrupted by another.
//
// At depth 2 a sample; NESTLOCK_LONG=1 takes all.
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <thread>

#include "gtest/gtest.h"
#include "nestlock/malloc.h"
#include "nestlock/system_slab.h"
#include "nestlock/testing/instruction_sweep.h"
#include "test/support/verify_line.h"

namespace nestlock::test_support {
namespace {

using testing::SweepResult;

// A block whose bytes are all `tag`.
class Block {
 public:
  void set(void* p, std::size_t size, unsigned char tag) {
    at_ = static_cast<unsigned char*>(p), size_ = size, tag_ = tag;
    if (at_) std::memset(at_, tag_, size_);
  }
  // `p` has its contents so far, and takes its place.
  bool grow(void* p, std::size_t size) {
    const bool whole = p && (at_ = static_cast<unsigned char*>(p), intact());
    size_ = size;
    if (p) std::memset(at_, tag_, size_);
    return whole;
  }
  bool intact() const {
    if (!at_) return false;
    for (std::size_t i = 0; i < size_; i += 1 + size_ / 512)
      if (at_[i] != tag_) return false;
    return true;
  }
  void* at() const { return at_; }
  void* release() {
    void* const p = at_;
    at_ = nullptr;
    return p;
  }
  void give_back() { nestlock_free(release()); }

 private:
  unsigned char* at_ = nullptr;
  std::size_t size_ = 0;
  unsigned char tag_ = 0;
};

constexpr std::size_t kSize = 64, kLarge = std::size_t{2} << 20;

// What a handler had before (it frees one and grows the other), and what it keeps.
struct Level {
  Block freed, grown, got, zeroed;
  bool wrong = false;
  void prepare(unsigned char tag) {
    freed.set(nestlock_malloc(kSize), kSize, tag);
    grown.set(nestlock_malloc(kSize), kSize, static_cast<unsigned char>(tag + 1));
    wrong = false;
  }
  void run(unsigned char tag) {
    got.set(nestlock_malloc(kSize), kSize, static_cast<unsigned char>(tag + 2));
    wrong |= !grown.grow(nestlock_realloc(grown.at(), 300), 300);
    auto* const zeroes = static_cast<unsigned char*>(nestlock_calloc(1, kSize));
    for (std::size_t i = 0; zeroes && i < kSize; ++i) wrong |= zeroes[i] != 0;
    zeroed.set(zeroes, kSize, static_cast<unsigned char>(tag + 3));
    wrong |= !freed.intact();
    freed.give_back();
  }
  // It ran to its end, and nobody touched what it has.
  bool right() const {
    return !wrong && !freed.at() && grown.intact() && got.intact() && zeroed.intact();
  }
  void clean_up() {
    for (Block* b : {&freed, &grown, &got, &zeroed}) b->give_back();
  }
};
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

void look_at(const SweepResult& r, const char* name, bool at_hand, bool every) {
  const std::string text = std::string(name) + (at_hand ? ", at hand" : ", to be made");
  std::printf("%-26s %s\n", text.c_str(), r.text().c_str());
  EXPECT_TRUE(r.ok()) << text << ": " << r.text();
  swept("malloc", name_of(kBuiltConfig), text, r, every);
}

TEST(MallocSweep, EveryInstruction) {
  for (const bool at_hand : {true, false}) {
    for (const Case& c : kCases) {
      const SweepResult r =
          testing::sweep_each([&] { prepare(at_hand); }, c.code, [] { outer.run(0x10); }, is_right);
      look_at(r, c.name, at_hand, true);
    }
  }
}

TEST(MallocSweep, AHandlerInAHandler) {
  for (const bool at_hand : {true, false}) {
    for (const Case& c : {kCases[0], kCases[1]}) {
      const std::uint64_t outer_every = all_of_it() ? 1 : at_hand ? 13 : 331;
      const std::uint64_t inner_every = all_of_it() ? 1 : 41;
      const SweepResult r = testing::sweep_pairs(
          [&] { prepare(at_hand); }, c.code, [] { outer.run(0x10); }, [] { inner.run(0x20); },
          is_right, {.boundaries = {.every = outer_every}, .inner = {.every = inner_every}});
      look_at(r, (std::string(c.name) + ", depth 2").c_str(), at_hand, all_of_it());
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
  for (const Case& c : {kCases[0], kCases[1]}) {
    const auto right = [](const testing::Boundary& at) { return is_right(at) && !child_failed; };
    const SweepResult r = testing::sweep_each([] { prepare(false); }, c.code, fork_here, right,
                                              {.boundaries = {.every = all_of_it() ? 1u : 61u}});
    look_at(r, (std::string(c.name) + ", fork").c_str(), false, all_of_it());
  }
}

}  // namespace
}  // namespace nestlock::test_support
