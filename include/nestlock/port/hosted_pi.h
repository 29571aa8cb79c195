// Hosted port, part 3: a four-byte priority-inheriting lock on Linux PI futexes.
//
// The word is the kernel's: owner's thread id | FUTEX_WAITERS | FUTEX_OWNER_DIED. Uncontended it
// is one compare-exchange each way and no system call. Waiting: a bounded spin, then a bounded
// number of yields, then the kernel, whose queue is by priority and lends the waiter's priority to
// the owner. Once one waiter is in the kernel every hand-over is a system call each way, so not
// entering it is worth the bound; it delays inheritance by the bound only. Where the kernel refuses (one
// without PI futexes, a sandbox, no memory) waiters look every 100 us instead, and lend no priority.
#pragma once

#include <linux/futex.h>
#include <sched.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>

#include "nestlock/config/annotations.h"
#include "nestlock/port/hosted_cpu.h"
#include "nestlock/port/port.h"

namespace nestlock::hosted {

// What lock_until() counts by.
enum class PiClock : std::uint8_t { realtime, monotonic };

class PiLock {
 public:
  constexpr PiLock() noexcept = default;
  PiLock(const PiLock&) = delete;
  PiLock& operator=(const PiLock&) = delete;

  SleepResult lock() noexcept {
    const std::uint32_t me = thread_id();
    if (take(me)) [[likely]]
      return SleepResult::acquired;
    return lock_slow(me, PiClock::realtime, nullptr);
  }

  // The same until that moment by that clock, or a little later; it is looked at only when the lock is
  // held. The wait lends its priority to the owner as lock() does. A kernel older than Linux 5.14 knows
  // CLOCK_REALTIME alone: there the time that is left is counted by that from each try on.
  SleepResult lock_until(PiClock clock, const timespec& end) noexcept {
    const std::uint32_t me = thread_id();
    if (take(me)) [[likely]]
      return SleepResult::acquired;
    return lock_slow(me, clock, &end);
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

  static timespec now(PiClock clock) noexcept {
    timespec t{};
    clock_gettime(clock == PiClock::monotonic ? CLOCK_MONOTONIC : CLOCK_REALTIME, &t);
    return t;
  }
  static bool reached(PiClock clock, const timespec& end) noexcept {
    const timespec t = now(clock);
    return t.tv_sec != end.tv_sec ? t.tv_sec > end.tv_sec : t.tv_nsec >= end.tv_nsec;
  }

  // FUTEX_LOCK_PI2 (13) counts by either clock, FUTEX_LOCK_PI by CLOCK_REALTIME.
  long futex_lock(PiClock clock, const timespec* end) noexcept {
    constexpr int kLockPi2 = 13;
    const int by = clock == PiClock::realtime ? FUTEX_CLOCK_REALTIME : 0;
    const long r =
        syscall(SYS_futex, &word_, kLockPi2 | by | FUTEX_PRIVATE_FLAG, 0, end, nullptr, 0);
    if (r != -1 || errno != ENOSYS) return r;
    if (!end || clock == PiClock::realtime)
      return syscall(SYS_futex, &word_, FUTEX_LOCK_PI_PRIVATE, 0, end, nullptr, 0);
    const timespec from = now(clock), real = now(PiClock::realtime);
    timespec at{real.tv_sec + (end->tv_sec - from.tv_sec),
                real.tv_nsec + (end->tv_nsec - from.tv_nsec)};
    if (at.tv_nsec < 0) at.tv_nsec += 1'000'000'000, at.tv_sec -= 1;
    if (at.tv_nsec >= 1'000'000'000) at.tv_nsec -= 1'000'000'000, at.tv_sec += 1;
    return syscall(SYS_futex, &word_, FUTEX_LOCK_PI_PRIVATE, 0, &at, nullptr, 0);
  }

  // `end`: of the waiting; null: none.
  [[gnu::noinline]] SleepResult lock_slow(std::uint32_t me, PiClock clock,
                                          const timespec* end) noexcept {
    const std::uint32_t pauses = process().pi_waiting.pauses.load(kRelaxed);
    const std::uint32_t turns = pauses + process().pi_waiting.yields.load(kRelaxed);
    for (std::uint32_t i = 0; i < turns; ++i) {  // before any waiter has registered; never past one
      const std::uint32_t w = word_.load(kRelaxed);
      if (!w) {
        if (take(me)) return SleepResult::acquired;
      } else if ((w & FUTEX_WAITERS) || (w & FUTEX_TID_MASK) == me) {
        break;
      }
      // By what a look costs: a yield may take long, 64 pauses do not.
      if (end && (i >= pauses || i % 64 == 0) && reached(clock, *end)) break;
      if (i < pauses)
        spin_hint();
      else
        sched_yield();
    }
    const int saved = errno;
    for (;;) {
      if (held_by_caller()) return SleepResult::deadlock;  // we, or the context we interrupted
      process().pi_lock_entries.fetch_add(1, kRelaxed);
      const long r = futex_lock(clock, end);
      const int e = r == -1 ? errno : 0;
      errno = saved;
      if (e == EAGAIN || e == EINTR) continue;  // the owner is exiting: once more
      if (e == ETIMEDOUT) return SleepResult::timeout;
      if (e == EDEADLK) return SleepResult::deadlock;
      if (e) {  // ESRCH: the owner is gone without a trace
        if (e == ESRCH || owner_is_gone()) return SleepResult::owner_gone;
        // The kernel has no such lock (ENOSYS), no memory for one, or was told to refuse it.
        if (take(me)) return SleepResult::acquired;
        if (end && reached(clock, *end)) return SleepResult::timeout;
        look_again_later();
        continue;
      }
      nestlock::internal::tsan_acquire(&word_);
      // acquire: the hand-over was the kernel's; its word is all that we can order against.
      if (!(word_.load(std::memory_order_acquire) & FUTEX_OWNER_DIED)) return SleepResult::acquired;
      word_.fetch_and(~std::uint32_t{FUTEX_OWNER_DIED}, kRelaxed);
      return SleepResult::owner_died;
    }
  }

  // Where the kernel does not wait for us, it does not look for the owner either. One that gave the lock back
  // and ended meanwhile is not in the word any more: that is read again, behind the question.
  bool owner_is_gone() const noexcept {
    const std::uint32_t who = owner();
    const int saved = errno;
    const bool gone = who && syscall(SYS_tgkill, getpid(), who, 0) == -1 && errno == ESRCH;
    errno = saved;
    return gone && owner() == who;
  }
  static void look_again_later() noexcept {
    constexpr timespec kShort{0, 100'000};
    clock_nanosleep(CLOCK_MONOTONIC, 0, &kShort, nullptr);  // does not touch errno
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
