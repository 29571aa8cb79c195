// The SMP lock word where the port cannot park a waiter (bare metal): 4 bytes, first come first
// served. There nobody takes a holder's CPU away; where somebody does, park_word.h is for it.
//
// `locked_` alone is the lock; `queue_` is a ticket queue in front of it that only orders the
// waiters. A newcomer that finds the queue empty takes the lock with one compare-exchange;
// otherwise it draws a ticket, waits to be served, and as the head of the queue takes `locked_`
// when it falls free. So an unlock is a plain release store.
//
// Tickets are bytes: the 256th waiter waits for one, and has no place in the order until then. (Two
// waiters with the same number would both serve its successor, and numbers skipped or served twice
// leave waiters behind for ever.)
//
// Waiting is spinning, and in a port with yield() yielding (internal::wait_turn). Cost uncontended:
// one locked instruction and a store, the floor for SMP.
#pragma once

#include <atomic>
#include <cstdint>

#include "nestlock/lock/words.h"

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
  // queue_: the next ticket in the low byte, the one being served in the high byte. One word, so
  // that "is there a number left" and "draw it" are one step.
  static constexpr std::uint8_t next(std::uint16_t q) noexcept { return q & 0xff; }
  static constexpr std::uint8_t serving(std::uint16_t q) noexcept { return q >> 8; }
  static constexpr std::uint16_t kServeNext = 0x100;  // added: wraps off the top

  // relaxed, here and below: order among waiters; what the section sees is ordered by locked_.
  bool queued() const noexcept {
    const std::uint16_t q = queue_.load(kRelaxed);
    return next(q) != serving(q);
  }

  bool take() noexcept {
    std::uint8_t free = 0;
    // acquire: pairs with release(); the section sees all that the last holder did.
    return locked_.load(kRelaxed) == 0 &&
           locked_.compare_exchange_strong(free, 1, std::memory_order_acquire, kRelaxed);
  }

  [[gnu::noinline]] void wait() noexcept {
    using Port = typename K::Port;
    unsigned turns = 0;
    const std::uint8_t ticket = draw();
    while (serving(queue_.load(kRelaxed)) != ticket) wait_turn<Port>(turns);
    turns = 0;
    while (!take()) wait_turn<Port>(turns);
    queue_.fetch_add(kServeNext, kRelaxed);  // only by the head of the queue
  }

  std::uint8_t draw() noexcept {
    unsigned turns = 0;
    std::uint16_t q = queue_.load(kRelaxed);
    for (;;) {
      const std::uint8_t after = next(q) + 1;
      if (after == serving(q)) {  // all in use: it would look empty
        wait_turn<typename K::Port>(turns);
        q = queue_.load(kRelaxed);
      } else if (queue_.compare_exchange_weak(q, (q & 0xff00) | after, kRelaxed, kRelaxed)) {
        return next(q);
      }
    }
  }

  template <class T>
  using Atomic = typename K::Port::template Atomic<T>;
  Atomic<std::uint8_t> locked_{0};
  Atomic<std::uint16_t> queue_{0};
};

}  // namespace nestlock::internal
