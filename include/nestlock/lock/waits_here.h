// Who waits on a CPU for a resilient lock, and whom for: by this two that wait for each other find out
// (resilient_word.h). A lock that is taken and given back while nobody of its CPU waits costs one load of
// it. Of whatever else a CPU holds the locks' own words tell.
//
//   waits   how many contexts of the CPU wait, each on top of the one before; its own alone read it
//   above   how many locks what came on top of the innermost waiter has, or is taking or giving back
//   turn    goes up when a waiter comes or goes, and before and behind each lock of those above
//   found   who the innermost waiter found to have what it waits for: a CPU, and its turn; 0: nobody
//
// The innermost waiter, and what it interrupted, give nothing back before the turn is another. So who
// finds a lock's word to name CPU Y, in one turn of Y without a lock above, has found a lock that Y's
// waiter keeps for as long as that turn is Y's; and this it says in its own `found`. If Y says the same of
// it, of the turn that is still its own, they wait for each other.
#pragma once

#include <atomic>
#include <cstdint>

#include "nestlock/lock/words.h"

namespace nestlock::internal {

template <Kernel K>
class alignas(64) WaitsHere {
  template <class T>
  using Atomic = typename K::Port::template Atomic<T>;
  using Name = std::uintptr_t;
  static constexpr auto kAcquire = std::memory_order_acquire;
  static constexpr auto kRelease = std::memory_order_release;
  static constexpr auto kBoth = std::memory_order_acq_rel;

 public:
  // A look at a CPU in one turn: begun before, valid behind what it is about.
  class Look {
   public:
    explicit Look(const WaitsHere& at) noexcept
        : at_(at), turn_(at.turn_.load(kAcquire)), found_(at.found_.load(kAcquire)) {}
    // Whether it has been one turn, without a lock above the waiter.
    bool valid() const noexcept {
      return at_.above_.load(kAcquire) == 0 && at_.turn_.load(kAcquire) == turn_;
    }

   private:
    friend class WaitsHere;
    const WaitsHere& at_;
    std::uint32_t turn_;
    Name found_;
  };

  // While one lives that was `needed`, its CPU has a lock above a waiter, or is taking or giving back.
  bool any() const noexcept { return waits_.load(kRelaxed) != 0; }
  void comes_above() noexcept {
    above_.store(above_.load(kRelaxed) + 1, kRelease);
    turn_.fetch_add(1, kBoth);
  }
  void goes_above() noexcept {
    turn_.fetch_add(1, kBoth);
    const std::uint32_t n = above_.load(kRelaxed);
    if (n) above_.store(n - 1, kRelease);  // 0: by a jump out of waiting
  }

  // While one lives, its CPU waits.
  class Waiter {
   public:
    Waiter(WaitsHere* here, std::uint32_t owner) noexcept : here_(here) {
      if (!here_) return;
      // The CPU has another thread: the one before left waiting by its end.
      if (here_->whose_.load(kRelaxed) != owner) {
        here_->waits_.store(0, kRelaxed), here_->above_.store(0, kRelaxed);
        here_->whose_.store(owner, kRelaxed);
      }
      here_->waits_.store(here_->waits_.load(kRelaxed) + 1, kRelaxed);
      above_ = here_->turns(0);
    }
    ~Waiter() {
      if (!here_) return;
      here_->turns(above_);
      here_->waits_.store(here_->waits_.load(kRelaxed) - 1, kRelaxed);
    }
    Waiter(const Waiter&) = delete;
    Waiter& operator=(const Waiter&) = delete;

    // The look was at CPU `cpu`, and while it was valid that one had what is waited for: whether it
    // waits for this CPU.
    bool crosses(const Look& look, unsigned cpu, unsigned mine) const noexcept {
      const Name name = name_of(cpu, look.turn_);
      if (here_->found_.load(kRelaxed) != name) here_->found_.store(name, kRelease);
      return look.found_ == name_of(mine, here_->turn_.load(kRelaxed));
    }

   private:
    WaitsHere* here_;
    std::uint32_t above_ = 0;
  };

 private:
  // Of 2^22 turns on a machine of 32 bits; then one that long ago would be taken for this one.
  static constexpr unsigned kTurnBits = sizeof(Name) > 4 ? 32 : 22;
  static Name name_of(unsigned cpu, std::uint32_t turn) noexcept {
    return Name{cpu + 1} << kTurnBits | (turn & ((Name{1} << kTurnBits) - 1));
  }

  // What was found goes first: it is of the old turn. Returns how many were above.
  std::uint32_t turns(std::uint32_t above) noexcept {
    found_.store(0, kRelease);
    turn_.fetch_add(1, kBoth);  // a handler in between changes it, too
    const std::uint32_t was = above_.load(kRelaxed);
    above_.store(above, kRelease);
    return was;
  }

  Atomic<std::uint32_t> whose_{0}, waits_{0}, above_{0}, turn_{0};
  Atomic<Name> found_{0};
};

}  // namespace nestlock::internal
