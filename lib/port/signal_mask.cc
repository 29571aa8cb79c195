// The mask as the program sees it, and sleeping until an irq comes.
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>

#include "signals_internal.h"

namespace nestlock::signals::internal {

void wait_for_irq() noexcept {
  const KernelMask all = irq_class.load(kRelaxed);
  // Really blocked from here, so nothing slips in between the look and the sleep.
  const KernelMask was = real_mask(SIG_BLOCK, all);
  const KernelMask user = was & ~self().added.load(kRelaxed);
  hosted::tsan_irqs_on();
  self().soft.store(0, kRelaxed);
  fence();
  if (self().held.load(kRelaxed)) {
    // Ours to unblock, which replay() does, but for what a handler leaves blocked (R11).
    self().added.fetch_or(all & ~was, kRelaxed);
    replay();
  } else {
    // The irq's softirqs run with irqs on all the same.
    self().waiting.store(all & ~user, kRelaxed);
    syscall(SYS_rt_sigsuspend, &user, sizeof user);
    self().waiting.store(0, kRelaxed);
    real_mask(SIG_UNBLOCK, (was | all) & ~user);  // the rest is as its handler has left it
  }
  hosted::irq_save();
}

int change_mask(int how, const sigset_t* set, sigset_t* old) noexcept {
  if (set && how != SIG_BLOCK && how != SIG_UNBLOCK && how != SIG_SETMASK) return EINVAL;
  const KernelMask everything = ~KernelMask{0};
  const KernelMask real = real_mask(SIG_BLOCK, everything);  // no handler between the steps
  const KernelMask added = self().added.load(kRelaxed);
  KernelMask logical = real & ~added;
  if (old) {
    *old = {};
    std::memcpy(old, &logical, sizeof logical);
  }
  if (set) {
    KernelMask s;
    std::memcpy(&s, set, sizeof s);
    s &= ~c_librarys_own();
    if (how == SIG_BLOCK) logical |= s;
    if (how == SIG_UNBLOCK) logical &= ~s;
    if (how == SIG_SETMASK) logical = s;
  }
  if (set && added) give_to_the_kernel(logical);
  // While something is held back the irq class stays blocked; what of it the program does not want
  // blocked is ours to unblock.
  const KernelMask ours = added ? irq_class.load(kRelaxed) & ~logical : 0;
  self().added.store(ours, kRelaxed);
  if (set) hosted::tsan_blocks_change();
  real_mask(SIG_SETMASK, logical | ours);
  return 0;
}

}  // namespace nestlock::signals::internal
