// What the tests of the priority-inheriting lock share: its word, how a waiter waits, and a handler.
#pragma once

#include <signal.h>

#include <cstdint>
#include <cstring>

#include "test/port/port_testing.h"

namespace nestlock::port_testing {

using hosted::PiLock;

// The kernel's word.
inline std::uint32_t word_of(const PiLock& lock) {
  std::uint32_t w;
  std::memcpy(&w, static_cast<const void*>(&lock), sizeof w);
  return w;
}
inline void set_word(PiLock& lock, std::uint32_t w) {
  std::memcpy(static_cast<void*>(&lock), &w, sizeof w);
}

inline std::uint64_t entries() { return hosted::process().pi_lock_entries.load(); }

class PiLockTest : public ::testing::Test {
 protected:
  void SetUp() override { straight_to_the_kernel(); }
  void TearDown() override { wait_as_by_default(); }
  static void straight_to_the_kernel() { wait_first(0, 0, 0); }
  static void nap_only(std::uint32_t naps) { wait_first(0, 0, naps); }
  void wait_as_by_default() { wait_first(pauses_, yields_, naps_); }

 private:
  static void wait_first(std::uint32_t pauses, std::uint32_t yields, std::uint32_t naps) {
    hosted::PiWaiting& w = hosted::process().pi_waiting;
    w.pauses = pauses, w.yields = yields, w.naps = naps;
  }
  const std::uint32_t pauses_ = hosted::process().pi_waiting.pauses,
                      yields_ = hosted::process().pi_waiting.yields,
                      naps_ = hosted::process().pi_waiting.naps;
};

// A handler that nobody registered, on the calling thread.
inline void (*in_handler)();
inline void interrupt_with(void (*f)()) {
  in_handler = f;
  struct sigaction action{};
  action.sa_handler = [](int) { in_handler(); };
  sigaction(SIGUSR2, &action, nullptr);
  raise(SIGUSR2);
}

}  // namespace nestlock::port_testing
