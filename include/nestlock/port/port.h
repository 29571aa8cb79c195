// The port: what the library asks of the machine it runs on, as concepts in grades.
//
// A uniprocessor firmware writes the eight functions of `Port` (see nestlock/port/bare.h for the plain
// functions an embedder fills in). What a port leaves out is asked for only by the lock or tag
// that needs it, and the compiler then names the missing member.
#pragma once

#include <atomic>
#include <concepts>
#include <cstdint>
#include <type_traits>

#include "nestlock/config/annotations.h"
#include "nestlock/port/report.h"

namespace nestlock {

template <class P>
concept Port = requires(typename P::IrqState s, const Report& r) {
  // Masks irqs on this CPU (never NMIs) and returns what irq_restore() needs. Nests.
  { P::irq_save() } noexcept -> std::same_as<typename P::IrqState>;
  // Back to the state before the matching irq_save(); pending irqs run before it returns.
  { P::irq_restore(s) } noexcept -> std::same_as<void>;
  // Between the two, no other task runs on this CPU. Counted; interrupts still come.
  { P::preempt_disable() } noexcept -> std::same_as<void>;
  { P::preempt_enable() } noexcept -> std::same_as<void>;
  // The innermost interrupt level; a probe reports the level it interrupted.
  { P::context() } noexcept -> std::same_as<Context>;
  // 0 .. kMaxCpus-1, valid while pinned (preemption or migration off, or in an interrupt);
  // kMaxCpus where the port has no CPU for this task.
  { P::cpu_id() } noexcept -> std::same_as<unsigned>;
  // One turn of a spin loop.
  { P::pause() } noexcept -> std::same_as<void>;
  // The report sink: any context, NMI included; may return. See report.h.
  { P::report(r) } noexcept -> std::same_as<void>;
  // std::atomic, except in a simulator.
  typename P::template Atomic<std::uint32_t>;
  requires P::kMaxCpus >= 1;
};

// Unconditional forms, for the tag irq_disable and the kernel's _irq spellings.
template <class P>
concept IrqSwitchPort = Port<P> && requires {
  { P::irq_disable() } noexcept;
  { P::irq_enable() } noexcept;
  { P::irqs_disabled() } noexcept -> std::same_as<bool>;
};

// Bottom halves (softirqs): run when an irq handler exits or when they are enabled again.
template <class P>
concept SoftirqPort = Port<P> && requires {
  { P::bh_disable() } noexcept;
  { P::bh_enable() } noexcept;
  { P::bh_disabled() } noexcept -> std::same_as<bool>;
};

// What a sleeping lock answers to lock(), `timeout` to a form with a time alone. Only the first two leave the caller holding it. Of those
// who wait for each other in a cycle at least one is told `deadlock`; it may be all of them.
enum class SleepResult : std::uint8_t { acquired, owner_died, deadlock, owner_gone, timeout };

// PREEMPT_RT only: a priority-inheriting lock. `try_lock` on a held lock writes nothing.
template <class S>
concept SleepLock = requires(S s, const S c) {
  { s.lock() } noexcept -> std::same_as<SleepResult>;
  { s.try_lock() } noexcept -> std::same_as<bool>;
  { s.unlock() } noexcept;
  { c.is_locked() } noexcept -> std::same_as<bool>;
  { c.is_contended() } noexcept -> std::same_as<bool>;
  { c.held_by_caller() } noexcept -> std::same_as<bool>;
};

template <class P>
concept SleepingPort = Port<P> && SleepLock<typename P::SleepLock> && requires {
  { P::migrate_disable() } noexcept;
  { P::migrate_enable() } noexcept;
};

// What a port may offer besides. Without a member its users do without, as each line says; so a
// misspelt one would be left out without a word. A port that means to have one asserts it:
//
//   static_assert(YieldingPort<MyPort>);

// Tells tasks apart that share a CPU, for ownership checks. Else: the CPU is the owner.
template <class P>
concept SelfPort = Port<P> && requires {
  { P::self() } noexcept -> std::same_as<std::uintptr_t>;
};
// Claims CPUs for its tasks one by one; this is cpu_id() without a claim: ~0u for a task that has none
// yet. Else: every task has a CPU.
template <class P>
concept ClaimingPort = Port<P> && requires {
  { P::claimed_cpu() } noexcept -> std::same_as<unsigned>;
};
// A task has its CPU for good (kTaskIsCpu is true): a section that ends before its caller does
// anything else needs no pin. Else: it is pinned.
template <class P>
concept TaskCpuPort = Port<P> && requires {
  { P::kTaskIsCpu } -> std::convertible_to<bool>;
};
// Gives the processor away while a preempted holder is waited for. Else: waiting is pause().
template <class P>
concept YieldingPort = Port<P> && requires {
  { P::yield() } noexcept -> std::same_as<void>;
};
// What happens after a fatal report; does not return. Else: a trap instruction.
template <class P>
concept DyingPort = Port<P> && requires { P::die(); };
// Debug: finds out whether a handler was left by a jump. Else: it is not looked for.
template <class P>
concept AbandonmentPort = Port<P> && requires {
  { P::check_abandoned() } noexcept -> std::same_as<void>;
};
// Debug: between changing() and changed() a context of this task changes a lock's word and owner, so what
// interrupts it there cannot tell by the owner who holds the lock; is_changing() tells. These nest. Else:
// a lock() there waits for ever, unreported.
template <class P>
concept ChangingPort = Port<P> && requires(const void* lock) {
  { P::changing(lock) } noexcept -> std::same_as<void>;
  { P::changed() } noexcept -> std::same_as<void>;
  { P::is_changing(lock) } noexcept -> std::same_as<bool>;
};
// Debug: whether a lock lives as long as the program or the library that it is part of. These may end with
// it held, and that is no mistake; any other lock that is destroyed while it is held is reported. Else: locks
// have a trivial destructor, and it is not looked for.
template <class P>
concept StaticStoragePort = Port<P> && requires(const void* lock) {
  { P::is_static(lock) } noexcept -> std::same_as<bool>;
};
// Debug, one CPU: whether the caller is the one thread that may use the locks, as the first to do so is
// until it ends. Else: it is not looked for.
template <class P>
concept OneThreadPort = Port<P> && requires {
  { P::is_the_one_thread() } noexcept -> std::same_as<bool>;
};
// What a fork() of the port's process need not go over, nor a drain of all CPUs. Else: it takes every lock, and goes
// over all CPUs.
template <class P>
concept ForkPort = Port<P> && requires {
  // Whether no other task is in the process.
  { P::is_alone() } noexcept -> std::same_as<bool>;
  // No CPU from this number on was ever a task's.
  { P::cpus_seen() } noexcept -> std::same_as<unsigned>;
};
// How often preemption is off, for the debug check that RT code may sleep. Else: it is not checked.
template <class P>
concept PreemptCountPort = Port<P> && requires {
  { P::preempt_count() } noexcept -> std::same_as<std::uint32_t>;
};

// A clock that never goes back, for waiting so long and no longer; any context. Else: waiting is counted
// in looks at the lock.
template <class P>
concept ClockPort = Port<P> && requires {
  { P::now_ns() } noexcept -> std::same_as<std::uint64_t>;
};
// Names the owner of a lock by a number that no other living task has, 1 .. 2^22 - 1, the same in what
// interrupts the task; any context. Else: the owner is the CPU, which is never gone.
template <class P>
concept OwnerPort = Port<P> && requires(std::uint32_t id) {
  { P::owner_id() } noexcept -> std::same_as<std::uint32_t>;
  { P::owner_is_caller(id) } noexcept -> std::same_as<bool>;
  // Whether no task has it: who held a lock by that name can never give it back.
  { P::owner_is_gone(id) } noexcept -> std::same_as<bool>;
};

// How a lock's waiters wait where they can sleep (lock/park_word.h). A look is a turn of a spin loop.
struct Parking {
  unsigned looks = 200;                       // before a waiter registers, and between two naps
  unsigned passes = 2000;                     // so often lock() may pass the first waiter; 1..65535
  std::uint64_t first_nap_ns = 10'000;        // of the first waiter; each twice the last,
  std::uint64_t longest_nap_ns = 1'000'000;   // up to this; after one of these nobody passes it
  std::uint64_t park_limit_ns = 250'000'000;  // of a sleep that nobody ends
  std::uint32_t turn_us = 1000;  // who has slept may pass others for so long (TurnPort)
};

// A full memory barrier on every CPU that runs a task, and in the caller, between call and return. False: not to be had.
// Else: what other CPUs' sheaves hold is not reached when memory runs short.
template <class P>
concept BarrierPort = Port<P> && requires {
  { P::barrier_on_all_cpus() } noexcept -> std::same_as<bool>;
};

// An object of this type keeps from the caller, as long as it lives, whatever could interrupt it and not return, but
// leave by a jump; task context. Else: nothing that interrupts does.
template <class P>
concept UninterruptedPort = Port<P> && std::default_initializable<typename P::Uninterrupted>;

// Lets waiters sleep, in every context that may wait for a lock. `word` is a lock's 4 bytes, which
// nothing here writes. Else: who waits for an SMP lock spins, first come, first served.
template <class P>
concept ParkingPort = Port<P> && requires(const void* word, std::uint32_t expected,
                                          std::uint64_t ns) {
  { P::kParking } -> std::convertible_to<Parking>;
  // Sleeps unless the word is not as expected: comparing and falling asleep are one step to the
  // next two, and to the stores before them. True: it has slept, until unpark_one(), a signal or
  // the limit. First come, first woken.
  { P::park(word, expected, ns) } noexcept -> std::same_as<bool>;
  { P::unpark_one(word) } noexcept -> std::same_as<void>;
  // Whether somebody sleeps on the word.
  { P::any_parked(word) } noexcept -> std::same_as<bool>;
  // A sleep of this length, or until end_nap(); it may be shorter, and an end may be missed.
  { P::nap(word, ns) } noexcept -> std::same_as<void>;
  { P::end_nap(word) } noexcept -> std::same_as<void>;
};

// Asks the machine to let the caller go on for a moment, should its processor be wanted by another thread in
// a section that somebody waits for.
template <class P>
concept SlicePort = ParkingPort<P> && requires {
  { P::slice_begins() } noexcept -> std::same_as<bool>;  // false: not to be had, and nothing to end
  { P::slice_ends() } noexcept -> std::same_as<void>;    // behind the release
};

// Counts how long the caller has had its turn at contended locks, of whichever lock. Advice: an interrupt's turn
// takes the place of what it interrupts.
template <class P>
concept TurnPort = ParkingPort<P> && requires {
  { P::turn_begins() } noexcept -> std::same_as<void>;
  { P::turn_us() } noexcept -> std::same_as<std::uint32_t>;  // since then
};

namespace internal {

// Who is running, for ownership checks.
template <Port P>
std::uintptr_t self_of() noexcept {
  if constexpr (SelfPort<P>)
    return P::self();
  else
    return P::cpu_id() + 1;
}

inline constexpr unsigned kNoCpu = ~0u;

struct MayBeInterrupted {
  MayBeInterrupted() noexcept {}
};
template <class P>
struct UninterruptedType {
  using Type = MayBeInterrupted;
};
template <UninterruptedPort P>
struct UninterruptedType<P> {
  using Type = typename P::Uninterrupted;
};
template <Port P>
using UninterruptedOf = typename UninterruptedType<P>::Type;

// Makes the loads before it acquire operations. (ThreadSanitizer knows no fences: callers tell it otherwise.)
inline void acquire_fence() noexcept {
  if constexpr (!kWithTsan) std::atomic_thread_fence(std::memory_order_acquire);
}
// Whether the port's atomics are the language's: neither a simulator's, which stop at each access, nor its own.
template <Port P, class T>
inline constexpr bool kStandardAtomics =
    std::is_same_v<typename P::template Atomic<T>, std::atomic<T>>;

// A relaxed load, for one comparison on a fast path: GCC compares no atomic in one instruction. The word is aligned, so
// it is read at once; the caller has a fence for the compiler behind it.
template <Port P, class T>
[[gnu::always_inline]] inline T peek(const typename P::template Atomic<T>& word) noexcept {
  if constexpr (!kWithTsan && kStandardAtomics<P, T>)
    return reinterpret_cast<const T&>(word);
  else
    return word.load(std::memory_order_relaxed);
}

template <Port P>
bool is_alone() noexcept {
  if constexpr (ForkPort<P>) return P::is_alone();
  return false;
}
template <Port P>
unsigned cpus_seen() noexcept {
  if constexpr (ForkPort<P>) return P::cpus_seen();
  return P::kMaxCpus;
}

// cpu_id() for a fast path with a slow one behind it: kNoCpu for a task without a CPU.
template <Port P>
unsigned claimed_cpu() noexcept {
  if constexpr (ClaimingPort<P>)
    return P::claimed_cpu();
  else
    return P::cpu_id();
}

template <Port P>
constexpr bool task_is_cpu() noexcept {
  if constexpr (TaskCpuPort<P>)
    return P::kTaskIsCpu;
  else
    return false;
}

// One turn of waiting for another CPU. Where a holder can be preempted (a port with yield()), a
// waiter spins for a bounded time and then gives its processor away: with more threads than
// processors, pure spinning waits for whole time slices.
inline constexpr unsigned kSpinsBeforeYield = 128;

template <Port P>
void wait_turn(unsigned& turns) noexcept {
  if constexpr (YieldingPort<P>) {
    if (++turns > kSpinsBeforeYield) return P::yield();
  }
  P::pause();
}

// After a fatal report: never returns.
template <Port P>
[[noreturn]] void die() noexcept {
  if constexpr (DyingPort<P>) P::die();
  __builtin_trap();
}

}  // namespace internal
}  // namespace nestlock
