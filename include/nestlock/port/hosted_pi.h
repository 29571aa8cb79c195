// Hosted port, part 3: a four-byte priority-inheriting lock on Linux PI futexes.
//
// The word is the kernel's: owner's thread id | FUTEX_WAITERS | FUTEX_OWNER_DIED. Uncontended it
// is one compare-exchange each way and no system call. Waiting: looks with growing pauses between
// them, a sleep until it is the waiter's turn (hosted_pi_turn.h), a yield, short naps, then the kernel, whose
// queue is by priority and lends the waiter's priority to the owner. Each is bounded. Once a waiter is in the
// kernel the hand-over is a system call each way, so not entering it is worth the bounds. Only real-time policies
// lend: who has one goes from the looks to the kernel at once. A waiter without one, to whom a real-time thread has
// lent its priority for another lock, passes that on once the kernel knows it, some 15 ms later at most. Where the
// kernel refuses (one without PI futexes, a sandbox, no memory) waiters look every 100 us instead, and
// lend no priority.
//
// The pauses between looks begin with four, some 100 ns, and double: a waiter that looks at once and again and again
// takes the word's cache line from an owner that would give the lock back and take it again, and all threads together
// then get less done than one of them.
#pragma once

#include <linux/futex.h>
#include <sched.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>

#include "nestlock/config/annotations.h"
#include "nestlock/port/hosted_cpu.h"
#include "nestlock/port/hosted_park.h"
#include "nestlock/port/hosted_pi_turn.h"
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
  static bool reached(PiClock clock, const timespec& end, std::uint64_t ahead_ns = 0) noexcept {
    const timespec t = later(now(clock), ahead_ns);
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

  enum class Look : std::uint8_t { taken, held, asked, in_vain };

  // Asked: the kernel knows of waiters, or has given the lock to one. In vain: the caller holds it.
  Look look(std::uint32_t me) noexcept {
    const std::uint32_t w = word_.load(kRelaxed);
    if (!w) return take(me) ? Look::taken : Look::held;
    if ((w & FUTEX_TID_MASK) == me) return Look::in_vain;
    return w & FUTEX_WAITERS ? Look::asked : Look::held;
  }

  // The looks that nobody has to wait for.
  bool looks(std::uint32_t me, PiClock clock, const timespec* end) noexcept {
    constexpr std::uint32_t kFirstPauses = 4, kMostPauses = 512;
    std::uint32_t pauses = process().pi_waiting.pauses.load(kRelaxed);
    bool lends_nothing = false;
    for (std::uint32_t some = kFirstPauses; pauses > 0;) {
      const Look l = look(me);
      if (l == Look::taken || l == Look::in_vain) return l == Look::taken;
      // Among waiters of the kernel's a priority counts.
      if (l == Look::asked && !lends_nothing && !(lends_nothing = !real_time())) return false;
      if (end && reached(clock, *end)) return false;
      if (some > pauses) some = pauses;
      for (std::uint32_t i = 0; i < some; ++i) spin_hint();
      pauses -= some;
      if (some < kMostPauses) some *= 2;
    }
    return false;
  }

  // All else that is done before the kernel is asked, by who has no priority to lend.
  bool in_turn(PiTurn& turn, std::uint32_t me, PiClock clock, const timespec* end) noexcept {
    constexpr std::uint32_t kLooksBehindATurn = 4, kPausesBetween = 16;
    constexpr std::uint64_t kFirstNap_ns = 50'000, kLongestNap_ns = 400'000;
    const PiWaiting& waiting = process().pi_waiting;
    std::uint32_t yields = waiting.yields.load(kRelaxed), naps = waiting.naps.load(kRelaxed);
    if (!(yields || naps) || held_by_caller() || real_time()) return false;
    const timespec latest = PiTurn::latest();
    do {
      // The kernel is better at waiting for a moment that is near.
      if (end && reached(clock, *end, PiTurn::longest_ns())) return false;
    } while (!turn.leads_or_sleeps(latest));
    for (std::uint64_t nap_ns = kFirstNap_ns; yields || naps;) {
      for (std::uint32_t i = 0; i < kLooksBehindATurn; ++i) {
        for (std::uint32_t k = 0; i && k < kPausesBetween; ++k) spin_hint();
        const Look l = look(me);
        if (l == Look::taken || l == Look::in_vain) return l == Look::taken;
      }
      if (end && reached(clock, *end, yields ? 0 : nap_ns)) return false;
      if (yields) {
        --yields, turn.yield();
      } else {
        --naps, Parks::nap(&word_, nap_ns);
        if (nap_ns < kLongestNap_ns) nap_ns *= 2;
      }
    }
    return false;
  }

  // By the caller's own policy. What it was lent does not show here.
  static bool real_time() noexcept {
    const int saved = errno;
    const long policy = syscall(SYS_sched_getscheduler, 0);  // musl's function only refuses
    errno = saved;
    constexpr long kResetOnFork = 0x40000000, kDeadline = 6;  // SCHED_DEADLINE
    const long kind = policy & ~kResetOnFork;
    return policy >= 0 && (kind == SCHED_FIFO || kind == SCHED_RR || kind == kDeadline);
  }

  // `end`: of the waiting; null: none.
  [[gnu::noinline]] SleepResult lock_slow(std::uint32_t me, PiClock clock,
                                          const timespec* end) noexcept {
    PiTurn turn(&word_);
    if (!turn.is_over() && looks(me, clock, end)) return SleepResult::acquired;
    const bool taken = in_turn(turn, me, clock, end);
    PiTurn::begins();
    if (taken) return SleepResult::acquired;
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
        Parks::nap(&word_, kRefused_ns);
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
  static constexpr std::uint64_t kRefused_ns = 100'000;  // between looks, where the kernel refuses

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
