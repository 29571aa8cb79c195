// Hosted port: what all threads of the process share, in one struct, since each loaded object that holds
// the library has one, and all must use the same (hosted_registry.h).
#pragma once

#include <atomic>
#include <cstdint>

#include "nestlock/port/hosted_thread.h"

namespace nestlock {
struct Report;
}

namespace nestlock::hosted {

using ReportSink = void (*)(const Report&) noexcept;

// `run`: with the CPU's number when its thread exits, on that thread, the library's signals blocked,
// before the CPU is given to another thread; once more if other exit hooks made the thread claim
// one again. `lost`: the thread is gone without that, and the CPU goes to another, as it was left;
// in whatever context that one claims it, or in a forked child. Never removed; a hook with more to
// know derives from it.
struct OfflineHook {
  void (*run)(OfflineHook& hook, unsigned cpu) noexcept = nullptr;
  OfflineHook* next = nullptr;
  void (*lost)(OfflineHook& hook, unsigned cpu) noexcept = nullptr;
};

// Whose each CPU is: the thread's id, 0 = nobody's, or being claimed. Its state, if its exit hook
// will take it out again.
struct CpuOwner {
  Word tid;
  std::atomic<const ThreadState*> state;
};

inline constexpr unsigned kCpuWords = (kHostedMaxCpus + 63) / 64;

// In memory zero where it is `kDefault`: so what holds it takes no room in a program's file, nor memory where nobody
// uses it.
template <std::uint32_t kDefault>
class TurnedWord {
 public:
  std::uint32_t load(std::memory_order order) const noexcept {
    return turned_.load(order) ^ kDefault;
  }
  operator std::uint32_t() const noexcept { return load(std::memory_order_seq_cst); }
  TurnedWord& operator=(std::uint32_t value) noexcept {
    turned_ = value ^ kDefault;
    return *this;
  }

 private:
  Word turned_{0};
};

// Waiting before the kernel's priority-inheriting lock is entered; with no yields and no naps nobody waits for a
// turn either (hosted_pi_turn.h), with no pauses, too, the kernel is asked at once. A thread with a real-time
// policy neither yields nor naps.
struct PiWaiting {
  TurnedWord<2000> pauses;
  TurnedWord<300> turn_us;
  TurnedWord<12'000> longest_us;  // wait for a turn
  TurnedWord<1> yields;           // each may give away a whole time slice
  TurnedWord<4> naps;             // of 50 us, then longer ones, up to 400 us
};

// Of the waiters of 32 such locks.
struct PiQueue {
  Word leads{0};  // a bit each: one of them leads
  Word awake{0};  // and runs: not since it was woken to on another's processor, nor while it yields
  Word changes{0};   // so often has one left off leading
  Word sleepers{0};  // that wait to lead
};
inline constexpr unsigned kPiQueues = 64;

struct Process {
  std::atomic<std::uint64_t> cpus_taken[kCpuWords]{};
  std::atomic<std::uint64_t> cpus_seen[kCpuWords]{};  // that were ever taken
  CpuOwner cpu_owner[kHostedMaxCpus]{};
  std::atomic<OfflineHook*> offline_hooks{nullptr};
  // Set by lib/port when it is used. At a thread's end: block the library's signals and run what was
  // held back; then, when the CPU is another's, unblock what the first blocked.
  std::atomic<void (*)() noexcept> replay_hook{nullptr};
  std::atomic<std::uint64_t (*)() noexcept> thread_exit_hook{nullptr};
  std::atomic<void (*)(std::uint64_t) noexcept> thread_over_hook{nullptr};
  std::atomic<void (*)() noexcept> forked_hook{nullptr};
  // All of the thread's handlers were left.
  std::atomic<void (*)() noexcept> all_left_hook{nullptr};
  // Debug: whether the innermost handler was left by a jump, where addresses do not tell.
  std::atomic<bool (*)(std::uintptr_t here) noexcept> left_hook{nullptr};
  // Debug, set by whoever takes a lock: tells of the sections in which a thread ends, and closes them.
  std::atomic<void (*)() noexcept> left_open_hook{nullptr};
  // The key of the threads' exit hook + 1. 0 = not made yet; kNoKey = gone with the library, or none
  // to be had.
  Word exit_key{0};
  Word exiting{0};     // threads that are in the exit hook
  Word one_thread{0};  // debug, one CPU: the thread that uses the locks; 0 = none yet
  // Null: print_report().
  std::atomic<ReportSink> report_sink{nullptr};
  // lib/port: the copy of it that handles the process's signals.
  std::atomic<const void*> engine{nullptr};
  std::uint32_t nap_words[64]{};                  // hosted_park.h; never written
  std::atomic<std::uint64_t> pi_lock_entries{0};  // system calls FUTEX_LOCK_PI so far; a statistic
  PiWaiting pi_waiting;
  PiQueue pi_queues[kPiQueues]{};
};

[[gnu::visibility("hidden")]] inline constinit Process own_process{};
[[gnu::visibility("hidden")]] inline constinit Process* the_process = &own_process;

// The one that is used.
inline Process& process() noexcept { return kMayBeInALibrary ? *the_process : own_process; }

// The library that the caller is part of has become part of the process's state, and is never
// unloaded. Task context.
[[gnu::visibility("hidden")]] inline void stay_loaded() noexcept;

}  // namespace nestlock::hosted
