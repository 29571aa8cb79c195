// A thread's end, and fork().
#include <sys/syscall.h>
#include <unistd.h>

#include "signals_internal.h"

namespace nestlock::signals::internal {
namespace {

// Before the thread's virtual CPU is given back: no signal of ours may use it from here on. Returns
// what was blocked for that, and is unblocked when the CPU is another's: a thread that is made by a
// later exit hook would be born with it. (ThreadSanitizer's own state of the thread goes as well.)
KernelMask before_cpu_is_given_back() noexcept {
  // Nobody returns to what was left by a jump or by pthread_exit(), and a section ends with its
  // thread.
  if (kBuiltConfig.debug) HostedPort<kBuiltConfig>::close_at_threads_end();
  self().context.store(0, kRelaxed);
  self().preempt.store(0, kRelaxed);
  self().migrate.store(0, kRelaxed);
  self().levels.store(0, kRelaxed);
  self().bh.store(0, kRelaxed);
  nobody_handles();
  if (self().softirqs.load(kRelaxed)) self().held.store(1, kRelaxed);
  const KernelMask all = (irq_class.load(kRelaxed) | nmi_class.load(kRelaxed)) & ~kFaults;
  KernelMask user;
  for (;;) {
    const KernelMask was = real_mask(SIG_BLOCK, all);
    user = was & ~self().added.load(kRelaxed);
    if (!self().held.load(kRelaxed)) break;
    self().added.fetch_or(all & ~was, kRelaxed);
    replay();  // unblocks what is ours: once more
  }
  self().soft.store(0, kRelaxed);
  self().depth.store(0, kRelaxed);
  hosted::tsan_end_levels();
  return nestlock::internal::kWithTsan ? 0 : all & ~user;
}

// At the end of a uniprocessor's one thread the next that is asked becomes it.
void after_cpu_was_given_back(KernelMask blocked) noexcept {
  if (std::uint32_t me = hosted::thread_id(); only_thread.load(kRelaxed) == me)
    only_thread.compare_exchange_strong(me, 0, kRelaxed);
  if (blocked) real_mask(SIG_UNBLOCK, blocked);
}

// With a virtual CPU it has an exit hook, too: a process's first thread takes signals after its end.
void become_the_one() noexcept {
  only_thread.store(hosted::thread_id(), kRelaxed);
  hosted::cpu_id();
}

// What was held back before the fork is the parent's; `held` stays, so that the child's restore
// unmasks (R10). The child is a thread with another id.
void in_forked_child() noexcept {
  hosted::tsan_merge_levels(true);
  if (const std::uint32_t cpu = self().cpu.load(kRelaxed)) empty_slots(cpu - 1);
  if (only_thread.load(kRelaxed)) become_the_one();
  for (Signal& s : signal_table) s.running.store(0, kRelaxed);
  for (int signo = 1; signo <= kLastSignal; ++signo)
    if (self().handled.load(kRelaxed) & mask_of(signo)) signal_table[signo].running.store(1);
}

constinit hosted::OfflineHook slots_hook{
    nullptr, nullptr, [](hosted::OfflineHook&, unsigned cpu) noexcept { empty_slots(cpu); }};

constinit bool was_set_up = false;  // changed by who has the registration's mutex

}  // namespace

void set_up_once() noexcept {
  hosted::tsan_create_levels();
  if (!was_set_up) {
    was_set_up = true;
    // No registration is half done in a child.
    pthread_atfork(lock_registration_to_fork, unlock_registration_after_fork,
                   unlock_registration_after_fork);
    hosted::on_cpu_offline(slots_hook);
  }
  // release: pairs with the acquire where they are called.
  hosted::process().forked_hook.store(in_forked_child, std::memory_order_release);
  hosted::process().thread_over_hook.store(after_cpu_was_given_back, std::memory_order_release);
  hosted::process().replay_hook.store(replay, std::memory_order_release);
  hosted::process().all_left_hook.store(nobody_handles, std::memory_order_release);
  if (kBuiltConfig.debug && !nestlock::internal::kWithTsan)
    hosted::process().left_hook.store(left_for_deeper, std::memory_order_release);
  hosted::process().thread_exit_hook.store(before_cpu_is_given_back, std::memory_order_release);
  if (!kBuiltConfig.smp && !only_thread.load(kRelaxed)) become_the_one();
}

}  // namespace nestlock::signals::internal
