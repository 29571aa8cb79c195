// Breakpoints: what it takes to interrupt a run at a boundary known from a recorded one.
//
// A run that is single-stepped costs a trap for each instruction before the boundary. If the code
// repeats itself exactly, the boundary can be named instead: the n-th time that this address is
// reached with this depth of stack. One byte is planted there, and the run goes at full speed.
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
#include <span>
#include <tuple>
#include <vector>

namespace nestlock::testing::internal {

inline bool same_steps(std::span<const Step> a, std::span<const Step> b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](Step x, Step y) { return x.address == y.address && x.stack == y.stack; });
}

// For each step, how often its like has occurred up to and with it.
inline std::vector<std::uint32_t> occurrences(std::span<const Step> steps) {
  std::vector<std::uint32_t> order(steps.size()), count(steps.size());
  for (std::uint32_t i = 0; i < order.size(); ++i) order[i] = i;
  std::sort(order.begin(), order.end(), [&](std::uint32_t a, std::uint32_t b) {
    const Step &x = steps[a], &y = steps[b];
    return std::tie(x.address, x.stack, a) < std::tie(y.address, y.stack, b);
  });
  for (std::size_t i = 0; i < order.size(); ++i) {
    const bool again =
        i != 0 && same_steps(steps.subspan(order[i - 1], 1), steps.subspan(order[i], 1));
    count[order[i]] = again ? count[order[i - 1]] + 1 : 1;
  }
  return count;
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
