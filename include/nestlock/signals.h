// Hosted port: signals as interrupts. Needs lib/port (the locks alone do not).
//
//   register_irq(SIGALRM, on_tick);     from now on irq_save() masks it, at no system call
//   register_nmi(SIGPROF, on_sample);   never masked; comes inside any section
//
// Levels: task < softirq < irq < nmi. While an irq handler runs the kernel blocks the irq class,
// while an nmi handler runs both classes, so registered handlers nest at most four deep. errno is
// kept. A handler that was installed before is called after ours (chained). A handler that nobody
// registered works too: what the locks promise rests on their state, not on these levels.
//
// Rules for programs:
//  - A handler returns. Leaving it by siglongjmp while the interrupted code holds a lock, or has
//    something masked, breaks the lock's premise. Where it holds nothing, call after_jump() behind
//    the sigsetjmp(env, 1) that it came to: without, irqs stay masked until the next signal finds the
//    level left (it may not: a deeper frame, or a class that is blocked by then). Debug
//    configurations report holder_abandoned at the next call of a lock from above that frame, and
//    go back, too. An exception that leaves a handler is not supported.
//  - A jump out of a lock() that waits leaves the lock usable, but the task pinned: preempt_count() stays one
//    higher. Behind the jump call preempt_enable() once, or migrate_enable() where the lock sleeps.
//  - pthread_sigmask() on irq signals and irq-off sections nest, never cross; set_signal_mask()
//    below may cross.
//  - No thread is created, and no program executed, in an irq-off section: it would be born with
//    the irq class blocked if something was held back.
//  - fork() in an irq-off section is fine: what was held back stays the parent's. The child of
//    _Fork() or clone() calls hosted::after_fork_in_child() before it uses the library.
//  - A handler that was held back is called as the kernel would call it at the irq_restore(): on the
//    thread's alternate stack, with a mask and floating-point modes of its own; but what it writes into
//    the general registers of its context is lost (lib/port/README.md, R11).
//  - In an irq-off section an arrival interrupts a blocking system call once (EINTR where
//    SA_RESTART does not apply), though its handler runs later. To wait for an irq use wait_irq().
#pragma once

#include <signal.h>

#include <cstdint>

#include "nestlock/config/config.h"
#include "nestlock/port/hosted.h"

extern "C" const char NESTLOCK_LINK_STAMP;  // "undefined reference to nestlock_built_as_X": the
                                            // library linked was built for another configuration
namespace nestlock::signals {

// What becomes of a system call that waits, and that a handler interrupts: it goes on where the kernel can
// (SA_RESTART; see signal(7)), or ends with EINTR. As with SA_RESTART the arrival decides, also where the
// handler runs later because an irq-off section holds it back.
enum class Calls : std::uint8_t { restart, interrupt };

// As sigaction() has it with SA_SIGINFO.
using Handler = void (*)(int signo, siginfo_t* info, void* ucontext);

// Why a signal was not registered.
enum class Error : std::uint8_t {
  none,
  not_a_signal,  // out of 1..64, or one that the C library keeps for itself
  unmaskable,    // SIGKILL, SIGSTOP
  fault,         // SEGV, BUS, FPE, ILL, TRAP, SYS as irq: a fault cannot be deferred
  taken,         // registered already
  not_taken,     // unregister() of one that is not registered
  refused,       // the kernel said no; errno tells
  no_handler,    // null
};

// For people.
constexpr const char* name_of(Error e) noexcept {
  constexpr const char* names[] = {"none",
                                   "not a signal",
                                   "cannot be handled",
                                   "a fault cannot be deferred",
                                   "registered already",
                                   "not registered",
                                   "refused by the kernel",
                                   "no handler"};
  return names[static_cast<unsigned>(e)];
}

// Task context. Effective for all threads. Debug configurations also report a refusal (bad_signal).
//
// In a uniprocessor configuration the calling thread becomes the one that may use the library, and
// signals of the process that the kernel gives to another thread are forwarded to it.
[[nodiscard]] Error register_irq(int signo, Handler handler, Calls calls = Calls::restart) noexcept;
[[nodiscard]] Error register_nmi(int signo, Handler handler, Calls calls = Calls::restart) noexcept;
// Puts the previous handler back, unless the program has installed another one since: that one
// stays, and what it calls as its previous handler reaches ours. Arrivals still held back are dropped,
// those that the library sent on to the kernel's queue, too. Then it waits until no other thread runs
// the handler (a handler that never returns makes it wait for ever; one that was left by a jump,
// too). unregister_nowait() does not wait: the handler may run on in other threads.
Error unregister(int signo) noexcept;
Error unregister_nowait(int signo) noexcept;
// Waits until no handler of `signo` that was running at the call runs in another thread.
void synchronize(int signo) noexcept;

// Softirqs: run when an irq handler exits, or bottom halves or irqs are enabled again, on the CPU
// that raised them; in order of their number; never nested on one CPU.
inline constexpr unsigned kMaxSoftirqs = 32;
// Task context; false if `nr` >= kMaxSoftirqs.
bool register_softirq(unsigned nr, void (*run)()) noexcept;
// Any context. In a task with irqs and bottom halves enabled it runs before this returns; raised in
// an nmi, at the irq_restore() that unmasks, or at the nmi's exit if it interrupted no section. One
// that raises itself gets ten turns, then waits for the next irq's exit, bh_enable() or raise.
void raise_softirq(unsigned nr) noexcept;

// `sti; hlt`: called in task context with irqs masked by one irq_save(); enables them, sleeps until
// a signal's handler ran (an irq's, an nmi's or one that nobody registered: look at the condition
// again), and masks them again. What was held back before runs at once, without sleeping, so no
// wake-up is lost between looking at a condition and sleeping.
void wait_irq() noexcept;

// A handler was left by siglongjmp() to here, where no handler runs or an outer one does: goes back to
// what that is, and runs what was held back since. Nothing where none was left.
void after_jump() noexcept;

// pthread_sigmask() on the mask as the program sees it; may cross irq-off sections. 0 or an errno.
int set_signal_mask(int how, const sigset_t* set, sigset_t* old) noexcept;

// Counts since the start, of all threads. Any context.
struct Stats {
  std::uint64_t irqs;       // handlers run, directly or from a slot
  std::uint64_t nmis;       // handlers run
  std::uint64_t softirqs;   // callbacks run
  std::uint64_t held_back;  // arrivals while masked
  std::uint64_t requeued;   // of these, sent to the kernel again for want of a slot
  std::uint64_t lost;       // of these, refused by the kernel (RLIMIT_SIGPENDING)
  std::uint64_t forwarded;  // to the one thread of a uniprocessor configuration
};
// What they are now. Any context.
Stats stats() noexcept;

namespace internal {
[[gnu::used]] inline const char* const link_stamp = &NESTLOCK_LINK_STAMP;
}

}  // namespace nestlock::signals
