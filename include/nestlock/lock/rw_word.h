// The words of RwSpinLock: a writer's bit, a waiting writer's bit, and the number of readers.
//
// UP: plain loads and stores. The argument is FlagWord's (words.h), for a number: an interrupter
// between a load and a store gives back what it took, so the store finds the word as the load did.
//
// SMP: one compare-exchange to take, one atomic instruction to give back; there is no queue. A
// writer that waits says so by kWaits, and readers that come later let it through, for a bounded
// time: then they go in and clear the bit. So a bit that its writer left behind by a jump, and a
// task that reads inside its own reading, cost that time, and block nobody. Tries do not look at it.
//
// acquire of a taking pairs with the release of each giving back: readers' are read-modify-writes,
// so a writer that finds the number at 0 has acquired from all of them.
#pragma once

#include <atomic>
#include <cstdint>

#include "nestlock/lock/words.h"

namespace nestlock::internal {

// One turn of waiting: looks, then short sleeps where the port has them, so that a holder that was
// preempted gets the processor, whatever its priority.
template <Kernel K>
class RwWait {
  using Port = typename K::Port;
  static constexpr unsigned kLooks = 200, kNaps = 8;  // 10 us .. 1.28 ms: some 2.5 ms in all

 public:
  bool patient() const noexcept { return turns_ < kLooks + kNaps; }
  void turn(const void* word) noexcept {
    ++turns_;
    if constexpr (ParkingPort<Port>) {
      if (turns_ <= kLooks) return Port::pause();
      Port::nap(word, nap_ns_);
      if (nap_ns_ < Port::kParking.longest_nap_ns) nap_ns_ *= 2;
    } else {
      wait_turn<Port>(yields_);
    }
  }

 private:
  unsigned turns_ = 0, yields_ = 0;
  std::uint64_t nap_ns_ = 10'000;
};

// As LockWord for the writer; the same again for readers.
template <Kernel K>
class RwUpWord {
 public:
  static constexpr bool kSleeps = false;

  bool try_acquire() noexcept { return take_if(word_.load(kRelaxed) == 0, kWriter); }
  // Who has it was interrupted by the caller: waiting would never end.
  SleepResult acquire() noexcept {
    return try_acquire() ? SleepResult::acquired : SleepResult::deadlock;
  }
  void release() noexcept { give(0); }

  bool try_acquire_shared() noexcept {
    const std::uint32_t now = word_.load(kRelaxed);
    return take_if(now != kWriter, now + 1);
  }
  SleepResult acquire_shared() noexcept {
    return try_acquire_shared() ? SleepResult::acquired : SleepResult::deadlock;
  }
  void release_shared() noexcept { give(word_.load(kRelaxed) - 1); }

  bool held() const noexcept { return word_.load(kRelaxed) != 0; }
  bool read() const noexcept { return held() && word_.load(kRelaxed) != kWriter; }
  bool contended() const noexcept { return false; }

 private:
  static constexpr std::uint32_t kWriter = ~0u;

  bool take_if(bool free, std::uint32_t then) noexcept {
    if (!free) return false;
    word_.store(then, kRelaxed);
    std::atomic_signal_fence(std::memory_order_acquire);
    tsan_acquire(&word_);
    return true;
  }
  void give(std::uint32_t then) noexcept {
    tsan_release(&word_);
    std::atomic_signal_fence(std::memory_order_release);
    word_.store(then, kRelaxed);
  }
  typename K::Port::template Atomic<std::uint32_t> word_{0};
};

template <Kernel K>
class RwSmpWord {
 public:
  static constexpr bool kSleeps = false;

  // Twice at most: between two failures somebody has had the lock, or has said that he waits for it.
  bool try_acquire() noexcept {
    std::uint32_t now = word_.load(kRelaxed);
    for (int i = 0; i < 2 && !(now & ~kWaits); ++i)
      if (swap(now, kWriter)) return true;
    return false;
  }
  SleepResult acquire() noexcept {
    for (RwWait<K> wait; !try_acquire(); wait.turn(this))
      if (!(word_.load(kRelaxed) & kWaits)) word_.fetch_or(kWaits, kRelaxed);
    return SleepResult::acquired;
  }
  void release() noexcept { word_.fetch_and(~kWriter, std::memory_order_release); }

  // A failed swap is another CPU's success, or a writer that says that he waits.
  bool try_acquire_shared() noexcept {
    std::uint32_t now = word_.load(kRelaxed);
    while (!(now & kWriter))
      if (swap(now, now + 1)) return true;
    return false;
  }
  // An interrupt does not let writers through: it may be on top of a reader that they wait for.
  SleepResult acquire_shared() noexcept {
    const bool lets = K::Port::context() == Context::task;
    for (RwWait<K> wait;;) {
      std::uint32_t now = word_.load(kRelaxed);
      const bool let = lets && wait.patient() && (now & kWaits);
      const std::uint32_t keep = wait.patient() ? ~0u : ~kWaits;
      if (now & kWriter || let)
        wait.turn(this);
      else if (swap(now, (now & keep) + 1))
        return SleepResult::acquired;
    }
  }
  void release_shared() noexcept { word_.fetch_sub(1, std::memory_order_release); }

  bool held() const noexcept { return (word_.load(kRelaxed) & ~kWaits) != 0; }
  bool read() const noexcept { return held() && !(word_.load(kRelaxed) & kWriter); }
  bool contended() const noexcept { return (word_.load(kRelaxed) & kWaits) != 0; }

 private:
  static constexpr std::uint32_t kWriter = 1u << 31, kWaits = 1u << 30;

  bool swap(std::uint32_t& now, std::uint32_t then) noexcept {
    return word_.compare_exchange_strong(now, then, std::memory_order_acquire, kRelaxed);
  }
  typename K::Port::template Atomic<std::uint32_t> word_{0};
};

}  // namespace nestlock::internal
