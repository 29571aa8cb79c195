// The words of ResilientSpinLock: who waits for one does so for a bounded time and learns why it was
// in vain.
//
// On SMP the owner stands in the word, so that "do I hold it?" is one comparison, with no moment at
// which the word and a table disagree: the compare-exchange that takes the lock also says whose it is,
// and the store that gives it back says that it is nobody's.
//
//     bits 0..21   0 free; else the owner: its task (OwnerPort: on hosted the thread id), or CPU + 1
//     bits 22..31  the owner's CPU + 1, to find its WaitsHere; 0: it has none
//
// Waiters write nothing into it: they look, and on a port with parking nap in between (a nap ends by
// itself). So who gives up leaves no trace, nobody has to be served or woken, and there is no order
// among waiters and no bound on being passed but the time each of them has.
//
// Cost uncontended: one locked instruction, a release store, and a look whether somebody of this CPU
// waits (WaitsHere).
#pragma once

#include <atomic>
#include <cstdint>

#include "nestlock/lock/patience.h"
#include "nestlock/lock/waits_here.h"
#include "nestlock/lock/words.h"

namespace nestlock {

// Why a lock was not given.
enum class Refusal : std::uint8_t {
  none,           // it was: the caller holds it
  held_by_me,     // by the caller's context or one that it interrupted; waiting would never end
  held_by_other,  // by another CPU
  deadlock,       // held by the caller, or by a CPU that waits for a lock that the caller's holds
  timeout,        // held by another CPU all the time
  abandoned,      // the thread that holds it is gone
};

// For people.
constexpr const char* name_of(Refusal r) noexcept {
  constexpr const char* names[] = {"acquired", "held by me", "held by another",
                                   "deadlock", "timeout",    "abandoned"};
  return names[static_cast<unsigned>(r)];
}

namespace internal {

template <Kernel K>
class OwnerWord {
  using Port = typename K::Port;
  using Here = WaitsHere<K>;
  static constexpr unsigned kIdBits = 22;
  static constexpr std::uint32_t kId = (1u << kIdBits) - 1;

 public:
  static constexpr bool kSleeps = false;

  // Fails only if the lock is held; writes nothing into it then. Strong: no refusal by chance.
  bool try_acquire() noexcept {
    if (owner_.load(kRelaxed) != 0) [[unlikely]]
      return false;
    const std::uint32_t me = self();
    Here* const here = here_of(me);
    if (here && here->any()) [[unlikely]]
      return take_above(*here, me);
    return take(me);
  }

  void release() noexcept {
    const unsigned cpu = claimed_cpu<Port>();
    Here* const here = cpu < kTables ? &here_[cpu] : nullptr;
    const bool above = here && here->any();
    owner_.store(0, std::memory_order_release);
    if (above) [[unlikely]]
      here->goes_above();
  }

  bool held() const noexcept { return owner_.load(kRelaxed) != 0; }
  bool contended() const noexcept { return false; }  // waiters leave no trace

  // By this context or one that it interrupted: no other can make it true or false meanwhile.
  bool held_by_caller() const noexcept { return is_caller(owner_.load(kRelaxed)); }

  template <class Timeout>
  Refusal acquire_within(Timeout timeout) noexcept {
    if (try_acquire()) return Refusal::none;
    if (held_by_caller()) return Refusal::deadlock;
    return wait(timeout);
  }

 private:
  static std::uint32_t self() noexcept {
    const unsigned cpu = Port::cpu_id();
    std::uint32_t place = 0;
    if (cpu < kTables) place = (cpu + 1) << kIdBits;
    if constexpr (OwnerPort<Port>)
      return place | Port::owner_id();
    else
      return place | (cpu + 1);
  }
  static bool is_caller(std::uint32_t owner) noexcept {
    const std::uint32_t id = owner & kId;
    if constexpr (OwnerPort<Port>)
      return id && Port::owner_is_caller(id);
    else
      return id == Port::cpu_id() + 1;
  }
  // Looks again: who gave the lock back before it ended has left nothing behind.
  bool abandoned_by(std::uint32_t owner) const noexcept {
    if constexpr (OwnerPort<Port>)
      return owner && Port::owner_is_gone(owner & kId) &&
             owner_.load(std::memory_order_acquire) == owner;
    else
      return false;
  }
  static Here* here_of(std::uint32_t owner) noexcept {
    const std::uint32_t cpu = owner >> kIdBits;
    return cpu ? &here_[cpu - 1] : nullptr;
  }

  bool take(std::uint32_t me) noexcept {
    std::uint32_t free = 0;
    // acquire: pairs with release(); the section sees all that the last holder did. release: who finds
    // the word to be this CPU's finds also what comes_above() said.
    return owner_.compare_exchange_strong(free, me, std::memory_order_acq_rel, kRelaxed);
  }
  [[gnu::noinline]] bool take_above(Here& here, std::uint32_t me) noexcept {
    here.comes_above();
    if (take(me)) return true;
    here.goes_above();
    return false;
  }

  template <class Timeout>
  [[gnu::noinline]] Refusal wait(Timeout timeout) noexcept {
    const std::uint32_t me = self();
    Here* const here = here_of(me);
    const bool above = here && here->any();  // of another waiter
    if (above) here->comes_above();
    const Refusal why = wait_as(me, here, timeout);
    if (above && why != Refusal::none) here->goes_above();
    return why;
  }

  template <class Timeout>
  Refusal wait_as(std::uint32_t me, Here* here, Timeout timeout) noexcept {
    Patience<K> patience(timeout);
    const typename Here::Waiter waiter(here, me & kId);
    for (;;) {
      const std::uint32_t owner = owner_.load(kRelaxed);
      if (owner == 0 && take(me)) return Refusal::none;
      const Here* const there = here_of(owner);
      if (here && there && here != there) {
        const typename Here::Look look(*there);
        if (owner_.load(std::memory_order_acquire) == owner && look.valid() &&
            waiter.crosses(look, (owner >> kIdBits) - 1, (me >> kIdBits) - 1))
          return Refusal::deadlock;
      }
      if (patience.over()) return abandoned_by(owner) ? Refusal::abandoned : Refusal::timeout;
      if (patience.turn(this) && abandoned_by(owner)) return Refusal::abandoned;
    }
  }

  static constexpr unsigned kTables = Port::kMaxCpus < 1023 ? Port::kMaxCpus : 1023;
  NESTLOCK_ONE_COPY static inline constinit Here here_[kTables]{};
  typename Port::template Atomic<std::uint32_t> owner_{0};
};

// On one CPU whoever finds it held has interrupted the holder: there is nothing to wait for.
template <Kernel K>
class OwnByteWord : public ByteWord<K> {
 public:
  bool held_by_caller() const noexcept { return this->held(); }
  template <class Timeout>
  Refusal acquire_within(Timeout) noexcept {
    return this->try_acquire() ? Refusal::none : Refusal::deadlock;
  }
};

}  // namespace internal
}  // namespace nestlock
