// SeqLock<T> and SeqLatch<T>: a value that is read without writing to memory, from any context.
//
//   SeqLatch<Clock> clock;
//   clock.write({cycles, ns});                     writers exclude each other by a lock
//   if (Clock c; clock.try_read(c)) use(c);        any context, NMI included: never waits
//   Clock c = clock.read();                        where the lock may be waited for
//
// | type     | copies | try_read() by who interrupted the writer on its CPU      | size beside the lock |
// |----------|--------|----------------------------------------------------------|----------------------|
// | SeqLock  | 1      | refused once the writer has begun, and until it has ended | 4 bytes + T          |
// | SeqLatch | 2      | granted at each instruction of it: the other copy         | 4 bytes + 2 T        |
//
// true means that all of `out` is what one write() stored. Refused means that a writer is, or was,
// at work beside the copying: an NMI that interrupted it could not wait for it, and need not.
//
// Why that is so, in what order: seq_count.h.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "nestlock/lock/guard.h"
#include "nestlock/lock/seq_count.h"
#include "nestlock/lock/try_spinlock.h"

namespace nestlock {

// A SeqLock has one copy, a SeqLatch two. `Lock` is the writers'.
template <Kernel K, class T, unsigned kCopies, class Lock = BasicTrySpinLock<K>>
class BasicSeqValue {
  static_assert(std::is_trivially_copyable_v<T>, "readers copy it while it may be changing");
  static_assert(kCopies == 1 || kCopies == 2);
  using Place = internal::PlaceOf<K>;
  using Word = std::uintptr_t;
  static constexpr std::size_t kWords = (sizeof(T) + sizeof(Word) - 1) / sizeof(Word);
  static constexpr unsigned kLooks = 100;  // of read(), before it takes the lock

 public:
  // The first argument.
  using Kernel = K;

  // All bytes zero. Needs no code at run time, so a static one is constinit.
  constexpr BasicSeqValue(Place born = Place::here()) noexcept : lock_(born) {}
  BasicSeqValue(const BasicSeqValue&) = delete;
  BasicSeqValue& operator=(const BasicSeqValue&) = delete;

  // Any context. True = `out` is a whole value; false = a writer interfered, `out` is as it was.
  // Never waits, writes nothing that is shared.
  [[nodiscard]] bool try_read(T& out) const noexcept { return copy_to(&out); }

  // Contexts as the lock's lock(). Looks so many times, then reads under the lock: so a writer that
  // was preempted gets on, and inherits a priority where the lock lends one.
  T read(Place where = Place::here()) noexcept {
    if constexpr (K::kConfig.debug)
      if (!contexts::cell(Lock::kLockType, contexts::Call::lock, K::kConfig, K::Port::context())
               .allowed)
        report(where);
    Bytes bytes{};
    for (unsigned looks = 0; looks < kLooks; ++looks, K::Port::pause())
      if (copy_to(&bytes)) return std::bit_cast<T>(bytes);
    Guard g(lock_, no_irq, where);
    return latest();
  }

  // Contexts as the lock's lock(); with handlers that write by it, all writers mask: irq_save.
  template <class Tag = NoIrq>
  void write(const T& value, Tag tag = {}, Place where = Place::here()) noexcept {
    Guard g(lock_, tag, where);
    put(value);
  }
  // f(value) changes a copy, under the lock; contexts as write().
  template <class F, class Tag = NoIrq>
  void update(F f, Tag tag = {}, Place where = Place::here()) noexcept {
    Guard g(lock_, tag, where);
    T value = latest();
    f(value);
    put(value);
  }
  // Contexts and answers as the lock's try_lock(). True = written; false = nothing changed.
  [[nodiscard]] bool try_write(const T& value, Place where = Place::here()) noexcept
    requires TryLockable<Lock>
  {
    TryGuard g(lock_, no_irq, where);
    if (g) put(value);
    return static_cast<bool>(g);
  }

 private:
  // A read() that need not wait for the lock is as wrong as one that must.
  [[gnu::cold]] void report([[maybe_unused]] Place where) const noexcept {
    Report r = internal::report_of<K>(Finding::wrong_context, Lock::kLockType, "read", &lock_);
    r.type = kCopies == 1 ? "SeqLock" : "SeqLatch";
    if constexpr (K::kConfig.debug) r.here = where;
    K::Port::report(r);
  }

  struct Bytes {
    unsigned char byte[sizeof(T)];
  };

  bool copy_to(void* out) const noexcept {
    const auto before = count_.now();
    if (kCopies == 1 && count_.writing(before)) return false;
    Word words[kWords];
    const auto& from = copy_[before % kCopies];
    for (std::size_t i = 0; i < kWords; ++i) words[i] = from[i].load(std::memory_order_acquire);
    if (!count_.still(before)) return false;
    std::memcpy(out, words, sizeof(T));
    return true;
  }
  // By the holder of the lock: nobody writes.
  T latest() const noexcept {
    Bytes bytes{};
    copy_to(&bytes);
    return std::bit_cast<T>(bytes);
  }
  // By the holder of the lock. A latch's readers use copy 0 while the count is even, so it is odd
  // while copy 0 is written.
  void put(const T& value) noexcept {
    Word words[kWords] = {};
    std::memcpy(words, static_cast<const void*>(&value), sizeof(T));
    for (auto& to : copy_) {
      count_.begin_write();
      for (std::size_t i = 0; i < kWords; ++i) to[i].store(words[i], std::memory_order_release);
    }
    if (kCopies == 1) count_.end_write();
  }

  [[no_unique_address]] Lock lock_;
  BasicSeqCount<K> count_;
  typename K::Port::template Atomic<Word> copy_[kCopies][kWords]{};
};

// One copy of the value: a reader that meets a writer looks again, or does without.
template <Kernel K, class T, class Lock = BasicTrySpinLock<K>>
using BasicSeqLock = BasicSeqValue<K, T, 1, Lock>;
// Two copies: there is a whole one at any time, also for who interrupted the writer.
template <Kernel K, class T, class Lock = BasicTrySpinLock<K>>
using BasicSeqLatch = BasicSeqValue<K, T, 2, Lock>;

}  // namespace nestlock
