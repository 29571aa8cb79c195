// LockStat: an observer that counts, for each class of locks, how often they were taken, refused and
// waited for, how long each wait and each section was, and keeps both as histograms.
//
//   using K = KernelOf<kC, HostedPort<kC>, testing::LockStat<>>;
//   BasicSpinLock<K> lock;                                     watched like all locks of K
//   and its for_each(f), when the program is quiet, or roughly
//
// A class is the place where locks were initialised, which debug configurations know; in others
// each lock is one, known by its address. Costs two readings of the clock a section and some atomic
// additions; a kernel without it has none of this, for NullObserver's functions are empty. May be called
// in any context: a handler gives its levels of the stack back before it returns. What is more than
// kClasses or than kDepth locks held at once is counted in lost().
//
// It does not see how long try_lock_for() and ResilientSpinLock's lock(timeout) wait, which are tries to an
// observer, and it does not see a PiMutex, which has none.
#pragma once

#include <time.h>

#include <atomic>
#include <bit>
#include <cstdint>

#include "nestlock/config/annotations.h"
#include "nestlock/port/kernel.h"

namespace nestlock::testing {

// The system's, in ns.
struct MonotonicClock {
  // Any context.
  static std::uint64_t now() noexcept {
    timespec t{};
    clock_gettime(CLOCK_MONOTONIC, &t);
    return static_cast<std::uint64_t>(t.tv_sec) * 1'000'000'000 +
           static_cast<std::uint64_t>(t.tv_nsec);
  }
};

// Durations in ns: bucket b counts those of b bits, so from 2^(b-1) up to 2^b - 1.
struct Durations {
  // The last has all that are longer.
  static constexpr unsigned kBuckets = 40;
  // How many; all of them together; the longest; how many of each length.
  std::atomic<std::uint64_t> count{0}, sum{0}, most{0}, bucket[kBuckets]{};

  // One more. Any context, any number of threads.
  void add(std::uint64_t ns) noexcept {
    constexpr auto kRelaxed = std::memory_order_relaxed;
    count.fetch_add(1, kRelaxed), sum.fetch_add(ns, kRelaxed);
    std::uint64_t seen = most.load(kRelaxed);
    while (ns > seen && !most.compare_exchange_weak(seen, ns, kRelaxed)) {
    }
    const auto bits = static_cast<unsigned>(std::bit_width(ns));
    bucket[bits < kBuckets ? bits : kBuckets - 1].fetch_add(1, kRelaxed);
  }
};

// What is known of a class.
struct LockClass {
  std::atomic<std::uint64_t> id{0};                 // 0: unused
  std::atomic<const char*> file{nullptr};           // where its locks were initialised,
  std::atomic<std::uint32_t> line{0};               // or null,
  std::atomic<const void*> lock{nullptr};           // and one of them
  std::atomic<LockType> type{};                     // which lock they are
  std::atomic<std::uint64_t> tried{0}, refused{0};  // by try_lock(): granted, and not
  Durations wait, hold;                             // of lock() until it had it; of each section
};

// See the top.
template <class Clock = MonotonicClock>
class LockStat {
  static constexpr auto kRelaxed = std::memory_order_relaxed;

 public:
  // How many classes there may be, and locks held at once by a thread.
  static constexpr unsigned kClasses = 256, kDepth = 16;

  // What an Observer is told.
  static void acquiring(const LockRef& l) noexcept { push(l); }
  static void acquired(const LockRef& l, bool by_try) noexcept {
    if (by_try) {
      push(l);
      if (LockClass* const c = class_of(l)) c->tried.fetch_add(1, kRelaxed);
    } else if (Held* const h = find(l.lock)) {
      const std::uint64_t now = Clock::now();
      if (LockClass* const c = class_of(l)) c->wait.add(now - h->since);
      h->since = now;
    }
  }
  static void refused(const LockRef& l) noexcept {
    if (LockClass* const c = class_of(l)) c->refused.fetch_add(1, kRelaxed);
  }
  static void releasing(const LockRef& l) noexcept {
    Held* const h = find(l.lock);
    if (!h) return;
    if (LockClass* const c = class_of(l)) c->hold.add(Clock::now() - h->since);
    h->lock = kGone;
    while (depth_ != 0 && held_[depth_ - 1].lock == kGone) {
      held_[depth_ - 1].lock = nullptr;
      depth_ = depth_ - 1;
    }
  }

  // f(const LockClass&) for each class that was met.
  template <class F>
  static void for_each(F f) {
    for (const LockClass& c : classes_)
      if (c.id.load(std::memory_order_acquire)) f(c);
  }
  // Sections and waits that found no room.
  static std::uint64_t lost() noexcept { return lost_.load(kRelaxed); }

 private:
  NESTLOCK_ONE_COPY static inline constinit std::atomic<std::uint64_t> lost_{0};

  struct Held {
    const void* lock;
    std::uint64_t since;
  };

  // What was given back below others that are still held. Above all that are held stands null, so that
  // a handler that interrupts push() does not take its new level for such a hole.
  static constexpr const void* kGone = &lost_;

  // The level is taken before it is written: a handler that comes between uses those above it.
  static void push(const LockRef& l) noexcept {
    if (depth_ == kDepth) return static_cast<void>(lost_.fetch_add(1, kRelaxed));
    Held& h = held_[depth_];
    depth_ = depth_ + 1;
    std::atomic_signal_fence(std::memory_order_seq_cst);
    h.since = Clock::now();
    h.lock = l.lock;
  }
  static Held* find(const void* lock) noexcept {
    for (unsigned i = depth_; i-- != 0;)
      if (held_[i].lock == lock) return &held_[i];
    return nullptr;
  }
  static LockClass* class_of(const LockRef& l) noexcept {
    const auto address = reinterpret_cast<std::uintptr_t>(l.born.file ? l.born.file : l.lock);
    const std::uint64_t mixed = (address + l.born.line * 0x10001ull) * 0x9e37'79b9'7f4a'7c15;
    const std::uint64_t id = mixed ? mixed : 1;
    for (unsigned i = 0; i < kClasses; ++i) {
      LockClass& c = classes_[((id >> 20) + i) % kClasses];
      std::uint64_t is = c.id.load(kRelaxed);
      if (is == 0 && c.id.compare_exchange_strong(is, id, std::memory_order_acq_rel)) {
        c.file.store(l.born.file, kRelaxed), c.line.store(l.born.line, kRelaxed);
        c.lock.store(l.lock, kRelaxed), c.type.store(l.type, kRelaxed);
        return &c;
      }
      if (is == id) return &c;
    }
    lost_.fetch_add(1, kRelaxed);
    return nullptr;
  }

  NESTLOCK_ONE_COPY static inline constinit LockClass classes_[kClasses]{};
  NESTLOCK_ONE_COPY static inline constinit thread_local Held held_[kDepth]{};
  NESTLOCK_ONE_COPY static inline constinit thread_local volatile unsigned depth_ = 0;
};

}  // namespace nestlock::testing
