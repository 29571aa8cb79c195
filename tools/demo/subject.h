// What is demonstrated: each lock type of each kernel, as plain functions. All eight kernels stand
// in this one program.
#pragma once

#include <atomic>
#include <cstddef>
#include <span>

#include "call.h"
#include "nestlock/contexts.h"

namespace nestlock::demo {

// Where the code that gets interrupted is. Its own word, stored right after lock() returned and
// right before unlock() is called: handlers judge an answer by it, never by the lock. Inside lock()
// and unlock() either answer is right.
enum class Phase { outside, taking, held, giving };
inline constinit std::atomic<Phase> phase{Phase::outside};

struct Subject {
  LockType type;
  Config config;
  const void* lock;          // the lock's own bytes ...
  std::size_t object_bytes;  // ... and how many
  std::size_t bytes;         // that a lock adds to a struct; a stateless one adds none
  std::size_t shared_bytes;  // that all locks of its class have in common

  // The code that gets interrupted: lock(), `section`, unlock(), with the phases stored. False if
  // it was refused: a SharedTrySpinLock has try_lock() only.
  bool (*hold)(Call section);
  // The handler: try_lock(); if granted `section`, unlock(). Whether it was granted.
  bool (*try_hold)(Call section);
  // What the port says it is in.
  Context (*context)() noexcept;
};

// By lock type, then configuration.
std::span<const Subject> subjects();

// "TrySpinLock, up_debug".
struct Name {
  char text[64];
};
Name name_of(const Subject& s);

// Whether LocalLock has a try_lock() in any configuration: it must not.
bool local_lock_has_try_lock();

// The lock has no state in this configuration, so whoever asks is granted: the historic bug.
constexpr bool is_blind(const Subject& s) {
  return contexts::cell(s.type, contexts::Call::try_lock, s.config, Context::task).held ==
         contexts::Answer::granted;
}

}  // namespace nestlock::demo
