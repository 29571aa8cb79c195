// Hosted port, part 2: virtual CPUs. A thread that uses the library claims one, whichever context
// asks first, and gives it back when it ends. What is not given back (no exit hook could be set, or
// the last one was over) is found by the next thread that finds none free; what threads held that a
// forked child lacks is given back in the child.
#pragma once

#include <limits.h>
#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <bit>
#include <cerrno>
#include <cstdint>

#if __has_include(<sys/single_threaded.h>)
#include <sys/single_threaded.h>
#define NESTLOCK_INTERNAL_ALONE __libc_single_threaded
#else
#define NESTLOCK_INTERNAL_ALONE false
#endif

#include "nestlock/port/hosted_process.h"
#include "nestlock/port/hosted_thread.h"

namespace nestlock::hosted {

// Task context; `hook` must live for ever; push it once.
inline void on_cpu_offline(OfflineHook& hook) noexcept {
  stay_loaded();
  hook.next = process().offline_hooks.load(kRelaxed);
  // release: a thread that walks the list sees the hook's fields.
  while (!process().offline_hooks.compare_exchange_weak(hook.next, &hook, std::memory_order_release,
                                                        kRelaxed)) {
  }
}

namespace internal {

inline void free_cpu(unsigned cpu) noexcept {
  process().cpu_owner[cpu].state.store(nullptr, kRelaxed);
  process().cpu_owner[cpu].tid.store(0, kRelaxed);
  // release: the CPU's next thread (claim_cpu, acquire) sees all we did with its per-CPU data.
  process().cpus_taken[cpu / 64].fetch_and(~(1ull << (cpu % 64)), std::memory_order_release);
}

inline void tell_lost(unsigned cpu) noexcept {
  for (OfflineHook* h = process().offline_hooks.load(std::memory_order_acquire); h; h = h->next)
    if (h->lost) h->lost(*h, cpu);
}

}  // namespace internal

inline void give_back_cpu() noexcept {
  const std::uint32_t mine = self().cpu.load(kRelaxed);
  if (!mine) return;
  for (OfflineHook* h = process().offline_hooks.load(std::memory_order_acquire); h; h = h->next)
    if (h->run) h->run(*h, mine - 1);
  self().cpu.store(0, kRelaxed);
  internal::free_cpu(mine - 1);
}

// ---- a thread's end ------------------------------------------------------------------------------

// In the last pass ThreadSanitizer's own state of the thread is gone, and clang's crashes.
inline constexpr std::uint32_t kExitPasses =
    PTHREAD_DESTRUCTOR_ITERATIONS - (nestlock::internal::kWithTsan ? 1 : 0);

namespace internal {

// Values of the first keys lie in the thread itself. glibc allocates for later ones when they are
// first set, which a handler that is the first user may not: behind them CPUs are found as lost.
#if defined(__GLIBC__)
inline constexpr std::uint32_t kKeysWithoutAllocation = 32;
#else
inline constexpr std::uint32_t kKeysWithoutAllocation = PTHREAD_KEYS_MAX;
#endif

inline constexpr std::uint32_t kNoKey = ~std::uint32_t{0};

[[gnu::visibility("hidden")]] inline void on_thread_exit(void*) noexcept;

// Any thread, also one that is older than the constructors, any context: the C library takes keys
// by compare-exchange.
inline std::uint32_t make_exit_key() noexcept {
  pthread_key_t key;
  const std::uint32_t mine = pthread_key_create(&key, on_thread_exit) ? kNoKey : key + 1;
  std::uint32_t none = 0;
  if (process().exit_key.compare_exchange_strong(none, mine, kRelaxed)) return mine;
  if (mine != kNoKey) pthread_key_delete(key);
  return none;
}

// Whether the exit hook of this thread will run.
inline bool watch_exit() noexcept {
  std::uint32_t key = process().exit_key.load(kRelaxed);
  if (!key) key = make_exit_key();
  return key <= kKeysWithoutAllocation && pthread_setspecific(key - 1, &self()) == 0;
}

// Other libraries' exit hooks may use a lock or allocate after this. So it asks to be called again
// in each of the passes that POSIX guarantees, and gives back what was claimed since the last.
inline void on_thread_exit(void*) noexcept {
  // seq_cst, and so are the looks at the hooks: see wait_for_exit_hooks().
  process().exiting.fetch_add(1);
  const std::uint32_t passes = self().exits.load(kRelaxed) + 1;
  self().exits.store(passes, kRelaxed);
  if (passes < kExitPasses) watch_exit();
  if (auto hook = process().left_open_hook.load()) hook();
  std::uint64_t blocked = 0;
  if (auto hook = process().thread_exit_hook.load()) blocked = hook();
  give_back_cpu();
  if (auto hook = process().thread_over_hook.load()) hook(blocked);
  process().exiting.fetch_sub(1, std::memory_order_release);  // what a hook did is done
}

}  // namespace internal

// ---- the first use -------------------------------------------------------------------------------

namespace internal {

// kHostedMaxCpus if none is free.
inline unsigned take_free_cpu() noexcept {
  for (unsigned w = 0; w < kCpuWords; ++w) {
    const unsigned here = kHostedMaxCpus - w * 64 < 64 ? kHostedMaxCpus - w * 64 : 64;
    const std::uint64_t all = here == 64 ? ~0ull : (1ull << here) - 1;
    for (std::uint64_t free; (free = ~process().cpus_taken[w].load(kRelaxed) & all) != 0;) {
      const std::uint64_t bit = free & -free;
      // acquire: pairs with the release of free_cpu() by the CPU's former thread.
      if (!(process().cpus_taken[w].fetch_or(bit, std::memory_order_acquire) & bit))
        return w * 64 + static_cast<unsigned>(std::countr_zero(bit));
    }
  }
  return kHostedMaxCpus;
}

// One whose thread is gone: the kernel knows no thread of its id, or that is ours by now. An id that
// went to another thread of this process hides it until that one ends. A thread's first search looks
// at all CPUs, of its later ones every 64th at one of them, so that to be without stays cheap.
inline unsigned take_lost_cpu() noexcept {
  const int saved = errno;
  const std::uint32_t search = self().searches.fetch_add(1, kRelaxed);
  constexpr std::uint32_t kSeldom = 64;
  if (search % kSeldom) return kHostedMaxCpus;
  unsigned cpu = search ? search / kSeldom % kHostedMaxCpus : 0;
  const unsigned end = search ? cpu + 1 : kHostedMaxCpus;
  for (; cpu < end; ++cpu) {
    std::uint32_t tid = process().cpu_owner[cpu].tid.load(kRelaxed);
    if (!tid ||
        (tid != thread_id() && (syscall(SYS_tgkill, getpid(), tid, 0) == 0 || errno != ESRCH)))
      continue;
    // 0: to a handler's claim in here it is no longer to be had. acquire: as if it had been given.
    if (!process().cpu_owner[cpu].tid.compare_exchange_strong(tid, 0, std::memory_order_acquire,
                                                              kRelaxed))
      continue;
    process().cpu_owner[cpu].state.store(nullptr, kRelaxed);
    tell_lost(cpu);
    break;
  }
  errno = saved;
  return cpu < end ? cpu : kHostedMaxCpus;
}

}  // namespace internal

// In whatever context: a handler may be the first user, or interrupt the first use. No allocation.
// kHostedMaxCpus if none is left (the next call asks again), or none would be given back.
[[gnu::noinline]] inline unsigned claim_cpu() noexcept {
  if (self().exits.load(kRelaxed) >= kExitPasses) return kHostedMaxCpus;
  unsigned cpu = internal::take_free_cpu();
  if (cpu == kHostedMaxCpus) cpu = internal::take_lost_cpu();
  if (cpu == kHostedMaxCpus) return cpu;
  // Before it is used. relaxed: a fork reads it that copies this thread's memory with it.
  process().cpus_seen[cpu / 64].fetch_or(1ull << (cpu % 64), kRelaxed);
  std::uint32_t none = 0;
  if (!self().cpu.compare_exchange_strong(none, cpu + 1, kRelaxed)) {
    internal::free_cpu(cpu);  // a handler was faster
    return none - 1;
  }
  process().cpu_owner[cpu].tid.store(thread_id(), kRelaxed);
  if (internal::watch_exit()) process().cpu_owner[cpu].state.store(&self(), kRelaxed);
  return cpu;
}

inline unsigned cpu_id() noexcept {
  const std::uint32_t c = self().cpu.load(kRelaxed);
  if (c) [[likely]]
    return c - 1;
  return claim_cpu();
}

// ---- fork() --------------------------------------------------------------------------------------

// The highest CPU that was ever a thread's, + 1.
inline unsigned cpus_seen() noexcept {
  for (unsigned w = kCpuWords; w-- > 0;)
    if (const std::uint64_t seen = process().cpus_seen[w].load(kRelaxed))
      return w * 64 + static_cast<unsigned>(std::bit_width(seen));
  return 0;
}
// Whether the process never had another thread, as far as the C library tells (glibc does): threads by clone()
// are none of its.
inline bool is_alone() noexcept { return NESTLOCK_INTERNAL_ALONE; }
#undef NESTLOCK_INTERNAL_ALONE

namespace internal {

// Whether a thread that the child lacks was inside a section or a handler when the parent forked.
inline bool was_in_section(const ThreadState* t) noexcept {
  if (!t) return false;
  // A thread that claimed behind its last exit hook may be gone with its memory.
  const auto at = reinterpret_cast<std::uintptr_t>(t);
  const auto page = static_cast<std::uintptr_t>(getpagesize());
  unsigned char there[2];
  const std::uintptr_t from = at & -page;
  if (syscall(SYS_mincore, from, at + sizeof *t - from, there)) return false;
  return t->preempt.load(kRelaxed) | t->migrate.load(kRelaxed) | t->bh.load(kRelaxed) |
         t->soft.load(kRelaxed) | t->context.load(kRelaxed);
}

}  // namespace internal

// In the child of a fork(), by itself; a program that calls _Fork() or clone() calls it there before
// it uses the library. The child is a thread with another id, and has no other: their CPUs are given
// back. But what one of them had begun with its CPU's data is half done, so that CPU stays out.
inline void after_fork_in_child() noexcept {
  self().was_tid.store(self().tid.load(kRelaxed), kRelaxed);
  self().tid.store(0, kRelaxed);
  const std::uint32_t mine = self().cpu.load(kRelaxed);
  for (unsigned cpu = 0; cpu < kHostedMaxCpus; ++cpu) {
    if (!(process().cpus_taken[cpu / 64].load(kRelaxed) >> (cpu % 64) & 1)) continue;
    if (cpu + 1 == mine) {
      process().cpu_owner[cpu].tid.store(thread_id(), kRelaxed);
      continue;
    }
    const bool half_done = internal::was_in_section(process().cpu_owner[cpu].state.load(kRelaxed));
    process().cpu_owner[cpu].state.store(nullptr, kRelaxed);
    process().cpu_owner[cpu].tid.store(0, kRelaxed);
    internal::tell_lost(cpu);
    if (!half_done) internal::free_cpu(cpu);
  }
  if (auto hook = process().forked_hook.load(std::memory_order_acquire)) hook();
}

namespace internal {

// By the copy that leads, when it is loaded: the key early, while there are few.
inline void set_up_process() noexcept {
  if (!process().exit_key.load(kRelaxed)) make_exit_key();
  pthread_atfork(nullptr, nullptr, after_fork_in_child);  // ends with the library that registers it
}

// Code that a thread's exit hook calls goes away with its library, and the pointer to it is gone already. A thread
// that is in there, of whichever library, may have read it before, and is waited for: a second at most, for one that
// ends the program from in there would wait for itself. seq_cst: either it is counted here, or it finds the
// pointer gone.
inline void wait_for_exit_hooks() noexcept {
  for (unsigned turn = 0; kMayBeInALibrary && turn < 10'000 && process().exiting.load(); ++turn)
    usleep(100);
}

// When it goes: the key before the code that it would call.
inline void end_process() noexcept {
  const std::uint32_t key = process().exit_key.exchange(kNoKey, kRelaxed);
  if (key && key != kNoKey) pthread_key_delete(key - 1);
  wait_for_exit_hooks();
}

}  // namespace internal

}  // namespace nestlock::hosted
