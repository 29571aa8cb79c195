// The trampoline: what the kernel calls for every signal that is registered.
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>

#include "signals_internal.h"

namespace nestlock::signals::internal {

constinit std::atomic<KernelMask> irq_class{0}, nmi_class{0};
constinit std::atomic<std::uint32_t> only_thread{0};

namespace {

// The lowest address of the alternate stack if `frame` lies on it, else 0.
std::uintptr_t stack_floor(const void* frame, const ucontext_t& uc) noexcept {
  const auto f = reinterpret_cast<std::uintptr_t>(frame);
  const auto low = reinterpret_cast<std::uintptr_t>(uc.uc_stack.ss_sp);
  return low && f >= low && f - low < uc.uc_stack.ss_size ? low : 0;
}

// Uniprocessor: the kernel may give a signal of the process to any thread; only one may use the
// library. When that thread has ended, whoever gets the next signal is the one.
bool forward(int signo, siginfo_t* info) noexcept {
  if (kBuiltConfig.smp || is_fault(signo)) return false;
  std::uint32_t one = only_thread.load(kRelaxed);
  if (!one || hosted::thread_id() == one) return false;
  siginfo_t sent = *info;
  if (sent.si_code >= 0 || sent.si_code == SI_TKILL) sent.si_code = SI_QUEUE;  // else EPERM
  if (send_to(one, signo, &sent)) {
    count(counts.forwarded);
    return true;
  }
  if (errno == ESRCH && only_thread.compare_exchange_strong(one, hosted::thread_id(), kRelaxed))
    return false;
  count(counts.forwarded);
  count(counts.lost);
  return true;
}

// The class can be open in a handler: it opened it itself (ppoll() with a mask, say), or the class
// grew while it ran. What arrived there was held back, and if the handler interrupted an unmasked
// place no irq_restore() will look: left so, (soft 0, held 1) would mask for ever (R2).
void look_again() noexcept {
  if (self().held.load(kRelaxed)) replay();
}

// Where the interrupted code's stack ends, or, where that is not known, something below it.
std::uintptr_t interrupted_stack(const void* frame [[maybe_unused]],
                                 const ucontext_t& uc [[maybe_unused]]) noexcept {
#if defined(__x86_64__)
  return static_cast<std::uintptr_t>(uc.uc_mcontext.gregs[REG_RSP]);
#elif defined(__aarch64__)
  return uc.uc_mcontext.sp;
#else
  return reinterpret_cast<std::uintptr_t>(frame);
#endif
}

}  // namespace

void drop_left_levels(std::uintptr_t here) noexcept {
  bool any = false;
  for (; hosted::drop_left_level(here); any = true)
    if (kBuiltConfig.debug) tell(Finding::holder_abandoned, "handler", nullptr);
  if (any) hosted::look_after_a_jump();
}

[[gnu::noinline]] void trampoline(int signo, siginfo_t* info, void* context) {
  const int saved = errno;
  auto* const uc = static_cast<ucontext_t*>(context);
  const void* const frame = __builtin_frame_address(0);
  const bool chained = came_back(context, frame);
  if (!chained && self().levels.load(kRelaxed)) drop_left_levels(interrupted_stack(frame, *uc));
  const NotCancelled whole(in_section());
  const KernelMask nmi = nmi_class.load(kRelaxed) & mask_of(signo);
  const Signal& s = signal_table[signo];
  if (chained) {
    s.below.call(signo, info, context);  // ours again, by way of what is chained to us
  } else if (!nmi && !(irq_class.load(kRelaxed) & mask_of(signo))) {
    s.next.call(signo, info, context);  // unregistered, but chained to by a later one
  } else if (forward(signo, info)) {
  } else if (nmi) {
    run_nmi(signo, info, uc, stack_floor(frame, *uc));
  } else if (self().soft.load(kRelaxed) | self().held.load(kRelaxed)) {
    hold_back(signo, info, uc);  // held counts: a direct run would overtake a slot (R6)
  } else {
    const KernelMask user = mask_in(*uc) & ~self().waiting.load(kRelaxed);
    const KernelMask open = irq_class.load(kRelaxed) & ~user;
    self().soft.store(1, kRelaxed);
    run_irq(signo, info, uc, stack_floor(frame, *uc));
    run_softirqs(open, /*close=*/true);
    self().soft.store(0, kRelaxed);
    fence();
    look_again();
  }
  errno = saved;
}

}  // namespace nestlock::signals::internal
