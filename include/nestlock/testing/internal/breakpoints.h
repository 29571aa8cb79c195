// Breakpoints: what it takes to interrupt a run at a boundary known from a recorded one.
//
// A run that is single-stepped costs a trap for each instruction before the boundary. If the code
// repeats itself exactly, the boundary can be named instead: the n-th time that this address is
// reached with this depth of stack. One byte is planted there, and the run goes at full speed. Each
// time before costs two traps; so what is reached often is reached in stages, by way of others.
// The depth keeps out handlers of signals that run the same code on top, and recursion.
#pragma once

#include "nestlock/testing/internal/trap.h"

#if NESTLOCK_INTERNAL_CAN_STEP

#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <map>
#include <span>
#include <unordered_map>
#include <utility>
#include <vector>

namespace nestlock::testing::internal {

inline bool same_steps(std::span<const Step> a, std::span<const Step> b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](Step x, Step y) { return x.address == y.address && x.stack == y.stack; });
}

// How to get to a step: from the start, or from an earlier step that is got to itself, to the n-th
// of its like after that.
struct Way {
  static constexpr std::uint32_t kStart = std::numeric_limits<std::uint32_t>::max();
  std::uint32_t from = kStart;
  std::uint32_t occurrence = 1;
  std::uint32_t traps = 1;  // one for each stage, two for each time that its address is passed by
};

// For each step the way of the fewest traps. A loop's body, or a function that is called from many
// places, is reached by way of a place that is passed once. Looks back from each step as far as
// that may save traps, at most kLookBack steps: not at all for code that is passed once.
inline std::vector<Way> ways_to(std::span<const Step> steps) {
  constexpr std::uint32_t kLookBack = 4096;  // or a long loop's plan takes quadratic time
  std::vector<Way> ways(steps.size());
  std::unordered_map<std::uintptr_t, std::uint32_t> reached;
  std::map<std::pair<std::uintptr_t, std::uintptr_t>, std::uint32_t> like;
  for (std::uint32_t k = 0; k < ways.size(); ++k) {
    const Step& step = steps[k];
    Way& best = ways[k];
    best.occurrence = ++like[{step.address, step.stack}];
    best.traps = 2 * ++reached[step.address] - 1;
    const std::uint32_t end = k - std::min(k, kLookBack);
    std::uint32_t occurrence = 1, traps = 1;  // from j
    for (std::uint32_t j = k; j-- != end && traps < best.traps;) {
      if (steps[j].address == step.address) {  // no stage: its breakpoint would be in the way
        occurrence += steps[j].stack == step.stack;
        traps += 2;
      } else if (ways[j].traps + traps < best.traps) {
        best = {j, occurrence, ways[j].traps + traps};
      }
    }
  }
  return ways;
}

// The stages of the way to step k, first to last.
inline void stages_of(std::span<const Step> steps, std::span<const Way> ways, std::uint32_t k,
                      std::vector<Stage>& stages) {
  stages.clear();
  for (; k != Way::kStart; k = ways[k].from) stages.push_back({steps[k], ways[k].occurrence});
  std::reverse(stages.begin(), stages.end());
}

// The right to plant breakpoints: one sweep of the process has it. Makes code writable, and
// read-only again at the end.
class Breakpoints {
 public:
  // Whether it is safe, as far as can be known: no other thread could meet the breakpoint, and no
  // signal handler could meet it with SIGTRAP blocked, for which the kernel kills the process.
  static bool safe() { return single_threaded() && !handler_blocks_sigtrap(); }

  Breakpoints() : mine_(!taken.exchange(true, std::memory_order_acquire)) {}
  ~Breakpoints() {
    for (const std::uintptr_t page : pages_) protect(page, PROT_READ | PROT_EXEC);
    if (mine_) taken.store(false, std::memory_order_release);
  }
  Breakpoints(const Breakpoints&) = delete;
  Breakpoints& operator=(const Breakpoints&) = delete;

  bool mine() const { return mine_; }

  // False if the system does not let us write there.
  bool may_plant(std::span<const Step> steps) {
    std::vector<std::uintptr_t> pages;
    for (const Step& s : steps) pages.push_back(s.address & ~(kPage - 1));
    std::sort(pages.begin(), pages.end());
    pages.erase(std::unique(pages.begin(), pages.end()), pages.end());
    for (const std::uintptr_t page : pages) {
      if (std::find(pages_.begin(), pages_.end(), page) != pages_.end()) continue;
      if (!protect(page, PROT_READ | PROT_WRITE | PROT_EXEC)) return false;
      pages_.push_back(page);
    }
    return true;
  }

 private:
  static constexpr std::uintptr_t kPage = 4096;

  static bool protect(std::uintptr_t page, int how) {
    return mprotect(reinterpret_cast<void*>(page), kPage, how) == 0;
  }

  static bool single_threaded() {
    unsigned threads = 0;
    if (FILE* const f = fopen("/proc/self/status", "re")) {
      char line[256];
      while (fgets(line, sizeof line, f))
        if (sscanf(line, "Threads: %u", &threads) == 1) break;
      fclose(f);
    }
    return threads == 1 ||
           (NESTLOCK_WITH_TSAN && threads == 2);  // TSan's own runs none of our code
  }

  static bool handler_blocks_sigtrap() {
    for (int s = 1; s <= 64; ++s) {
      KernelAction a{};
      if ((kSynchronous & signal_bit(s)) || s == SIGABRT) continue;
      if (system_call(SYS_rt_sigaction, s, 0, reinterpret_cast<long>(&a), sizeof a.mask) != 0)
        continue;
      const auto handler = reinterpret_cast<std::uintptr_t>(a.handler);
      if (handler > reinterpret_cast<std::uintptr_t>(SIG_IGN) && (a.mask & signal_bit(SIGTRAP)))
        return true;
    }
    return false;
  }

  static inline constinit std::atomic<bool> taken{false};
  bool mine_;
  std::vector<std::uintptr_t> pages_;
};

}  // namespace nestlock::testing::internal

#endif  // NESTLOCK_INTERNAL_CAN_STEP
