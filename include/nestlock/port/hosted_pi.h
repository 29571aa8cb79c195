// Hosted port, part 3: a four-byte priority-inheriting lock on Linux PI futexes.
//
// The word is the kernel's: owner's thread id | FUTEX_WAITERS | FUTEX_OWNER_DIED. Uncontended it
// is one compare-exchange each way and no system call. Waiting: a bounded spin, then a bounded
// number of yields, then the kernel, whose queue is by priority and lends the waiter's priority to
// the owner. Once one waiter is in the kernel every hand-over is a system call each way, so not
// entering it is worth the bound; it delays inheritance by the bound only.
#pragma once

#include <linux/futex.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>

#include "nestlock/config/annotations.h"
#include "nestlock/port/hosted_cpu.h"
#include "nestlock/port/port.h"

namespace nestlock::hosted {

class PiLock {
 public:
  constexpr PiLock() noexcept = default;
  PiLock(const PiLock&) = delete;
  PiLock& operator=(const PiLock&) = delete;

  SleepResult lock() noexcept {
    const std::uint32_t me = thread_id();
    if (take(me)) [[likely]]
      return SleepResult::acquired;
    return lock_slow(me);
  }

  // Never calls FUTEX_TRYLOCK_PI on a held lock: the kernel would set the waiters bit and then
  // fail, so a losing try would change the lock and send the owner's unlock into the kernel.
  bool try_lock() noexcept {
    if (take(thread_id())) [[likely]]
      return true;
    const std::uint32_t w = word_.load(kRelaxed);
    if ((w & FUTEX_TID_MASK) || !(w & FUTEX_OWNER_DIED)) return false;
    const int saved = errno;
    const bool got = futex(FUTEX_TRYLOCK_PI) == 0;
    errno = saved;
    if (got) word_.fetch_and(~std::uint32_t{FUTEX_OWNER_DIED}, kRelaxed);
    if (got) nestlock::internal::tsan_acquire(&word_);
    return got;
  }

  void unlock() noexcept {
    std::uint32_t me = thread_id();
    // release: pairs with the acquire of the next owner's take().
    if (word_.compare_exchange_strong(me, 0, std::memory_order_release, kRelaxed)) [[likely]]
      return;
    // In a forked child: what it took as its parent's thread. No waiter came along.
    if (const std::uint32_t was = self().was_tid.load(kRelaxed);
        was && (me & FUTEX_TID_MASK) == was)
      return word_.store(0, std::memory_order_release);
    nestlock::internal::tsan_release(&word_);  // the kernel hands over; TSan cannot see it
    const int saved = errno;
    futex(FUTEX_UNLOCK_PI);  // fails only if not ours; the debug forms have reported that
    errno = saved;
  }

  bool is_locked() const noexcept { return word_.load(kRelaxed) != 0; }
  bool is_contended() const noexcept { return word_.load(kRelaxed) & FUTEX_WAITERS; }
  bool held_by_caller() const noexcept {
    const std::uint32_t who = owner();
    return who == thread_id() || (who && who == self().was_tid.load(kRelaxed));
  }
  // The owner's thread id, 0 = nobody.
  std::uint32_t owner() const noexcept { return word_.load(kRelaxed) & FUTEX_TID_MASK; }

 private:
  bool take(std::uint32_t me) noexcept {
    std::uint32_t none = 0;
    // acquire: pairs with the release of unlock(). Strong: a try may fail only if the lock is held.
    return word_.compare_exchange_strong(none, me, std::memory_order_acquire, kRelaxed);
  }

  long futex(int op) noexcept {
    return syscall(SYS_futex, &word_, op | FUTEX_PRIVATE_FLAG, 0, nullptr, nullptr, 0);
  }

  [[gnu::noinline]] SleepResult lock_slow(std::uint32_t me) noexcept {
    const std::uint32_t pauses = process().pi_waiting.pauses.load(kRelaxed);
    const std::uint32_t turns = pauses + process().pi_waiting.yields.load(kRelaxed);
    for (std::uint32_t i = 0; i < turns; ++i) {  // before any waiter has registered; never past one
      const std::uint32_t w = word_.load(kRelaxed);
      if (!w) {
        if (take(me)) return SleepResult::acquired;
      } else if ((w & FUTEX_WAITERS) || (w & FUTEX_TID_MASK) == me) {
        break;
      }
      if (i < pauses)
        spin_hint();
      else
        sched_yield();
    }
    const int saved = errno;
    for (;;) {
      if (held_by_caller()) return SleepResult::deadlock;  // we, or the context we interrupted
      process().pi_lock_entries.fetch_add(1, kRelaxed);
      long r = futex(13 /* FUTEX_LOCK_PI2, Linux 5.14; the same without a timeout */);
      if (r == -1 && errno == ENOSYS) r = futex(FUTEX_LOCK_PI);
      const int e = r == -1 ? errno : 0;
      errno = saved;
      if (e == EAGAIN || e == EINTR) continue;  // the owner is exiting: once more
      if (e == EDEADLK) return SleepResult::deadlock;
      if (e) return SleepResult::owner_gone;  // ESRCH: gone without a trace; EPERM: another process
      nestlock::internal::tsan_acquire(&word_);
      // acquire: the hand-over was the kernel's; its word is all that we can order against.
      if (!(word_.load(std::memory_order_acquire) & FUTEX_OWNER_DIED)) return SleepResult::acquired;
      word_.fetch_and(~std::uint32_t{FUTEX_OWNER_DIED}, kRelaxed);
      return SleepResult::owner_died;
    }
  }

  static void spin_hint() noexcept;

  Word word_{0};
};
static_assert(sizeof(PiLock) == 4);

inline void pause() noexcept {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__) || defined(__arm__)
  asm volatile("yield");
#else
  asm volatile("" ::: "memory");
#endif
}
inline void PiLock::spin_hint() noexcept { pause(); }

}  // namespace nestlock::hosted
