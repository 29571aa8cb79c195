// Hosted port, part 1: a thread is a task on a virtual CPU of its own (hosted_cpu.h).
//
// ThreadState is what signal handlers and the code they interrupt share. Everything that an
// interrupter gives back before it returns (soft, context, preempt, bh, migrate) needs no atomic
// read-modify-write: contexts of one thread nest last-in-first-out. It is std::atomic with relaxed
// order because a signal handler may look at it between any two instructions; the fences that
// order it against the protected code are signal fences, which cost no instruction.
#pragma once

#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>

#include "nestlock/config/annotations.h"
#include "nestlock/config/config.h"

namespace nestlock::hosted {

inline constexpr auto kRelaxed = std::memory_order_relaxed;
using Word = std::atomic<std::uint32_t>;

// Bits of the context word; 0 = task. The highest bit set is the present context.
inline constexpr std::uint32_t kInSoftirq = 1, kInIrq = 2, kInNmi = 4;

// Levels of registered handlers: softirq, irq and nmi nest at most once each (see lib/port/handlers.cc).
inline constexpr unsigned kMaxLevels = 4;

// One running handler, for the abandoned-holder check.
struct Level {
  std::atomic<std::uintptr_t> frame;        // the handler's frame: a callee's lies below it
  std::atomic<std::uintptr_t> stack_floor;  // lowest address of the stack it runs on
  Word context, soft, preempt, bh;          // to go back to
};

struct ThreadState {
  Word soft;      // 1 = irqs are masked
  Word held;      // 1 = something was held back meanwhile; irq_restore() must look
  Word context;   // kIn... bits
  Word preempt;   // preempt_disable() depth
  Word bh;        // bh_disable() depth
  Word migrate;   // migrate_disable() depth
  Word softirqs;  // raised and not yet run, one bit each (left behind by handlers: RMW only)
  Word depth;     // irq_save() depth, debug configurations only
  Word cpu;       // virtual CPU + 1; 0 = none yet. Claimed by compare-exchange
  Word tid;       // cached thread id, 0 = not known yet
  Word levels;    // entries in use of level[]
  Word exits;     // passes of the thread-exit hook so far
  Word searches;  // for a CPU that were in vain
  Word was_tid;   // in a forked child: the id of the thread that forked, in the parent
  std::atomic<std::uint64_t> added;    // signals that a hold-back really blocked, to be unblocked
  std::atomic<std::uint64_t> waiting;  // signals that wait_irq() blocked around its sleep
  Level level[kMaxLevels];
};

// initial-exec: a handler's first touch must not allocate, as lazy thread-local storage does.
NESTLOCK_ONE_COPY inline constinit thread_local ThreadState self
    [[gnu::tls_model("initial-exec")]]{};

inline void fence() noexcept { std::atomic_signal_fence(std::memory_order_seq_cst); }

// This thread's id to the kernel.
inline std::uint32_t thread_id() noexcept {
  std::uint32_t t = self.tid.load(kRelaxed);
  if (!t) [[unlikely]]
    self.tid.store(t = static_cast<std::uint32_t>(syscall(SYS_gettid)), kRelaxed);
  return t;
}

}  // namespace nestlock::hosted
