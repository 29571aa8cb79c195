// Which resilient locks a CPU's contexts hold, and which one the innermost of them waits for: by this
// a waiter finds that the owner of what it wants waits for what it has (resilient_word.h).
//
//   held    the first `count` entries, the latest last; an entry is made behind the taking of the lock
//           and removed before the giving back, so each is of a lock that is held: its memory lives
//   wants   the lock that the innermost waiter of the CPU waits for; null: nobody waits, or the three
//           are being changed
//   below   so many entries were there when it began to wait: it, and what it interrupted, hold them,
//           and cannot give one back while it waits
//   turn    counts the changes
//
// `held` and `count` are written by the CPU's own contexts, by plain stores: an interrupter puts back
// what it found before it returns. So `count` goes up before the entry is made, and down behind its
// removal, and an entry at or above `count` is null. What others read, they read below `below`, where
// nothing changes while the waiter waits.
//
// What can be missing is the lock that is being taken or given back at the very moment: then no cycle is
// seen here; the other side sees it, or the time is up. What cannot be is a cycle that was not there.
#pragma once

#include <atomic>
#include <cstdint>

#include "nestlock/lock/words.h"

namespace nestlock::internal {

template <Kernel K>
class alignas(64) HeldHere {
  template <class T>
  using Atomic = typename K::Port::template Atomic<T>;

 public:
  // Locks beyond these are not seen: a cycle by one of them ends by time.
  static constexpr unsigned kEntries = 13;

  void took(const void* lock, std::uint32_t owner) noexcept {
    if (whose_.load(kRelaxed) != owner) [[unlikely]]
      begin(owner);
    const std::uint32_t n = count_.load(kRelaxed);
    count_.store(n + 1, kRelaxed);
    std::atomic_signal_fence(std::memory_order_seq_cst);
    if (n < kEntries) held_[n].store(lock, kRelaxed);
  }

  void gives_back(const void* lock) noexcept {
    const std::uint32_t n = count_.load(kRelaxed);
    if (n - 1 >= kEntries || held_[n - 1].load(kRelaxed) != lock) [[unlikely]]
      return gives_back_another(lock, n);
    held_[n - 1].store(nullptr, kRelaxed);
    std::atomic_signal_fence(std::memory_order_seq_cst);
    count_.store(n - 1, kRelaxed);
  }

  // While one lives, its CPU waits for the lock.
  class Waits {
   public:
    Waits(HeldHere* here, std::uint32_t owner, const void* lock) noexcept : here_(here) {
      if (!here_) return;
      if (here_->whose_.load(kRelaxed) != owner) here_->begin(owner);
      below_ = here_->below_.load(kRelaxed);
      wants_ = here_->wants_.load(kRelaxed);
      here_->change(here_->count_.load(kRelaxed), lock);
    }
    ~Waits() {
      if (here_) here_->change(below_, wants_);
    }
    Waits(const Waits&) = delete;
    Waits& operator=(const Waits&) = delete;

   private:
    HeldHere* here_;
    std::uint32_t below_ = 0;
    const void* wants_ = nullptr;
  };

  // Whether `owner`, another CPU, holds `lock` and waits, with all that it has, for a lock held here.
  // The two were so at one moment of this call: `turn` says that nothing has changed in between.
  bool crosses(const HeldHere& owner, const void* lock) const noexcept {
    constexpr auto kAcquire = std::memory_order_acquire;
    const std::uint32_t turn = owner.turn_.load(kAcquire);
    const void* const wants = owner.wants_.load(kAcquire);
    if (!wants || !has(wants, count_.load(kRelaxed))) return false;
    if (!owner.has(lock, owner.below_.load(kAcquire))) return false;
    return owner.wants_.load(kAcquire) == wants && owner.turn_.load(kAcquire) == turn;
  }

 private:
  bool has(const void* lock, std::uint32_t count) const noexcept {
    for (std::uint32_t i = 0; i < count && i < kEntries; ++i)
      if (held_[i].load(std::memory_order_acquire) == lock) return true;
    return false;
  }

  void change(std::uint32_t below, const void* wants) noexcept {
    wants_.store(nullptr, std::memory_order_seq_cst);
    turn_.fetch_add(1, std::memory_order_seq_cst);  // a handler in between changes it, too
    below_.store(below, std::memory_order_seq_cst);
    wants_.store(wants, std::memory_order_seq_cst);
  }

  // Not in the order of taking, or beyond the entries: the entry becomes a hole.
  [[gnu::noinline]] void gives_back_another(const void* lock, std::uint32_t n) noexcept {
    if (n == 0) return;  // taken by another thread of the CPU, or by a forked child's parent
    std::uint32_t at = n < kEntries ? n : kEntries;
    while (at && held_[at - 1].load(kRelaxed) != lock) --at;
    if (at)
      held_[at - 1].store(nullptr, kRelaxed);
    else if (n > kEntries)
      return count_.store(n - 1, kRelaxed);
    while (n && n <= kEntries && !held_[n - 1].load(kRelaxed)) --n;
    count_.store(n, kRelaxed);
  }

  // The CPU has another thread: what the one before left here (it ended with locks held) is not its.
  [[gnu::noinline]] void begin(std::uint32_t owner) noexcept {
    change(0, nullptr);
    for (Atomic<const void*>& h : held_) h.store(nullptr, kRelaxed);
    count_.store(0, kRelaxed);
    std::atomic_signal_fence(std::memory_order_seq_cst);
    whose_.store(owner, kRelaxed);
  }

  Atomic<std::uint32_t> whose_{0}, count_{0}, turn_{0}, below_{0};
  Atomic<const void*> wants_{nullptr};
  Atomic<const void*> held_[kEntries]{};
};

}  // namespace nestlock::internal
