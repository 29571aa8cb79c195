// The trap: x86-64 Linux, EFLAGS.TF and SIGTRAP. One interrupted piece of code is a Level; its
// interruption may be a Level in turn.
//
// With TF set in the saved flags the processor runs one instruction and traps. The kernel clears TF
// for every signal handler, so the handler and the interruption in it run free. All that runs while
// a trap is in progress is unseen (see unseen.h) and calls nothing that could be interrupted.
#pragma once

#if defined(__linux__) && defined(__x86_64__)
#define NESTLOCK_INTERNAL_CAN_STEP 1

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <ucontext.h>

#include <cstddef>
#include <cstdint>
#include <mutex>

#include "nestlock/testing/code_ranges.h"
#include "nestlock/testing/internal/unseen.h"

namespace nestlock::testing::internal {

inline constexpr std::int64_t kTrapFlag = 0x100;

// Signals that instructions raise: never blocked, the kernel would kill the process.
constexpr std::uint64_t signal_bit(int s) { return std::uint64_t{1} << (s - 1); }
inline constexpr std::uint64_t kSynchronous = signal_bit(SIGTRAP) | signal_bit(SIGSEGV) |
                                              signal_bit(SIGBUS) | signal_bit(SIGFPE) |
                                              signal_bit(SIGILL) | signal_bit(SIGSYS);

struct Step {  // one boundary, as the recorder keeps it
  std::uintptr_t address;
  std::uintptr_t stack;  // how far below the level's start: tells a recursion from its caller
};

// A place to run to: the n-th time, from the last stage on, that this boundary is reached.
struct Stage {
  Step step;
  std::uint32_t occurrence;
};

struct Level {
  // What to do.
  const CodeRange* ranges = nullptr;  // sorted
  std::size_t range_count = 0;
  std::uint64_t first = 0, last = 0;  // the boundaries to interrupt; last = 0: none
  std::uint64_t blocked = 0;          // signals blocked during the interruption
  void (*interruption)(void*) = nullptr;
  void* argument = nullptr;
  void* stack = nullptr;  // the traps run on it
  std::size_t stack_size = 0;
  void* fiber = nullptr;     // TSan's, for the interruption
  Step* record = nullptr;    // where to keep the boundaries, or null
  std::size_t capacity = 0;  // of `record`

  // Instead of stepping: run to each of these places in turn, and interrupt at the last.
  const Stage* stage = nullptr;                 // the one that is run to
  std::size_t stages = 0;                       // still to be reached; 0: step
  volatile std::uint8_t* breakpoint = nullptr;  // that one's first byte; null: none is planted
  std::uint8_t original = 0;                    // what stood there
  std::uint32_t occurrence = 0;                 // how often it is still to be reached
  bool passing = false;                         // the instruction itself is being run

  // What happened.
  std::uint64_t boundaries = 0;
  std::uint64_t traps = 0;         // over all runs
  std::uintptr_t interrupted = 0;  // the address of the last boundary that was interrupted
  bool lost = false;               // the code cleared the trap flag itself
  std::uintptr_t start = 0;        // the stack pointer where the run started
  char sync_before = 0, sync_after = 0;
};

// The level that this thread is in, and whose interruption is not running.
inline constinit thread_local Level* volatile active [[gnu::tls_model("initial-exec")]] = nullptr;

struct KernelAction {  // the kernel's struct sigaction
  void (*handler)(int, siginfo_t*, void*);
  unsigned long flags;
  void (*restorer)();
  std::uint64_t mask;
};
inline KernelAction former_action{};

// ---- unseen ------------------------------------------------------------------------------------

// No libc: its stubs lie in the executable, where a breakpoint may be.
NESTLOCK_UNSEEN inline long system_call(long number, long a, long b, long c, long d) noexcept {
  long r;
  register long r10 asm("r10") = d;
  asm volatile("syscall"
               : "=a"(r)
               : "0"(number), "D"(a), "S"(b), "d"(c), "r"(r10)
               : "rcx", "r11", "memory");
  return r;
}

NESTLOCK_UNSEEN __attribute__((naked)) inline void trap_flag_on() noexcept {
  asm("pushfq\n orq $0x100, (%rsp)\n popfq\n ret");
}

// Returns whether it was still on.
NESTLOCK_UNSEEN __attribute__((naked)) inline bool trap_flag_off() noexcept {
  asm("pushfq\n movq (%rsp), %rax\n andq $~0x100, (%rsp)\n popfq\n"
      "shrl $8, %eax\n andl $1, %eax\n ret");
}

// Without unwind information and in libc's very bytes, after a nop: so an unwinder knows it for a
// signal's return and walks on through the trap into the interrupted code.
extern "C" void nestlock_sweep_restorer();
asm(R"(
  .ifndef nestlock_sweep_restorer
  .pushsection nestlock_unseen,"axG",@progbits,nestlock_sweep_restorer,comdat
  .weak nestlock_sweep_restorer
  .hidden nestlock_sweep_restorer
  .type nestlock_sweep_restorer,@function
  nop
nestlock_sweep_restorer:
  movq $15, %rax
  syscall
  .size nestlock_sweep_restorer, .-nestlock_sweep_restorer
  .popsection
  .endif
)");

NESTLOCK_UNSEEN inline bool in_ranges(const Level* l, std::uintptr_t pc) noexcept {
  std::size_t lo = 0, hi = l->range_count;  // the last range that begins at or before pc
  while (lo < hi) {
    const std::size_t mid = (lo + hi) / 2;
    if (l->ranges[mid].lo <= pc)
      lo = mid + 1;
    else
      hi = mid;
  }
  return lo != 0 && pc < l->ranges[lo - 1].hi;
}

// The first eight bytes are the kernel's set; libc's is longer.
using KernelMask [[gnu::may_alias]] = std::uint64_t;

NESTLOCK_UNSEEN inline void set_mask(std::uint64_t mask) noexcept {
  system_call(SYS_rt_sigprocmask, SIG_SETMASK, reinterpret_cast<long>(&mask), 0, sizeof mask);
}

// Runs the level's interruption on top of the trap. The handler has all signals blocked.
NESTLOCK_UNSEEN inline void interrupt(Level* l, ucontext_t* context) noexcept {
  const int saved_errno = errno;
  const std::uint64_t of_op = *reinterpret_cast<const KernelMask*>(&context->uc_sigmask);
  const std::uint64_t mask = (of_op | l->blocked) & ~kSynchronous;
  active = nullptr;
#if NESTLOCK_WITH_TSAN
  // Without synchronisation: code and interruption are two threads to TSan. What came before the
  // run happened before the interruption, and that before what comes after the run. No signal comes
  // in the middle of the change, where the thread is neither.
  void* const from = __tsan_get_current_fiber();
  __tsan_switch_to_fiber(l->fiber, 1);
  __tsan_acquire(&l->sync_before);
#endif
  if (mask != ~kSynchronous) set_mask(mask);
  l->interruption(l->argument);
  if (mask != ~kSynchronous) set_mask(~kSynchronous);
#if NESTLOCK_WITH_TSAN
  __tsan_release(&l->sync_after);
  __tsan_switch_to_fiber(from, 1);
#endif
  active = l;
  errno = saved_errno;
}

// A SIGTRAP that is not ours goes where it went before.
NESTLOCK_UNSEEN inline void pass_on(int signal, siginfo_t* info, void* context) noexcept {
  const auto handler = reinterpret_cast<std::uintptr_t>(former_action.handler);
  if (handler == reinterpret_cast<std::uintptr_t>(SIG_IGN) && info->si_code <= 0) return;
  if (handler > reinterpret_cast<std::uintptr_t>(SIG_IGN))
    return former_action.handler(signal, info, context);
  system_call(SYS_rt_sigaction, SIGTRAP, reinterpret_cast<long>(&former_action), 0,
              sizeof former_action.mask);
  system_call(SYS_tkill, system_call(SYS_gettid, 0, 0, 0, 0), SIGTRAP, 0, 0);
}

inline constexpr std::uint8_t kInt3 = 0xcc, kPushf = 0x9c;
inline constinit volatile std::uint8_t* volatile planted = nullptr;  // in the process

NESTLOCK_UNSEEN inline void plant(Level* l) noexcept {
  planted = l->breakpoint;
  *l->breakpoint = kInt3;
}
NESTLOCK_UNSEEN inline void pull(Level* l) noexcept { *l->breakpoint = l->original; }

// Plants the breakpoint of the stage that is next.
NESTLOCK_UNSEEN inline void begin_stage(Level* l) noexcept {
  l->breakpoint = reinterpret_cast<volatile std::uint8_t*>(l->stage->step.address);
  l->original = *l->breakpoint;
  l->occurrence = l->stage->occurrence;
  plant(l);
}

// A trap of a level that has a breakpoint; false if it is not ours.
NESTLOCK_UNSEEN inline bool on_breakpoint(Level* l, const siginfo_t* info,
                                          ucontext_t* context) noexcept {
  auto& reg = context->uc_mcontext.gregs;
  if (l->passing) {  // one instruction further
    if (info->si_code != TRAP_TRACE && info->si_code != TRAP_BRKPT) return false;
    ++l->traps;
    l->passing = false;
    if (l->original == kPushf) *reinterpret_cast<std::int64_t*>(reg[REG_RSP]) &= ~kTrapFlag;
    reg[REG_EFL] &= ~kTrapFlag;
    plant(l);
    return true;
  }
  if (info->si_code != SI_KERNEL) return false;
  const auto here = reinterpret_cast<std::uintptr_t>(l->breakpoint);
  if (static_cast<std::uintptr_t>(reg[REG_RIP]) != here + 1) return false;
  ++l->traps;
  pull(l);
  reg[REG_RIP] = static_cast<greg_t>(here);
  const std::uintptr_t stack = l->start - static_cast<std::uintptr_t>(reg[REG_RSP]);
  if (stack != l->stage->step.stack || --l->occurrence != 0) {
    l->passing = true;
    reg[REG_EFL] |= kTrapFlag;
    return true;
  }
  if (--l->stages != 0) {  // the next one lies elsewhere: this instruction runs free
    ++l->stage;
    begin_stage(l);
    return true;
  }
  l->breakpoint = nullptr;
  l->boundaries = l->first;
  l->interrupted = here;
  interrupt(l, context);
  return true;
}

// Another thread met the breakpoint: it waits until it is gone.
NESTLOCK_UNSEEN inline bool met_by_other(const siginfo_t* info, ucontext_t* context) noexcept {
  if (info->si_code != SI_KERNEL) return false;
  auto& pc = context->uc_mcontext.gregs[REG_RIP];
  const auto* const at = reinterpret_cast<volatile std::uint8_t*>(pc - 1);
  if (at != planted && *at == kInt3) return false;
  --pc;
  system_call(SYS_sched_yield, 0, 0, 0, 0);
  return true;
}

NESTLOCK_UNSEEN inline void on_trap(int signal, siginfo_t* info, void* c) noexcept {
  auto* const context = static_cast<ucontext_t*>(c);
  auto& reg = context->uc_mcontext.gregs;
  Level* const l = active;
  if (l && l->breakpoint && on_breakpoint(l, info, context)) return;
  if (info->si_code != TRAP_TRACE && info->si_code != TRAP_BRKPT)
    return met_by_other(info, context) ? void() : pass_on(signal, info, c);
  if (!l || l->breakpoint) {  // a thread that was born stepping
    reg[REG_EFL] &= ~kTrapFlag;
    return;
  }
  ++l->traps;
  const auto pc = static_cast<std::uintptr_t>(reg[REG_RIP]);
  if (!in_ranges(l, pc)) return;
  const std::uint64_t k = ++l->boundaries;
  if (k <= l->capacity)
    l->record[k - 1] = {pc, l->start - static_cast<std::uintptr_t>(reg[REG_RSP])};
  if (l->last != 0 && k >= l->last) reg[REG_EFL] &= ~kTrapFlag;  // the last: run free from here
  if (k < l->first || k > l->last) return;
  l->interrupted = pc;
  interrupt(l, context);
}

// Runs op(argument), stepping or to the breakpoint. Returns with the thread's alternate stack as it
// was.
NESTLOCK_UNSEEN inline void run(Level* l, void (*op)(void*), void* argument) noexcept {
  l->boundaries = 0, l->interrupted = 0, l->lost = false;
  // Op finds the stack aligned like this each time, so its frames lie at the same depths.
  alignas(64) char anchor;
  l->start = reinterpret_cast<std::uintptr_t>(&anchor);
  // The stack is taken off while a trap is on it, so that a level inside can set its own.
  stack_t mine, before;
  mine.ss_sp = l->stack, mine.ss_size = l->stack_size, mine.ss_flags = 1 << 31 /*SS_AUTODISARM*/;
  const bool set = system_call(SYS_sigaltstack, reinterpret_cast<long>(&mine),
                               reinterpret_cast<long>(&before), 0, 0) == 0;
#if NESTLOCK_WITH_TSAN
  __tsan_release(&l->sync_before);
#endif
  Level* const outer = active;
  asm volatile("" : "+r"(op), "+r"(argument));  // op stays out of this section
  active = l;
  if (l->stages) {
    begin_stage(l);
    op(argument);
    if (l->breakpoint) pull(l), l->breakpoint = nullptr, l->stages = 0;  // not reached
  } else {
    trap_flag_on();
    op(argument);
    l->lost = !trap_flag_off() && (l->last == 0 || l->boundaries < l->last);
  }
  active = outer;
#if NESTLOCK_WITH_TSAN
  __tsan_acquire(&l->sync_after);
#endif
  if (set) system_call(SYS_sigaltstack, reinterpret_cast<long>(&before), 0, 0, 0);
}

NESTLOCK_UNSEEN inline bool set_action(const KernelAction* now, KernelAction* before) noexcept {
  return system_call(SYS_rt_sigaction, SIGTRAP, reinterpret_cast<long>(now),
                     reinterpret_cast<long>(before), sizeof now->mask) == 0;
}

// ---- ordinary code -----------------------------------------------------------------------------

// SIGTRAP is ours while one of these lives. Installed past sanitizers' interceptors, which would
// wrap the handler in instrumented code.
class TrapHandler {
 public:
  TrapHandler() {
    const std::lock_guard guard(mutex);
    if (users++) return;
    constexpr unsigned long kRestorer = 0x04000000;
    const KernelAction ours{on_trap, SA_SIGINFO | SA_NODEFER | SA_ONSTACK | kRestorer,
                            nestlock_sweep_restorer, ~kSynchronous};
    if (!set_action(&ours, &former_action)) abort();
  }
  ~TrapHandler() {
    const std::lock_guard guard(mutex);
    if (--users == 0) set_action(&former_action, nullptr);
  }
  TrapHandler(const TrapHandler&) = delete;
  TrapHandler& operator=(const TrapHandler&) = delete;

 private:
  static inline std::mutex mutex;
  static inline unsigned users = 0;
};

// Memory from the system, filled lazily: no allocator is disturbed.
class Pages {
 public:
  explicit Pages(std::size_t size) : size_(size) {
    base_ = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
                 -1, 0);
    if (base_ == MAP_FAILED) abort();
  }
  ~Pages() { munmap(base_, size_); }
  Pages(const Pages&) = delete;
  Pages& operator=(const Pages&) = delete;
  void* base() const { return base_; }
  std::size_t size() const { return size_; }

 private:
  void* base_;
  std::size_t size_;
};

}  // namespace nestlock::testing::internal

#else
#define NESTLOCK_INTERNAL_CAN_STEP 0
#endif
