// The lock words that are one short struct each. A word is what a lock's state is made of in one
// configuration; all have the same members, and each lock header picks one by a conditional type.
//
//   acquire()      waits; says whether it can ever succeed
//   try_acquire()  one attempt, writes nothing if it fails
//   release()      by the holder
//   held(), contended()   a snapshot, no ordering
//
// The longer ones have a file each: fifo_word.h (SMP), sleep_word.h (PREEMPT_RT).
#pragma once

#include <atomic>
#include <cstdint>

#include "nestlock/config/annotations.h"
#include "nestlock/port/kernel.h"

namespace nestlock::internal {

inline constexpr auto kRelaxed = std::memory_order_relaxed;

// No state: on one CPU, disabled preemption is the whole lock. try_acquire() cannot fail, whoever
// asks: the historic bug, kept where nobody may ask from an interrupting context.
template <Kernel K>
struct NoWord {
  static constexpr bool kSleeps = false;
  SleepResult acquire() noexcept { return tsan_acquire(this), SleepResult::acquired; }
  bool try_acquire() noexcept { return tsan_acquire(this), true; }
  void release() noexcept { tsan_release(this); }
  bool held() const noexcept { return false; }
  bool contended() const noexcept { return false; }
};

// One byte on one CPU, by plain load and store.
//
// Why no atomic read-modify-write is needed: with preemption off, the contexts of one CPU nest
// last-in-first-out, and each gives back what it took before it returns. Say T is interrupted
// between its load (0) and its store (1). The interrupter finds 0, may take the lock, and must
// release it before T goes on: T's store finds the byte as its load found it. If T's load saw 1,
// the holder is a context that T interrupted; it cannot run before T returns, so refusing is the
// truth. After T's store an interrupter sees 1 and is refused. Relaxed order suffices, because both
// sides are one CPU, which sees its own accesses in program order; the signal fences keep the
// compiler from moving the section's accesses out. (A context that leaves a handler by siglongjmp
// breaks the premise; the debug configurations detect it.)
template <Kernel K>
class ByteWord {
 public:
  static constexpr bool kSleeps = false;

  bool try_acquire() noexcept {
    if (held()) return false;
    byte_.store(1, kRelaxed);
    std::atomic_signal_fence(std::memory_order_acquire);
    tsan_acquire(&byte_);  // TSan cannot see order without atomics' order
    return true;
  }
  // A byte that is set was set by a context below this one, which cannot run: waiting is for ever.
  SleepResult acquire() noexcept {
    return try_acquire() ? SleepResult::acquired : SleepResult::deadlock;
  }
  void release() noexcept {
    tsan_release(&byte_);
    std::atomic_signal_fence(std::memory_order_release);
    byte_.store(0, kRelaxed);
  }
  bool held() const noexcept { return byte_.load(kRelaxed) != 0; }
  bool contended() const noexcept { return false; }

 private:
  typename K::Port::template Atomic<std::uint8_t> byte_{0};
};

// One word for all locks of a class, 4 bytes in all: the mail's "one atomic for every pcp lock".
// The argument is ByteWord's; a sibling that is held refuses too, so callers need a fallback.
template <Kernel K, class Class>
class ClassWord {
 public:
  static constexpr bool kSleeps = false;

  bool try_acquire() noexcept {
    if (held()) return false;
    word_.store(1, kRelaxed);
    std::atomic_signal_fence(std::memory_order_acquire);
    tsan_acquire(&word_);
    return true;
  }
  void release() noexcept {
    tsan_release(&word_);
    std::atomic_signal_fence(std::memory_order_release);
    word_.store(0, kRelaxed);
  }
  bool held() const noexcept { return word_.load(kRelaxed) != 0; }
  bool contended() const noexcept { return false; }

 private:
  static inline constinit typename K::Port::template Atomic<std::uint32_t> word_{0};
};

}  // namespace nestlock::internal
