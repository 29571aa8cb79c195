// ResilientSpinLock on the simulator: a machine on which owners have names.
#pragma once

#include <cstdint>

#include "nestlock/nestlock.h"
#include "nestlock/testing/explorer.h"
#include "nestlock/testing/sim_port.h"

namespace nestlock::testing {

// The machine, with owners' names. The locks' tables are static, and an execution may end in the
// middle: each has names of its own, so that what the last one left is not taken for its own.
template <class Base>
struct Owning : Base {
  static inline std::uint32_t execution = 0;
  static inline unsigned gone = 0;  // a bit for each CPU whose task is

  static std::uint32_t owner_id() noexcept { return execution * 4 + Base::cpu_id() + 1; }
  static bool owner_is_caller(std::uint32_t id) noexcept { return id == owner_id(); }
  static bool owner_is_gone(std::uint32_t id) noexcept {
    step();
    return gone >> (id - 1 - execution * 4) & 1;
  }

  // Each CPU waits once, for a lock of another: with that it begins anew.
  template <class Lock>
  static void boot(Sim& sim, unsigned cpus) {
    gone = 0, execution = (execution + 1) % 500'000;
    for (unsigned cpu = 0; cpu < cpus; ++cpu) {
      Lock lock;
      sim.as_on((cpu + 1) % cpus, [&]() NESTLOCK_NO_TSA { sim.check(!!lock.try_lock(), "free"); });
      sim.as_on(cpu, [&]() NESTLOCK_NO_TSA { (void)lock.lock(Spins{0}); });
      sim.as_on((cpu + 1) % cpus, [&]() NESTLOCK_NO_TSA { lock.unlock(); });
    }
  }
};

// On one a wait ends only by what another does, so that one in vain is a deadlock; on the other a turn
// of waiting takes no time, so that a limit may end it anywhere.
template <Config kC>
using Waiting = BasicResilientSpinLock<KernelOf<kC, Owning<SimPort<kC>>>>;
using Limited =
    BasicResilientSpinLock<KernelOf<configs::smp, Owning<SimParkingPort<configs::smp>>>>;

inline constexpr Spins kLong{1000};
inline constexpr unsigned kCpus = 3;

}  // namespace nestlock::testing
