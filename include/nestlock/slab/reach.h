// Whether a CPU is at other CPUs' sheaves of a cache: how that goes stands in reach_inl.h.
#pragma once

#include <atomic>
#include <type_traits>

#include "nestlock/page/fork_hold.h"
#include "nestlock/page/lock_policies.h"
#include "nestlock/slab/settling_turn.h"

namespace nestlock::internal {

// Where there are others, the port has a barrier, and the CPUs' lock tells others whether it is held.
template <Kernel K, LockPolicy L>
inline constexpr bool kReaches =
    !kLeanOf<K> && K::kConfig.smp && BarrierPort<typename K::Port> &&
    requires(const typename L::Local& lock) { lock.is_locked_acquire(); };

template <Kernel K>
struct Reach {
  SettlingTurn<K> turn;  // one at a time; a fork has it, too
  ForkHoldOf<K> held;    // see before_fork()
  typename K::Port::template Atomic<std::uint8_t> under_way{0};

  // Whether this task is at others' sheaves, or was when this context interrupted it.
  bool here() const noexcept { return turn.is_locked_here() && under_way.load(kRelaxed) != 0; }
  bool begin() noexcept {
    if (!turn.try_lock()) return false;
    under_way.store(1, kRelaxed);  // in order by the barrier that follows
    return true;
  }
  void end() noexcept {
    // release: pairs with elsewhere(); the owners see what became of their sheaves.
    under_way.store(0, std::memory_order_release);
    turn.unlock();
  }
  // In a forked child: its thread is the parent's, if it is not ours.
  void end_in_child() noexcept {
    if (!turn.is_locked_here()) end();
  }
  // For a slow path, behind the store that took its CPU's lock: whether the sheaves there are not to be looked at.
  // acquire: pairs with end().
  bool elsewhere() noexcept {
    std::atomic_signal_fence(std::memory_order_seq_cst);  // first the store, then this look
    // Who reaches leaves the sheaves of its own CPU alone, so what interrupts it may use them.
    return under_way.load(std::memory_order_acquire) != 0 && !turn.is_locked_here();
  }
};

// Nobody reaches.
struct NoReach {
  static constexpr bool here() noexcept { return false; }
  static constexpr void end_in_child() noexcept {}
  static constexpr bool elsewhere() noexcept { return false; }
};

template <Kernel K, LockPolicy L>
using ReachOf = std::conditional_t<kReaches<K, L>, Reach<K>, NoReach>;

}  // namespace nestlock::internal
