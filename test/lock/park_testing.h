// What the tests of the parking word share: a port that counts, and threads that wait.
#pragma once

#include <linux/futex.h>
#include <sched.h>

#include <atomic>
#include <cstdint>
#include <thread>
#include <vector>

#include "nestlock/nestlock.h"

namespace nestlock::test_support {

inline constexpr unsigned kLess = nestlock::internal::kWithTsan ? 5 : 1;  // TSan's atomics are slow

// A word on the hosted port, with waits of its own and its calls of the kernel counted.
template <Parking kP, bool kRequeues = true>
struct CountedPort : HostedPort<configs::smp> {
  static constexpr Parking kParking = kP;
  static inline std::atomic<unsigned> slept{0}, woke{0}, asked{0}, called{0};

  static bool park(const void* word, std::uint32_t expected, std::uint64_t ns) noexcept {
    const bool s = HostedPort::park(word, expected, ns);
    return slept += s, s;
  }
  static void unpark_one(const void* word) noexcept { ++woke, HostedPort::unpark_one(word); }
  static bool any_parked(const void* word) noexcept {
    ++asked;
    return kRequeues ? HostedPort::any_parked(word) : HostedPort::any_parked_by_waking(word);
  }
  static void end_nap(const void* word) noexcept { ++called, HostedPort::end_nap(word); }
  static void forget() { slept = woke = asked = called = 0; }
};
template <class Port>
using WordOn = nestlock::internal::ParkWord<KernelOf<configs::smp, Port>>;

inline constexpr std::uint64_t kMinute = 60'000'000'000;

inline void wait_until(auto condition) {
  while (!condition()) sched_yield();
}

inline unsigned sleepers(const void* word) {
  const auto* const all = reinterpret_cast<const void*>(std::uintptr_t{1000});
  return static_cast<unsigned>(hosted::futex(word, FUTEX_REQUEUE, 0, all, word));
}

// Threads that wait for a word that the caller holds, registered one after the other. (A limit may
// have ended a sleep already.)
template <class Port>
class Waiters {
 public:
  template <class F>
  Waiters(WordOn<Port>& word, unsigned n, F through) {
    Port::forget();
    for (unsigned i = 0; i < n; ++i) {
      threads_.emplace_back([&word, through, i] {
        word.acquire();
        through(i);
        word.release();
      });
      wait_until(
          [&] { return i == 0 ? word.contended() : sleepers(&word) + Port::slept.load() >= i; });
    }
  }
  ~Waiters() {
    for (std::thread& t : threads_) t.join();
  }

 private:
  std::vector<std::thread> threads_;
};

}  // namespace nestlock::test_support
