// What is demonstrated: each lock type of each kernel, as plain functions. All eight kernels stand
// in this one program.
#pragma once

#include <cstddef>
#include <span>

#include "nestlock/lock/contexts.h"
#include "tools/shared/asked.h"

namespace nestlock::demo {

using namespace tools;

struct Subject : Askable {
  LockType type;
  Config config;
  std::size_t bytes;         // that a lock adds to a struct; a stateless one adds none
  std::size_t shared_bytes;  // that all locks of its class have in common
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
