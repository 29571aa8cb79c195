// The lock words that are one short struct each. A word is what a lock's state is made of in one
// configuration; concept LockWord below says what each must have, and each lock header picks one by a
// conditional type. The longer ones have a file each: park_word.h and fifo_word.h (SMP; smp_word.h
// chooses), sleep_word.h (PREEMPT_RT).
#pragma once

#include <atomic>
#include <concepts>
#include <cstdint>

#include "nestlock/config/annotations.h"
#include "nestlock/port/kernel.h"

namespace nestlock::internal {

inline constexpr auto kRelaxed = std::memory_order_relaxed;

// What a lock's state must offer. A word of your own that satisfies it makes a lock by LockCore
// (core.h); docs/your_own_lock_word.md does it in three steps.
//
//   kSleeps        whether acquire() may sleep: then the section is not pinned by preempt_disable()
//   acquire()      waits until the caller holds the word, or says why it never can
//   try_acquire()  one attempt: true if the caller holds it now; else it has written nothing
//   release()      by the holder only
//   held()         whether anyone holds it: a snapshot without ordering
//   contended()    whether anyone waits for it: likewise
//
// acquire() and a try_acquire() that succeeds must be acquire operations, and release() a release
// operation: a section sees all that the section before it did. A word without acquire() can only
// be tried (TryLockWord).
template <class W>
concept TryLockWord = requires(W w, const W c) {
  { W::kSleeps } -> std::convertible_to<bool>;
  { w.try_acquire() } noexcept -> std::same_as<bool>;
  { w.release() } noexcept -> std::same_as<void>;
  { c.held() } noexcept -> std::same_as<bool>;
  { c.contended() } noexcept -> std::same_as<bool>;
};
template <class W>
concept LockWord = TryLockWord<W> && requires(W w) {
  { w.acquire() } noexcept -> std::same_as<SleepResult>;
};

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

// A flag that the contexts of one CPU set and clear by plain load and store.
//
//     0  free        1  held
//
// Why no atomic read-modify-write is needed: with preemption off, the contexts of one CPU nest
// last-in-first-out, and each gives back what it took before it returns. Say T is interrupted
// between its load (0) and its store (1). The interrupter finds 0, may take the lock, and must
// release it before T goes on: T's store finds the flag as its load found it. If T's load saw 1,
// the holder is a context that T interrupted; it cannot run before T returns, so refusing is the
// truth. After T's store an interrupter sees 1 and is refused. Relaxed order suffices, because both
// sides are one CPU, which sees its own accesses in program order; the signal fences keep the
// compiler from moving the section's accesses out. On SMP the store that frees is a release, for
// another CPU that has seen to it that nobody comes, and looks whether somebody is still inside
// (held_acquire()). (A context that leaves a handler by siglongjmp
// breaks the premise; the debug configurations detect it.)
template <Kernel K, class T>
class FlagWord {
 public:
  static constexpr bool kSleeps = false;

  // Inline also where a compiler goes for size: a call is longer than these.
  [[gnu::always_inline]] bool try_acquire() noexcept {
    if (peek<typename K::Port, T>(flag_)) return false;
    flag_.store(1, kRelaxed);
    std::atomic_signal_fence(std::memory_order_acquire);
    tsan_acquire(&flag_);  // TSan cannot see order without atomics' order
    return true;
  }
  // A flag that is set was set by a context that the caller interrupted. It cannot run until the
  // caller returns, so waiting would never end.
  SleepResult acquire() noexcept {
    return try_acquire() ? SleepResult::acquired : SleepResult::deadlock;
  }
  [[gnu::always_inline]] void release() noexcept {
    tsan_release(&flag_);
    std::atomic_signal_fence(std::memory_order_release);
    flag_.store(0, K::kConfig.smp ? std::memory_order_release : kRelaxed);
  }
  bool held() const noexcept { return flag_.load(kRelaxed) != 0; }
  // acquire: pairs with release().
  bool held_acquire() const noexcept { return flag_.load(std::memory_order_acquire) != 0; }
  // Whether trying again is in vain until the caller returns.
  bool hopeless() const noexcept { return held(); }
  bool contended() const noexcept { return false; }

 private:
  typename K::Port::template Atomic<T> flag_{0};
};

// One byte for each lock.
template <Kernel K>
using ByteWord = FlagWord<K, std::uint8_t>;

// One word for all locks of a class, 4 bytes in all: what was proposed on the kernel's mailing list
// as one atomic for the locks of all per-CPU pages. A sibling that is held refuses, too, so callers
// need a fallback; and there is no acquire(), which with a sibling held could never return.
template <Kernel K, class Class>
class ClassWord {
 public:
  static constexpr bool kSleeps = false;
  bool try_acquire() noexcept { return word_.try_acquire(); }
  void release() noexcept { word_.release(); }
  bool held() const noexcept { return word_.held(); }
  bool contended() const noexcept { return false; }

 private:
  NESTLOCK_ONE_COPY static inline constinit FlagWord<K, std::uint32_t> word_{};
};

}  // namespace nestlock::internal
