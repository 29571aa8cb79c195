// PiMutex: a std::timed_mutex whose waiters lend their priority to its owner, in every configuration of
// the hosted port. std::scoped_lock, std::unique_lock and std::condition_variable_any take it.
//
//   nestlock::PiMutex m;                       4 bytes, constinit
//   std::unique_lock held(m, std::chrono::milliseconds(5));
//
// Task context only; sections may sleep. Uncontended one compare-exchange each way, no system call. A
// waiter looks and naps for a bounded time (hosted::PiWaiting), then waits in the kernel, which lends the owner
// its priority and gives the mutex to the waiter of the highest. Both the condition variable and the
// timed forms count by the monotonic clock from Linux 5.14 on.
//
// What std::mutex leaves undefined is reported, in every configuration: lock() by the owner or in a cycle
// of such locks (`deadlock`) and of one whose owner's thread is gone (`owner_gone`) are fatal.
#pragma once

#include <chrono>

#include "nestlock/lock/debug_checks.h"
#include "nestlock/port/hosted.h"

namespace nestlock {

class NESTLOCK_CAPABILITY("PiMutex") PiMutex {
 public:
  constexpr PiMutex() noexcept = default;
  PiMutex(const PiMutex&) = delete;
  PiMutex& operator=(const PiMutex&) = delete;

  // Waits until the caller owns it (acquire order).
  void lock() noexcept NESTLOCK_ACQUIRE() NESTLOCK_NO_TSA { given(lock_.lock(), "lock"); }

  // True = acquired (acquire order); false = held, also by the caller; nothing changed. Never waits.
  [[nodiscard]] bool try_lock() noexcept NESTLOCK_TRY_ACQUIRE(true) { return lock_.try_lock(); }

  // The same, waiting at most so long; counted by the monotonic clock.
  template <class Rep, class Period>
  [[nodiscard]] bool try_lock_for(const std::chrono::duration<Rep, Period>& time) noexcept
      NESTLOCK_TRY_ACQUIRE(true) {
    return try_lock_until(std::chrono::steady_clock::now() + limited(time));
  }

  // The same, until that moment: by steady_clock or system_clock in one wait of the kernel, which follows
  // a clock that is set; by others in turns, so that it follows them.
  template <class Clock, class Duration>
  [[nodiscard]] bool try_lock_until(const std::chrono::time_point<Clock, Duration>& end) noexcept
      NESTLOCK_TRY_ACQUIRE(true) NESTLOCK_NO_TSA {
    namespace c = std::chrono;
    if constexpr (std::is_same_v<Clock, c::steady_clock>) {
      return until(hosted::PiClock::monotonic, end.time_since_epoch());
    } else if constexpr (std::is_same_v<Clock, c::system_clock>) {
      return until(hosted::PiClock::realtime, end.time_since_epoch());
    } else {
      do {
        if (try_lock_for(end - Clock::now())) return true;
      } while (Clock::now() < end);
      return false;
    }
  }

  // By the owner only (release order).
  void unlock() noexcept NESTLOCK_RELEASE() NESTLOCK_NO_TSA { lock_.unlock(); }

 private:
  // A year is for ever, and does not overflow.
  template <class D>
  static std::chrono::nanoseconds limited(const D& time) noexcept {
    constexpr std::chrono::hours kYear(24 * 365);
    if (time >= kYear) return kYear;
    return std::chrono::ceil<std::chrono::nanoseconds>(time);
  }

  template <class D>
  bool until(hosted::PiClock clock, D since_epoch) noexcept {
    namespace c = std::chrono;
    const auto seconds = c::floor<c::seconds>(since_epoch);
    if (seconds.count() < 0) return lock_.try_lock();
    const auto rest = c::ceil<c::nanoseconds>(since_epoch - seconds);
    const timespec end{static_cast<time_t>(seconds.count()), static_cast<long>(rest.count())};
    return given(lock_.lock_until(clock, end), "try_lock_until");
  }

  // Whether the caller owns it now; false: the time is up.
  bool given(SleepResult r, const char* call) noexcept {
    if (r == SleepResult::acquired) [[likely]]
      return true;
    if (r == SleepResult::timeout) return false;
    Report report;
    report.finding = r == SleepResult::owner_died   ? Finding::owner_died
                     : r == SleepResult::owner_gone ? Finding::owner_gone
                                                    : Finding::deadlock;
    report.config = kBuiltConfig;
    report.type = "PiMutex";
    report.call = call;
    report.lock = this;
    report.fatal = r != SleepResult::owner_died;
    using Port = HostedPort<kBuiltConfig>;
    Port::report(report);
    if (report.fatal) internal::die<Port>();
    return true;
  }

  hosted::PiLock lock_;
};

}  // namespace nestlock
