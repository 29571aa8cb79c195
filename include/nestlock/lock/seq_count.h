// SeqCount: the counter by which readers find out that a writer interfered. For most uses SeqLock<T>
// (seqlock.h) is it, with the value and the lock.
//
// The order. A writer counts up, stores the words, counts up (a latch: up, one copy, up, the other).
// A reader loads the count, the words, the count; it keeps them if the counts are equal and not of
// a moment at which this copy is written. The words are atomics, for both sides touch them at
// once; stored by release and loaded by acquire. (1) A word that the reader has from a later
// write() synchronises with that store, so the count that went up before it is seen by the second
// load, and differs. (2) The first load of the count is an acquire of the store that ended the
// write, so no word is older than that. On x86-64 all of these are plain loads and stores; fences
// would do with relaxed words, but ThreadSanitizer does not know fences.
//
// The counter has 32 bits: a reader that is held up for exactly 2^31 writes would be deceived.
#pragma once

#include <atomic>
#include <cstdint>

#include "nestlock/lock/words.h"

namespace nestlock {

// For data of one's own, under a lock of one's own. The user's part: writers exclude each other,
// and are pinned, from begin_write() to end_write(); the data are atomics, which writers store by
// release and readers load by acquire.
template <Kernel K>
class BasicSeqCount {
 public:
  // A moment: odd while a writer is at work.
  using Value = std::uint32_t;
  // No write yet.
  constexpr BasicSeqCount() noexcept = default;
  BasicSeqCount(const BasicSeqCount&) = delete;
  BasicSeqCount& operator=(const BasicSeqCount&) = delete;

  // By the one writer, before its first store and behind its last one. Any context that owns the
  // lock.
  void begin_write() noexcept { step(); }
  void end_write() noexcept { step(); }
  // Before a reader's first load, and behind its last one: true = what lies between is of one
  // write. Any context; never waits.
  Value now() const noexcept { return count_.load(std::memory_order_acquire); }
  bool still(Value since) const noexcept { return count_.load(internal::kRelaxed) == since; }
  // Whether a writer was at work then.
  static constexpr bool writing(Value at) noexcept { return at & 1; }

 private:
  // No read-modify-write: only the writer stores. A handler that writes, too, has had the lock
  // refused while one is at work.
  void step() noexcept {
    count_.store(count_.load(internal::kRelaxed) + 1, std::memory_order_release);
  }
  typename K::Port::template Atomic<Value> count_{0};
};

}  // namespace nestlock
