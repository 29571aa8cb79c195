// A list that any context may push to and one holder of a lock empties: what interrupting contexts
// leave behind. Push is a compare-exchange loop (an interrupter in between makes it turn once more:
// lock-free), take_all an exchange. Only whole lists are taken, so there is no ABA.
#pragma once

#include <cstdint>

#include "nestlock/lock/words.h"

namespace nestlock::internal {

// Nodes are named by numbers; `next(n)` is where node n keeps its successor, an `Index`. (The head is a
// whole word even so: a core without narrow read-modify-writes has those of a word.)
template <Kernel K, class Index = std::uint32_t>
class LockFreeList {
 public:
  static constexpr std::uint32_t kNil = static_cast<Index>(~Index{0});

  bool empty() const noexcept { return head_.load(kRelaxed) == 0; }

  // Any context. True if the list was empty.
  template <class Next>
  bool push(std::uint32_t node, Next next) noexcept {
    std::uint32_t first = head_.load(kRelaxed);
    // release: pairs with take_all(); the taker sees the node's contents.
    do next(node) = static_cast<Index>(turned(first));
    while (!head_.compare_exchange_weak(first, turned(node), std::memory_order_release, kRelaxed));
    return first == 0;
  }

  // The first node, kNil if none; the caller owns the chain.
  std::uint32_t take_all() noexcept { return turned(head_.exchange(0, std::memory_order_acquire)); }

 private:
  // Kept with all its bits turned, and so back: an empty list is zero, and what holds lists takes no room in a
  // program's file.
  static constexpr std::uint32_t turned(std::uint32_t n) noexcept { return n ^ kNil; }

  typename K::Port::template Atomic<std::uint32_t> head_{0};
};

}  // namespace nestlock::internal
