// Hosted: what the first user sets up, whichever thread and context that is.
#pragma once

#include <sched.h>

#include "nestlock/port/hosted_thread.h"

namespace nestlock::hosted {

// Zero-initialised it is "not yet": usable before any constructor.
class Once {
 public:
  constexpr Once() = default;
  Once(const Once&) = delete;
  Once& operator=(const Once&) = delete;

  // Runs f() in the first call; another thread's call waits until it is over. True: it is over. False: this
  // context interrupted f() on its own thread, and must do without. Any context.
  template <class F>
  bool run(F f) noexcept {
    if (done()) [[likely]]
      return true;
    const std::uint32_t me = thread_id() + kIds;
    std::uint32_t who = kNotYet;
    if (state_.compare_exchange_strong(who, me, kRelaxed)) {
      f();
      state_.store(kDone, std::memory_order_release);  // who sees it sees what f() did
      return true;
    }
    while (who != kDone && who != me) {
      sched_yield();
      who = state_.load(std::memory_order_acquire);
    }
    return who == kDone;
  }
  bool done() const noexcept { return state_.load(std::memory_order_acquire) == kDone; }

 private:
  // Above these, the id of the thread that is at it.
  static constexpr std::uint32_t kNotYet = 0, kDone = 1, kIds = 1;
  Word state_{kNotYet};
};

}  // namespace nestlock::hosted
