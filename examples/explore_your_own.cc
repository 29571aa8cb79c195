// A structure of your own, explored and swept: is it right whenever it is interrupted?
//
// Shows: one description of a task, an interruption and what must hold afterwards, given to two
//        tools: a simulator that tries every interleaving, and the processor, interrupted after each
//        instruction.
// For:   who writes a lock or a structure that interrupts enter. docs/explore_your_own.md explains it.
// Build: g++ -std=c++20 -O1 -Iinclude -DNESTLOCK_CONFIG=up examples/explore_your_own.cc
//            -o explore_your_own
// Prints:
//   explored: 6 schedules, all, 0 redundant, 54 steps
//   swept: ~25 boundaries at ~25 addresses, ~28 runs, ~124 traps by breakpoints, 0 failed
#include <cstdio>

#include "nestlock/nestlock.h"
#include "nestlock/testing/explore_and_sweep.h"

// Yours: built on a kernel, so that the simulator can own every step of it.
template <nestlock::Kernel K>
struct Slots {
  nestlock::BasicTrySpinLock<K> lock;
  typename K::Port::template Atomic<int> free{2};  // guarded by lock

  int take() {  // from any context; 0: none is left, or the lock is taken
    if (!lock.try_lock()) return 0;
    const int slot = free.load();
    if (slot) free.store(slot - 1);
    lock.unlock();
    return slot;
  }
};

int main(int argc, char** argv) {
  const auto r = nestlock::testing::explore_and_sweep<Slots>(
      [](auto& slots) { return slots.take(); },              // a task, interrupted anywhere
      [](auto& slots) { return slots.take(); },              // by this, which keeps what it got:
      [](auto&, int a, int b) { return a == 0 || a != b; },  // is a slot taken once?
      {.replay = argc > 1 ? argv[1] : ""});
  std::printf("%s\n", r.text().c_str());
  return r.ok() ? 0 : 1;
}
