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
  std::atomic<const void*> code;            // debug: in the function whose frame it is
  Word context, soft, preempt, bh;          // to go back to
};

// Debug: a lock whose word and owner are being changed, by a context of the thread. `frame` tells an
// entry that was left by a jump: what is called now has none below it.
struct Change {
  std::atomic<const void*> lock;
  std::atomic<std::uintptr_t> frame;
};
inline constexpr unsigned kMaxChanges = 8;

struct ThreadState {
  Word soft;         // 1 = irqs are masked
  Word held;         // 1 = something was held back meanwhile; irq_restore() must look
  Word context;      // kIn... bits
  Word preempt;      // preempt_disable() depth
  Word bh;           // bh_disable() depth
  Word migrate;      // migrate_disable() depth
  Word softirqs;     // raised and not yet run, one bit each (left behind by handlers: RMW only)
  Word depth;        // irq_save() depth, debug configurations only
  Word cpu;          // virtual CPU + 1; 0 = none yet. Claimed by compare-exchange
  Word tid;          // cached thread id, 0 = not known yet
  Word levels;       // entries in use of level[]
  Word exits;        // passes of the thread-exit hook so far
  Word searches;     // for a CPU that were in vain
  Word watched;      // debug: the thread's end is
  Word was_tid;      // in a forked child: the id of the thread that forked, in the parent
  Word registering;  // lib/port: it takes, has or gives back the registration's mutex
  std::atomic<std::uint64_t> added;    // signals that a hold-back really blocked, to be unblocked
  std::atomic<std::uint64_t> waiting;  // signals that wait_irq() blocked around its sleep
  std::atomic<std::uint64_t> handled;  // lib/port: whose handlers run, innermost or interrupted
  std::atomic<const void*> chained_from;   // ... the context that a chain is called with
  std::atomic<const void*> chained_frame;  // ... and its frame
  Level level[kMaxLevels];
  Change change[kMaxChanges];
  Word changes;  // entries in use
  Word turn_us;  // when its last turn at a contended lock began (hosted_park.h)
  Word slice;    // whether the kernel lets it ask for more time (hosted_slice.h)
};

// Code that may become part of a shared library. What is compiled for a program (-fPIE, or neither) can
// become no part of one, and the program's state is always the one that is used. So is that of a library that
// keeps a state of its own and is never unloaded (choice.h).
#if defined(NESTLOCK_FROM_THE_START) && !defined(NESTLOCK_OWN_STATE)
#error "Nestlock: -DNESTLOCK_FROM_THE_START is for a library that has -DNESTLOCK_OWN_STATE, too."
#endif
#if defined(__PIC__) && !defined(__PIE__) && !defined(NESTLOCK_FROM_THE_START)
inline constexpr bool kMayBeInALibrary = true;
#define NESTLOCK_INTERNAL_TLS_MODEL
#else
inline constexpr bool kMayBeInALibrary = false;
#define NESTLOCK_INTERNAL_TLS_MODEL [[gnu::tls_model("initial-exec")]]
#endif

// One of each thread in each loaded object that holds the library: the program, a shared library. Only
// one object's is used, and hosted_registry.h finds out whose. In a library it has no place that is kept
// free for it in every thread (static TLS): there are few, and what is unloaded may not give them back.
[[gnu::visibility(
    "hidden")]] inline constinit thread_local ThreadState own_state NESTLOCK_INTERNAL_TLS_MODEL{};

// Where in each thread the one is, seen from the thread pointer; 0: not at one place, or not known yet.
[[gnu::visibility("hidden"),
  gnu::used]] inline constinit std::uintptr_t place_of_the_one asm("nestlock_place_of_the_one") = 0;

[[gnu::visibility("hidden")]] inline ThreadState* own_here() noexcept { return &own_state; }
// What finds it then: of the object whose state it is.
[[gnu::visibility("hidden")]] inline constinit auto find_the_one = own_here;
[[gnu::visibility("hidden")]] inline void join() noexcept;  // hosted_registry.h

// The first use of all may come before the constructors: a malloc() that is preloaded.
[[gnu::visibility("hidden"), gnu::cold, gnu::noinline]] inline ThreadState* find_self() noexcept {
  join();
  return find_the_one();
}

// This thread's.
[[gnu::always_inline]] inline ThreadState& self() noexcept {
  if constexpr (!kMayBeInALibrary) return own_state;
  std::uintptr_t place;
#if defined(__x86_64__)
  // Not volatile, and no operand in memory: a value that changes once, before the object's first use,
  // so compilers may keep it in a register.
  asm("movq nestlock_place_of_the_one(%%rip), %0" : "=r"(place));
#else
  place = place_of_the_one;
#endif
  if (!place) [[unlikely]]
    return *find_self();
  return *reinterpret_cast<ThreadState*>(
      reinterpret_cast<std::uintptr_t>(__builtin_thread_pointer()) + place);
}

inline void fence() noexcept { std::atomic_signal_fence(std::memory_order_seq_cst); }

// This thread's id to the kernel.
inline std::uint32_t thread_id() noexcept {
  std::uint32_t t = self().tid.load(kRelaxed);
  if (!t) [[unlikely]]
    self().tid.store(t = static_cast<std::uint32_t>(syscall(SYS_gettid)), kRelaxed);
  return t;
}

}  // namespace nestlock::hosted
