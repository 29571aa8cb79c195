// Whose turn it is to settle what nolock frees of a cache left behind. The owner stands in the word, so that
// a handler knows that it interrupted the one whose turn it is, who holds no lock and has masked nothing.
#pragma once

#include <atomic>
#include <cstdint>

#include "nestlock/lock/words.h"
#include "nestlock/port/kernel.h"

namespace nestlock::internal {

template <class K>
class SettlingTurn {
  using P = typename K::Port;

 public:
  // acquire: pairs with the release below; the next sees the backlog as the last one left it.
  bool try_lock() noexcept {
    std::uintptr_t nobody = 0;
    return who_.compare_exchange_strong(nobody, self_of<P>(), std::memory_order_acquire, kRelaxed);
  }
  void unlock() noexcept { who_.store(0, std::memory_order_release); }
  bool is_locked_here() const noexcept { return who_.load(kRelaxed) == self_of<P>(); }

 private:
  typename P::template Atomic<std::uintptr_t> who_{0};
};

}  // namespace nestlock::internal
