// Your own structure, explored and swept: docs/explore_your_own.md.
#include <cstdio>
#include <utility>

#include "nestlock/nestlock.h"
#include "nestlock/testing/explorer.h"
#include "nestlock/testing/instruction_sweep.h"
#include "nestlock/testing/sim_port.h"

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

int main() {
  using namespace nestlock::testing;
  const auto explored = explore([](Sim& sim) {  // every interleaving, every arrival
    auto& slots = sim.make<Slots<SimKernel<nestlock::kBuiltConfig>>>();
    auto& got = sim.make<std::pair<int, int>>();
    sim.task(0, [&] { got.first = slots.take(); });
    sim.nmi(0, [&] { got.second = slots.take(); });
    sim.at_end([&] { sim.check(!got.first || got.first != got.second, "a slot is taken once"); });
  });
  Slots<nestlock::BuiltKernel> slots;
  std::pair<int, int> got;
  const auto swept = sweep_each([&] { slots.free.store(2), got = {}; },  // before each run
                                [&] { got.first = slots.take(); },       // interrupted at each
                                [&] { got.second = slots.take(); },      // instruction by this
                                [&] { return !got.first || got.first != got.second; });
  std::printf("explored: %s\nswept: %s\n", explored.text().c_str(), swept.text().c_str());
  return explored.ok() && (swept.ok() || !swept.supported) ? 0 : 1;
}
