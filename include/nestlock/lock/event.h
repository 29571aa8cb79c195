// Event: a handler signals it, a task waits for it, and no signal is lost.
//
//   Event frame;
//   void on_irq() { store(data); frame.signal(); }              any context, NMI included
//   for (;;) { frame.wait(); use_all_there_is(); }              a task
//
// It remembers one signal: signals that nobody has taken yet are one, so who waits looks at all there
// is. Each is taken by one waiter. 4 bytes.
//
// | port            | who waits                                                                  |
// |-----------------|----------------------------------------------------------------------------|
// | with parking    | sleeps; a signal that finds nobody waiting makes no system call            |
// | without (bare)  | turns of pause(); on one Cortex-M make that `wfe`: see below               |
//
// Why none is lost: wait() looks at the word, and the port falls asleep only on a word that is still
// as it was; a handler on the waiter's own CPU either comes before that comparison, and the word
// differs, or in the sleep, and ends it. `wfe` is such a comparison: an exception's return sets the
// core's event register, and then it does not sleep. (`wfi` is none: an NMI may come between.)
//
// SMP: bit 0 is the signal, above it stands how many wait. One atomic instruction a signal; a
// waiter takes the signal and itself out in one compare-exchange. What a jump out of wait() leaves
// is a number too high: then signals ask the port for a sleeper in vain. UP: loads and stores, for
// the waiter's CPU is the signaller's, and an interrupt ends its sleep.
#pragma once

#include <cstdint>

#include "nestlock/lock/debug_checks.h"

namespace nestlock {

namespace internal {

template <Kernel K>
class alignas(4) EventSmpWord {
 public:
  // Whether somebody is to be woken. release: who takes the signal sees what was done before it. Of
  // two signallers the first wakes.
  bool set() noexcept {
    const std::uint32_t was = word_.fetch_or(kSet, std::memory_order_release);
    return was > kSet && !(was & kSet);
  }
  bool take(std::uint32_t& now, bool waits) noexcept {
    now = word_.load(kRelaxed);
    while (now & kSet)
      if (word_.compare_exchange_strong(now, (now & ~kSet) - (waits ? kWaiter : 0),
                                        std::memory_order_acquire, kRelaxed))
        return true;
    return false;
  }
  void comes() noexcept { word_.fetch_add(kWaiter, kRelaxed); }

 private:
  static constexpr std::uint32_t kSet = 1, kWaiter = 2;
  typename K::Port::template Atomic<std::uint32_t> word_{0};
};

// A signal between take()'s load and store is one with the one that is taken: the waiter has not
// begun to look. Preemption is off for another task that waits.
template <Kernel K>
class alignas(4) EventUpWord {
 public:
  bool set() noexcept {
    tsan_release(&word_);
    std::atomic_signal_fence(std::memory_order_release);
    word_.store(1, kRelaxed);
    return false;
  }
  bool take(std::uint32_t& now, bool) noexcept {
    K::Port::preempt_disable();
    now = word_.load(kRelaxed);
    if (now) word_.store(0, kRelaxed);
    K::Port::preempt_enable();
    std::atomic_signal_fence(std::memory_order_acquire);
    if (now) tsan_acquire(&word_);
    return now != 0;
  }
  void comes() noexcept {}

 private:
  typename K::Port::template Atomic<std::uint32_t> word_{0};
};

}  // namespace internal

template <Kernel K>
class BasicEvent {
  using Port = typename K::Port;
  using Place = internal::PlaceOf<K>;

 public:
  // Not signalled. Needs no code at run time, so a static one is constinit.
  constexpr BasicEvent() noexcept = default;
  BasicEvent(const BasicEvent&) = delete;
  BasicEvent& operator=(const BasicEvent&) = delete;

  // Any context. Never waits. Release order. Wakes one waiter, where there are some and the port has
  // parking: a system call then, on hosted. The event may go as soon as the waiter has returned.
  void signal() noexcept {
    const bool wakes = word_.set();
    if constexpr (ParkingPort<Port>) {
      if (wakes) Port::unpark_one(&word_);
    }
  }
  // Any context. True = there was a signal, and the caller has taken it (acquire order).
  [[nodiscard]] bool try_wait() noexcept {
    std::uint32_t now = 0;
    return word_.take(now, false);
  }
  // Task, with irqs and preemption on and no lock held; debug reports wrong_context in another context, with
  // irqs off, and in the section of a lock that switches preemption off. Returns when it has taken a
  // signal (acquire order). Handlers run meanwhile.
  void wait(Place where = Place::here()) noexcept {
    if constexpr (K::kConfig.debug) {
      const bool task = Port::context() == Context::task;
      const char* const why = task ? internal::why_not_sleep<Port>() : nullptr;
      if (!task || why) report(where, why);
    }
    if (try_wait()) return;
    word_.comes();
    for (std::uint32_t now = 0; !word_.take(now, true);) {
      if constexpr (ParkingPort<Port>)
        Port::park(&word_, now, Port::kParking.park_limit_ns);
      else
        Port::pause();
    }
  }

 private:
  [[gnu::cold]] void report([[maybe_unused]] Place where, const char* why) const noexcept {
    Report r;
    r.finding = Finding::wrong_context;
    r.config = K::kConfig;
    r.context = Port::context();
    r.cpu = Port::cpu_id();
    r.type = "Event", r.call = "wait", r.lock = this, r.detail = why;
    if constexpr (K::kConfig.debug) r.here = where;
    Port::report(r);
  }

  std::conditional_t<K::kConfig.smp, internal::EventSmpWord<K>, internal::EventUpWord<K>> word_;
};

}  // namespace nestlock
