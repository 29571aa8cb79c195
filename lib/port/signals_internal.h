// What the sources of this folder share: who handles which signal, and the ways between them.
// Rules R1..R11: README.md beside this.
#pragma once

#include <pthread.h>
#include <ucontext.h>

#include <cstring>

#include "kernel_sigaction.h"
#include "nestlock/signals.h"

// Hidden: of several copies in a process each must call its own.
#pragma GCC visibility push(hidden)
namespace nestlock::signals::internal {

using hosted::fence;
using hosted::kRelaxed;
using hosted::self;

// ---- registration: written in task context under its mutex, read by handlers --------------------

inline constexpr int kLastSignal = 64;
extern constinit std::atomic<KernelMask> irq_class, nmi_class;

// What was installed for a signal before us: one of the two is called, or none. Another thread's
// handler may read it while it changes, and then calls what was there before or after.
struct Chained {
  std::atomic<Handler> with_info{nullptr};
  std::atomic<void (*)(int)> plain{nullptr};

  void set(const struct sigaction& was) noexcept;
  void copy(const Chained& other) noexcept;
  void call(int signo, siginfo_t* info, void* uc) const;
};

struct Signal {
  std::atomic<Handler> handler{nullptr};
  Chained next;   // called after ours
  Chained below;  // called if `next` comes back to us: what was there before our first time
  std::atomic<std::uint32_t> running{0};     // of all threads: handlers under way
  std::atomic<std::uint32_t> generation{0};  // registrations ended; what is older is dropped
  std::atomic<bool> sent{false};  // we have queued it to the kernel: it must not find the default
};
extern constinit Signal signal_table[kLastSignal + 1];

constexpr bool is_fault(int signo) noexcept {
  return signo == SIGSEGV || signo == SIGBUS || signo == SIGFPE || signo == SIGILL ||
         signo == SIGTRAP || signo == SIGSYS;
}
// What one instruction does to itself. The kernel does not wait with these: where they are blocked
// it ends the process. So they are never put into a mask of ours.
inline constexpr KernelMask kFaults = mask_of(SIGSEGV) | mask_of(SIGBUS) | mask_of(SIGFPE) |
                                      mask_of(SIGILL) | mask_of(SIGTRAP) | mask_of(SIGSYS);

// The C library's own signals, between the kernel's first real-time signal and its SIGRTMIN: never
// handled nor blocked here.
inline KernelMask c_librarys_own() noexcept {
  constexpr int kKernelsFirst = 32;
  return mask_of(SIGRTMIN) - mask_of(kKernelsFirst);
}

// Whether a trampoline with this frame was called by what is chained to us, not by the kernel. (Below
// the caller's frame: one that was left by a jump says nothing.)
inline bool came_back(const void* context, const void* frame) noexcept {
  return context == self().chained_from.load(kRelaxed) &&
         frame < self().chained_frame.load(kRelaxed);
}

// ---- statistics: handlers leave them behind, so they need a read-modify-write ---------------------

using Count = std::atomic<std::uint64_t>;
struct Counts {
  Count irqs{0}, nmis{0}, softirqs{0}, held_back{0}, requeued{0}, lost{0}, forwarded{0};
};
extern constinit Counts counts;
inline void count(Count& c) noexcept { c.fetch_add(1, kRelaxed); }

// ---- the kernel's frame ---------------------------------------------------------------------------

#if defined(__x86_64__)
// It ends with 8 bytes of mask; the C library's ucontext_t goes on.
inline constexpr std::size_t kContextSize = offsetof(ucontext_t, uc_sigmask) + sizeof(KernelMask);
#else
inline constexpr std::size_t kContextSize = sizeof(ucontext_t);
#endif

// Of a copy that outlives the frame. AArch64: registers for which the frame has no room (SVE's) lie below it on the
// stack, and a record says where: the copy's records end before that one.
inline void forget_what_lies_outside(ucontext_t& uc [[maybe_unused]]) noexcept {
#if defined(__aarch64__)
  auto& records = uc.uc_mcontext.__reserved;
  _aarch64_ctx record{};
  for (std::size_t at = 0; at + sizeof record <= sizeof records; at += record.size) {
    std::memcpy(&record, records + at, sizeof record);
    if (record.size < sizeof record) return;  // the end
    if (record.magic == EXTRA_MAGIC) {
      std::memset(records + at, 0, sizeof record);
      return;
    }
  }
#endif
}

// uc_sigmask has 8 bytes in the kernel's frame and 128 in the C library's: copy 8.
inline KernelMask mask_in(const ucontext_t& uc) noexcept {
  KernelMask m;
  std::memcpy(&m, &uc.uc_sigmask, sizeof m);
  return m;
}
inline void set_mask_in(ucontext_t& uc, KernelMask m) noexcept {
  std::memcpy(&uc.uc_sigmask, &m, sizeof m);
}

// ---- from file to file ----------------------------------------------------------------------------

// handlers.cc: ours and what is chained to it, as a level of its own.
void run_irq(int signo, siginfo_t* info, ucontext_t* uc, std::uintptr_t floor);
void run_nmi(int signo, siginfo_t* info, ucontext_t* uc, std::uintptr_t floor);
void run_softirqs(KernelMask open, bool close) noexcept;
extern constinit std::atomic<void (*)()> softirq_run[kMaxSoftirqs];
void nobody_handles() noexcept;  // the handlers that this thread was in were left
void tell(Finding finding, const char* call, const char* detail, int signo = 0) noexcept;

// slots.cc
void hold_back(int signo, siginfo_t* info, ucontext_t* uc) noexcept;
void replay() noexcept;
void give_to_the_kernel(KernelMask blocked) noexcept;  // what is in this thread's slots of these
void empty_slots(unsigned cpu) noexcept;               // its thread is gone
bool any_in_my_slots() noexcept;
bool send_to(std::uint32_t thread, int signo, const siginfo_t* info) noexcept;

// trampoline.cc
void trampoline(int signo, siginfo_t* info, void* context);
void drop_left_levels(std::uintptr_t here) noexcept;      // which were left by a jump
extern constinit std::atomic<std::uint32_t> only_thread;  // uniprocessor: its thread id; 0: any

// left_levels.cc
bool left_for_deeper(std::uintptr_t here) noexcept;

// signal_mask.cc: see nestlock/signals.h.
void wait_for_irq() noexcept;
int change_mask(int how, const sigset_t* set, sigset_t* old) noexcept;

// engine.cc: what a copy of this library can do for all others of the process.
struct Engine {
  Error (*add)(int signo, Handler handler, bool irq, Calls calls) noexcept;
  Error (*remove)(int signo, const char* call) noexcept;
  void (*wait_for_handlers)(int signo) noexcept;
  bool (*add_softirq)(unsigned nr, void (*run)()) noexcept;
  void (*raise)(unsigned nr) noexcept;
  void (*wait_for_irq)() noexcept;
  void (*drop_left_levels)(std::uintptr_t here) noexcept;
  int (*change_mask)(int how, const sigset_t* set, sigset_t* old) noexcept;
  Stats (*stats)() noexcept;
  void (*forget)(bool (*of_it)(const void*) noexcept) noexcept;
};

// life_cycle.cc: task context, under the registration's mutex.
void set_up_once() noexcept;

// registration.cc: see nestlock/signals.h.
Error add(int signo, Handler handler, bool irq, Calls calls) noexcept;
Error remove(int signo, const char* call) noexcept;
void wait_for_handlers(int signo) noexcept;
bool add_softirq(unsigned nr, void (*run)()) noexcept;
void raise(unsigned nr) noexcept;
Stats count_up_to_now() noexcept;
void forget(bool (*of_it)(const void*) noexcept) noexcept;
void lock_registration_to_fork() noexcept;
void unlock_registration_after_fork() noexcept;

// A thread is not cancelled in a handler that interrupted a section, another handler or one of our
// functions: these cannot be unwound. It ends at its own next cancellation point. Elsewhere a handler
// is left by pthread_exit() and cancellation as any other, hence no noexcept on its way.
class NotCancelled {
 public:
  explicit NotCancelled(bool put_off = true) noexcept : put_off_(put_off) {
    if (put_off_) pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &was_);
  }
  ~NotCancelled() {
    if (put_off_) pthread_setcancelstate(was_, nullptr);
  }
  NotCancelled(const NotCancelled&) = delete;
  NotCancelled& operator=(const NotCancelled&) = delete;

 private:
  const bool put_off_;
  int was_ = 0;
};
inline bool in_section() noexcept {
  return self().soft.load(kRelaxed) | self().held.load(kRelaxed) | self().context.load(kRelaxed) |
         self().preempt.load(kRelaxed) | self().migrate.load(kRelaxed) | self().bh.load(kRelaxed);
}

}  // namespace nestlock::signals::internal
#pragma GCC visibility pop
