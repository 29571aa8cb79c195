// Hosted port, part 5: a waiter's sleep on a lock's word, by Linux futex.
//
// Nothing here touches the word's memory but the kernel's comparison in park(), which the waiter
// makes while it waits: so the memory may go as soon as nobody waits and the last unlock() has
// stored. (An unpark() that comes late finds an address without sleepers, or wakes a sleeper on a
// new word at that place for nothing.) errno stays as it was; all may be called in a handler.
#pragma once

#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <cstdint>

#include "nestlock/port/hosted_process.h"
#include "nestlock/port/port.h"

namespace nestlock::hosted {

inline long futex(const void* at, int op, std::uint32_t value, const void* limit_or_count,
                  const void* second) noexcept {
  const int saved = errno;
  const long r = syscall(SYS_futex, at, op | FUTEX_PRIVATE_FLAG, value, limit_or_count, second, 0);
  const long result = r == -1 ? -errno : r;
  errno = saved;
  return result;
}
inline timespec to_timespec(std::uint64_t ns) noexcept {
  return {static_cast<time_t>(ns / 1'000'000'000), static_cast<long>(ns % 1'000'000'000)};
}

// Who naps does so on one of a few words of the process, chosen by the lock's address: the lock's
// own changes all the time. Locks may share one, and an end_nap() may come a moment too early; both
// make a nap too short or too long, no more.
inline const std::uint32_t* nap_word(const void* word) noexcept {
  const auto a = reinterpret_cast<std::uintptr_t>(word);
  return &process().nap_words[(a >> 2 ^ a >> 8 ^ a >> 14) % 64];
}

// Starts anew every 71 minutes: a turn is then too long or too short once.
inline std::uint32_t now_us() noexcept {
  timespec t{};
  clock_gettime(CLOCK_MONOTONIC, &t);
  return static_cast<std::uint32_t>(t.tv_sec * 1'000'000 + t.tv_nsec / 1000);
}

// The operations of ParkingPort and TurnPort.
struct Parks {
  static constexpr Parking kParking{};

  static void turn_begins() noexcept { self().turn_us.store(now_us(), kRelaxed); }
  static std::uint32_t turn_us() noexcept { return now_us() - self().turn_us.load(kRelaxed); }

  // A signal (EINTR), also one that is held back in an irq-off section, ends the sleep like a
  // wake-up: who was to be woken next is awake either way.
  static bool park(const void* word, std::uint32_t expected, std::uint64_t limit_ns) noexcept {
    const timespec limit = to_timespec(limit_ns);
    return futex(word, FUTEX_WAIT, expected, &limit, nullptr) != -EAGAIN;
  }
  static void unpark_one(const void* word) noexcept {
    futex(word, FUTEX_WAKE, 1, nullptr, nullptr);
  }
  // Requeueing one sleeper from the word to itself moves and wakes nobody, and counts him.
  static bool any_parked(const void* word) noexcept {
    const auto* const one = reinterpret_cast<const void*>(std::uintptr_t{1});
    const long n = futex(word, FUTEX_REQUEUE, 0, one, word);
    return n >= 0 ? n > 0 : any_parked_by_waking(word);
  }
  // Where a kernel refuses that: who is woken looks for himself.
  static bool any_parked_by_waking(const void* word) noexcept {
    return futex(word, FUTEX_WAKE, 1, nullptr, nullptr) > 0;
  }
  static void nap(const void* word, std::uint64_t ns) noexcept {
    const timespec limit = to_timespec(ns);
    futex(nap_word(word), FUTEX_WAIT, 0, &limit, nullptr);
  }
  static void end_nap(const void* word) noexcept {
    futex(nap_word(word), FUTEX_WAKE, INT_MAX, nullptr, nullptr);
  }
};

}  // namespace nestlock::hosted
