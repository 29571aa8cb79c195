// Who gets a lock that is already held? A lock is tried from a handler while the interrupted code
// holds it and while it is free.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "nestlock/lock/contexts.h"
#include "tools/shared/call.h"
#include "tools/shared/interrupts.h"

namespace nestlock::tools {

// Where the code that gets interrupted is. Its own word, stored right after lock() returned and
// right before unlock() is called: handlers judge an answer by it, never by the lock. Inside lock()
// and unlock() either answer is right.
enum class Phase { outside, taking, held, giving };
inline constinit std::atomic<Phase> phase{Phase::outside};

inline void enter(Phase p) {
  std::atomic_signal_fence(std::memory_order_seq_cst);
  phase.store(p, std::memory_order_relaxed);
  std::atomic_signal_fence(std::memory_order_seq_cst);
}

// A lock as plain functions.
struct Askable {
  const void* lock;          // the lock's own bytes ...
  std::size_t object_bytes;  // ... and how many

  // The code that gets interrupted: lock(), `section`, unlock(), with the phases stored. False if
  // it was refused: a SharedTrySpinLock has try_lock() only.
  bool (*hold)(Call section);
  // The handler: try_lock(); if granted `section`, unlock(). Whether it was granted.
  bool (*try_hold)(Call section);
  // What the port says it is in.
  Context (*context)() noexcept;
};

struct Answers {
  std::uint64_t asked = 0, granted = 0;

  void add(bool answer) { ++asked, granted += answer; }
  void add(const Answers& more) { asked += more.asked, granted += more.granted; }
  bool are(contexts::Answer a) const {
    return asked != 0 && granted == (a == contexts::Answer::granted ? asked : 0);
  }
};

struct Asked {
  Answers held, free;
  std::uint64_t either = 0;         // asked inside lock() or unlock()
  std::uint64_t interruptions = 0;  // that were made
  std::uint64_t handlers = 0;       // that ran
  std::uint64_t elsewhere = 0;      // of these, in another context than they should
  std::uint64_t altered = 0;        // refusals that changed a byte of the lock
  std::uint64_t code_refused = 0;   // the interrupted code itself did not get a free lock
  Findings findings;
  const char* trouble = nullptr;
};

// By signals of class `c` (softirq, hardirq, nmi), held and free; by a probe after each
// instruction.
Asked ask_by_signals(const Askable& lock, Context c);
Asked ask_by_probes(const Askable& lock);

}  // namespace nestlock::tools
