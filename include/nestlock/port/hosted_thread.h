// Hosted port, part 1: a thread is a task on a virtual CPU of its own.
//
// ThreadState is what signal handlers and the code they interrupt share. Everything that an
// interrupter gives back before it returns (soft, context, preempt, bh, migrate) needs no atomic
// read-modify-write: contexts of one thread nest last-in-first-out. It is std::atomic with relaxed
// order because a signal handler may look at it between any two instructions; the fences that
// order it against the protected code are signal fences, which cost no instruction.
#pragma once

#include <pthread.h>

#include <atomic>
#include <bit>
#include <cstdint>

#include "nestlock/config/annotations.h"
#include "nestlock/config/config.h"

namespace nestlock::hosted {

inline constexpr auto kRelaxed = std::memory_order_relaxed;
using Word = std::atomic<std::uint32_t>;

// Bits of the context word; 0 = task. The highest bit set is the present context.
inline constexpr std::uint32_t kInSoftirq = 1, kInIrq = 2, kInNmi = 4;

// Levels of registered handlers: softirq, irq and nmi nest at most once each (see port/signals.cc).
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
  std::atomic<std::uint64_t> added;    // signals that a hold-back really blocked, to be unblocked
  std::atomic<std::uint64_t> waiting;  // signals that wait_irq() blocked around its sleep
  Level level[kMaxLevels];
};

// initial-exec: a handler's first touch must not allocate, as lazy thread-local storage does.
NESTLOCK_ONE_COPY inline constinit thread_local ThreadState self
    [[gnu::tls_model("initial-exec")]]{};

inline void fence() noexcept { std::atomic_signal_fence(std::memory_order_seq_cst); }

// ---- virtual CPUs ------------------------------------------------------------------------------

inline constexpr unsigned kCpuWords = (kHostedMaxCpus + 63) / 64;
NESTLOCK_ONE_COPY inline constinit std::atomic<std::uint64_t> cpus_taken[kCpuWords]{};

// Run with the CPU's number when its thread exits, on that thread, the library's signals blocked,
// before the CPU is given to another thread; once more if other exit hooks made the thread claim
// one again. Never removed; a hook with more to know derives from it.
struct OfflineHook {
  void (*run)(OfflineHook& hook, unsigned cpu) noexcept = nullptr;
  OfflineHook* next = nullptr;
};
NESTLOCK_ONE_COPY inline constinit std::atomic<OfflineHook*> offline_hooks{nullptr};

// Task context; `hook` must live for ever; push it once.
inline void on_cpu_offline(OfflineHook& hook) noexcept {
  hook.next = offline_hooks.load(kRelaxed);
  // release: a thread that walks the list sees the hook's fields.
  while (
      !offline_hooks.compare_exchange_weak(hook.next, &hook, std::memory_order_release, kRelaxed)) {
  }
}

// Set by lib/port when it is linked: mask the library's signals for good, run what was held back.
NESTLOCK_ONE_COPY inline constinit std::atomic<void (*)() noexcept> replay_hook{nullptr};
NESTLOCK_ONE_COPY inline constinit std::atomic<void (*)() noexcept> thread_exit_hook{nullptr};

inline void give_back_cpu() noexcept {
  std::uint32_t mine = self.cpu.load(kRelaxed);
  if (!mine) return;
  for (OfflineHook* h = offline_hooks.load(std::memory_order_acquire); h; h = h->next)
    h->run(*h, mine - 1);
  self.cpu.store(0, kRelaxed);
  // release: the CPU's next thread (claim_cpu, acquire) sees all we did with its per-CPU data.
  cpus_taken[(mine - 1) / 64].fetch_and(~(1ull << ((mine - 1) % 64)), std::memory_order_release);
}

inline pthread_key_t exit_key() noexcept;

// In the last pass ThreadSanitizer's own state of the thread is gone, and clang's crashes.
inline constexpr std::uint32_t kExitPasses =
    PTHREAD_DESTRUCTOR_ITERATIONS - (nestlock::internal::kWithTsan ? 1 : 0);

// Other libraries' exit hooks may use a lock or allocate after this. So it asks to be called again
// in each of the passes that POSIX guarantees, and gives back what was claimed since the last. A
// thread whose first use of all comes behind it in the last pass keeps its CPU for ever.
inline void on_thread_exit(void*) noexcept {
  const std::uint32_t passes = self.exits.load(kRelaxed) + 1;
  self.exits.store(passes, kRelaxed);
  if (passes < kExitPasses) pthread_setspecific(exit_key(), &self);
  if (auto hook = thread_exit_hook.load(std::memory_order_acquire)) hook();
  give_back_cpu();
}

namespace internal {
struct ExitKey {
  pthread_key_t key{};
  bool valid = pthread_key_create(&key, [](void* p) { on_thread_exit(p); }) == 0;
};
NESTLOCK_ONE_COPY inline const ExitKey
    exit_key;  // created at start-up, before a second thread can exist
}  // namespace internal

inline pthread_key_t exit_key() noexcept { return internal::exit_key.key; }

// First use by this thread, in whatever context: a handler may be the first user, or interrupt the
// first use. No allocation (glibc keeps the first 32 keys in the thread itself). kHostedMaxCpus if
// none is left (the next call asks again), or none would be given back.
[[gnu::noinline]] inline unsigned claim_cpu() noexcept {
  if (self.exits.load(kRelaxed) >= kExitPasses) return kHostedMaxCpus;
  for (unsigned w = 0; w < kCpuWords; ++w) {
    const unsigned here = kHostedMaxCpus - w * 64 < 64 ? kHostedMaxCpus - w * 64 : 64;
    const std::uint64_t all = here == 64 ? ~0ull : (1ull << here) - 1;
    for (std::uint64_t free; (free = ~cpus_taken[w].load(kRelaxed) & all) != 0;) {
      const std::uint64_t bit = free & -free;
      // acquire: pairs with the release of give_back_cpu() by the CPU's former thread.
      if (cpus_taken[w].fetch_or(bit, std::memory_order_acquire) & bit) continue;
      const std::uint32_t id = w * 64 + static_cast<unsigned>(std::countr_zero(bit));
      std::uint32_t none = 0;
      if (self.cpu.compare_exchange_strong(none, id + 1, kRelaxed)) {
        if (internal::exit_key.valid) pthread_setspecific(exit_key(), &self);
        return id;
      }
      cpus_taken[w].fetch_and(~bit, std::memory_order_release);  // a handler was faster
      return none - 1;
    }
  }
  return kHostedMaxCpus;
}

inline unsigned cpu_id() noexcept {
  const std::uint32_t c = self.cpu.load(kRelaxed);
  if (c) [[likely]]
    return c - 1;
  return claim_cpu();
}

}  // namespace nestlock::hosted
