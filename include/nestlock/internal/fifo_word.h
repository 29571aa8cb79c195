// The SMP lock word: 4 bytes, first come first served.
//
// `locked_` alone is the lock; `next_` and `serving_` are a ticket queue in front of it that only
// orders the waiters. A newcomer that finds the queue empty takes the lock with one compare-
// exchange; otherwise it draws a ticket, waits to be served, and as the head of the queue takes
// `locked_` when it falls free. So an unlock is a plain release store, and a wrap of the one-byte
// tickets (more than 255 waiters) costs order, never exclusion.
//
// Waiting is bounded spinning, then yielding (internal::wait_turn): on a hosted port a holder can
// be preempted. Cost uncontended: one locked instruction and a store, the floor for SMP.
#pragma once

#include <atomic>
#include <cstdint>

#include "nestlock/internal/words.h"

namespace nestlock::internal {

template <Kernel K>
class alignas(4) FifoWord {
 public:
  static constexpr bool kSleeps = false;

  // Fails only if the lock is held or waited for; writes nothing then. The compare-exchange is a
  // strong one, so an interrupt that takes and gives back the lock in between is not a refusal.
  bool try_acquire() noexcept { return !queued() && take(); }

  SleepResult acquire() noexcept {
    if (!try_acquire()) [[unlikely]]
      wait();
    return SleepResult::acquired;
  }

  // release: pairs with the acquire of the next take().
  void release() noexcept { locked_.store(0, std::memory_order_release); }

  bool held() const noexcept { return locked_.load(kRelaxed) != 0; }
  bool contended() const noexcept { return queued(); }

 private:
  // relaxed: a hint about order among waiters; what the section sees is ordered by locked_.
  bool queued() const noexcept { return next_.load(kRelaxed) != serving_.load(kRelaxed); }

  bool take() noexcept {
    std::uint8_t free = 0;
    // acquire: pairs with release(); the section sees all that the last holder did.
    return locked_.load(kRelaxed) == 0 &&
           locked_.compare_exchange_strong(free, 1, std::memory_order_acquire, kRelaxed);
  }

  [[gnu::noinline]] void wait() noexcept {
    unsigned turns = 0;
    const std::uint8_t ticket = next_.fetch_add(1, kRelaxed);
    while (serving_.load(kRelaxed) != ticket) wait_turn<typename K::Port>(turns);
    turns = 0;
    while (!take()) wait_turn<typename K::Port>(turns);
    // Only the head of the queue writes serving_.
    serving_.store(static_cast<std::uint8_t>(ticket + 1), kRelaxed);
  }

  typename K::Port::template Atomic<std::uint8_t> locked_{0}, next_{0}, serving_{0};
};

}  // namespace nestlock::internal
