// The instruction sweep: runs code with an interruption after each of its machine instructions.
//
//   List list;                                    // guarded by a TrySpinLock
//   Node* kept = nullptr;
//   const SweepResult r = testing::sweep_each(
//       [&] { list.reset(), kept = nullptr; },    // prepare: the same state for each run
//       [&] { list.give(list.take()); },          // the code
//       [&] { kept = list.take(); },              // the interruption; it must keep what it gets
//       [&] { return list.intact(kept); });       // check: false (or a failed EXPECT) is an error
//   EXPECT_TRUE(r.ok()) << r.text();
//
// sweep_each() repeats this with the interruption at the first boundary, the second, ..., until the
// code ends before the boundary is reached: every state that a signal, an interrupt or an NMI could
// ever find is shown to the interruption once. The interruption is an NMI to the code (irq_save()
// does not keep it out), a probe to the hosted port (nobody registered it), and ends by returning.
//
// **The interruption must keep something.** A balanced pair (take and give back) leaves every state
// as it was and hides every error.
//
// What is swept: the boundaries between instructions of `SweepOptions::ranges`, by default the
// program's own code; not libc, not a sanitizer's runtime. A boundary belongs to the instruction
// that would come next. Each iteration of a `rep` instruction is one. Compile with optimisation,
// too: what is swept is what the compiler made of the code.
//
// Cost: single-stepping takes 5-6 us an instruction, libc and a sanitizer's runtime included; a
// run for each boundary makes that quadratic. So where the code repeats itself exactly,
// sweep_each() and sweep_pairs() step it a few times, uninterrupted, to learn its boundaries, and
// then plant a breakpoint for each: some 10 us a run, whatever the length, and as much again for
// each turn of a loop before it. Which engine was used is in the result; both visit the same
// boundaries (see Engine).
//
// Limits:
//  - x86-64 Linux. Elsewhere, under gdb (which takes the traps) and under valgrind (which has none)
//    the result is not `supported`, hence not ok(). Works in containers and under qemu-x86_64.
//  - Not swept: the boundary right after `syscall` and after `mov ss` (named in the result);
//    handlers of signals that arrive in the code (they run free); other threads.
//  - The code must end the stepping neither by a `popf` of flags saved before it nor by leaving a
//    signal handler with siglongjmp: reported as trouble. It must not block SIGTRAP (the kernel
//    kills the process; pthread_create() and posix_spawn() do block it) nor fork.
//  - The interruption must return: no longjmp, no exception. It runs on a stack of 256 KiB of its
//    own, free, so no sweep sees it (but see sweep_pairs()); errno is kept for the code.
//  - In whole_program() the caller's own lambda is swept, too; code called from libc (a qsort
//    comparison, say) is interrupted with libc's frames below it.
//
// Any number of threads may sweep at the same time. SIGTRAP's former handler is back when a sweep
// ends, and meanwhile gets the SIGTRAPs that are not ours. Under TSan the interruption is a fibre,
// not synchronised with the code it interrupts but with what was before and comes after it: it
// reports races between the two that no lock orders.
#pragma once

#include <concepts>
#include <cstdint>
#include <initializer_list>
#include <limits>
#include <string>

#include "nestlock/config/cxx20.h"
#include "nestlock/testing/code_ranges.h"
#include "nestlock/testing/internal/runner.h"
#include "nestlock/testing/internal/unstepped.h"

namespace nestlock::testing {

// A place where code was interrupted.
struct Boundary {
  std::uint64_t k = 0;            // the k-th boundary of the code, from 1
  std::uint64_t inner = 0;        // sweep_pairs(): the j-th of the first interruption; 0: none
  const void* address = nullptr;  // of the instruction that comes next
  const void* inner_address = nullptr;  // likewise, in the first interruption
};

// "boundary 7 (list_take()+0x12)".
inline std::string to_text(const Boundary& b);

// Which boundaries: first, first + every, ... up to last.
struct Sample {
  std::uint64_t first = 1;                                         // from 1
  std::uint64_t last = std::numeric_limits<std::uint64_t>::max();  // or the code's last
  std::uint64_t every = 1;                                         // not 0
};

// Signals blocked while the interruption runs, one bit each (signal s is bit s - 1). What it sends
// to its thread then arrives at the very boundary, when the trap returns. With none blocked (and
// none by the code) it arrives inside the interruption.
using SignalMask = std::uint64_t;
inline constexpr SignalMask kNoSignals = 0;
inline constexpr SignalMask kAllSignals = ~SignalMask{0};

// How a run gets to its boundary. `automatic` takes breakpoints if the code repeats itself (the
// same instructions at the same depth of stack in every run), no other thread could meet one, no
// signal handler is installed that blocks SIGTRAP, and the system lets code be written; else, or as
// soon as a run goes another way, it steps.
enum class Engine : std::uint8_t { automatic, trap_flag, breakpoints };

// What to sweep.
struct SweepOptions {
  CodeRanges ranges = CodeRanges::whole_program();  // what is interrupted
  SignalMask blocked = kNoSignals;                  // while the interruption runs
  Sample boundaries{};                              // of the code
  Sample inner{};                                   // sweep_pairs(): of the first interruption
  Engine engine = Engine::automatic;                // how
};

// What was seen.
struct SweepResult {
  bool supported = false;              // whether this machine can do it at all
  bool complete = false;               // the code ended before the sample did
  std::uint64_t boundaries = 0;        // interrupted; with sweep_pairs() pairs of them
  std::uint64_t addresses = 0;         // distinct instructions among them (of the code, not inner)
  std::uint64_t runs = 0;              // of the code
  std::uint64_t traps = 0;             // taken
  std::uint64_t failed = 0;            // checks that returned false
  Boundary first_failed{};             // of them
  std::uint64_t unseen = 0;            // places in the code (visited) after which there was no trap
  Boundary first_unseen{};             // ... and what stands there
  const char* unseen_after = nullptr;  // ... and which instruction it was
  Engine engine = Engine::trap_flag;   // that was used to the end
  const char* trouble = nullptr;       // what went wrong with the sweep itself

  // All checks held, and there were some: a sweep that saw no boundary has shown nothing.
  bool ok() const { return supported && !trouble && boundaries != 0 && failed == 0; }
  // One line.
  std::string text() const;
};

namespace internal {

// What users pass may take a Boundary or nothing.
template <class F>
decltype(auto) call_at(F& f, const Boundary& at) {
  if constexpr (std::invocable<F&, const Boundary&>)
    return f(at);
  else
    return f();
}

template <class F>
concept AtBoundary = std::invocable<F&, const Boundary&> || std::invocable<F&>;

}  // namespace internal

// Fresh-state mode. For k = first, ...: prepare(); code() with interruption() at its k-th boundary;
// check(). prepare() and code() also run a few times uninterrupted and unchecked, last of all, too.
// If the code did not repeat itself after all, the sweep starts again by single steps: count what
// matters in the result, not in the callables.
//
// interruption and check may take a `const Boundary&`; check may return bool or nothing.
template <std::invocable Prepare, std::invocable Code, internal::AtBoundary Interruption,
          internal::AtBoundary Check>
SweepResult sweep_each(Prepare&& prepare, Code&& code, Interruption&& interruption, Check&& check,
                       const SweepOptions& options = {});

// Depth 2: for each boundary k of the code, and each boundary j of first() run there, second() at
// the j-th. Each k ends with a run in which first() is not interrupted (Boundary::inner == 0).
template <std::invocable Prepare, std::invocable Code, internal::AtBoundary First,
          internal::AtBoundary Second, internal::AtBoundary Check>
SweepResult sweep_pairs(Prepare&& prepare, Code&& code, First&& first, Second&& second,
                        Check&& check, const SweepOptions& options = {});

// One pass: one run of code(), with interruption() at each of its boundaries. Linear; but each
// interruption finds what the ones before it left.
template <std::invocable Code, internal::AtBoundary Interruption>
SweepResult sweep_through(Code&& code, Interruption&& interruption,
                          const SweepOptions& options = {});

// One run of code(), with interruption() at its k-th boundary. ok() if that was reached.
template <std::invocable Code, internal::AtBoundary Interruption>
SweepResult run_interrupted_at(std::uint64_t k, Code&& code, Interruption&& interruption,
                               SweepOptions options = {});

}  // namespace nestlock::testing

#include "nestlock/testing/internal/sweep_impl.h"
