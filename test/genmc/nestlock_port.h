// The port of the programs that GenMC runs: threads are CPUs, and nobody is interrupted. Found by
// the library as its custom port.
#pragma once

#include <pthread.h>

#include <atomic>
#include <cassert>

#include "nestlock/port/port.h"

namespace nestlock {

inline thread_local constinit unsigned genmc_cpu = 0;

template <Config kC>
struct GenmcPort {
  static constexpr Config kConfig = kC;
  static constexpr unsigned kMaxCpus = 4;  // the main thread and three more
  template <class T>
  using Atomic = std::atomic<T>;
  using IrqState = unsigned;

  static IrqState irq_save() noexcept { return 0; }
  static void irq_restore(IrqState) noexcept {}
  static void preempt_disable() noexcept {}
  static void preempt_enable() noexcept {}
  static Context context() noexcept { return Context::task; }
  static unsigned cpu_id() noexcept { return genmc_cpu; }
  // A spin loop without effects: GenMC sees by itself when it can go on.
  static void pause() noexcept {}
  static void report(const Report&) noexcept { assert(!"a finding"); }
  [[noreturn]] static void die() noexcept {
    assert(!"died");
    __builtin_unreachable();
  }
};

template <Config kC>
using DefaultPort = GenmcPort<kC>;

namespace genmc {

// Runs body(0), body(1), ... on a thread each, and waits for them.
template <auto kBody, unsigned kThreads>
void run() {
  pthread_t thread[kThreads];
  for (unsigned i = 0; i < kThreads; ++i)
    pthread_create(
        &thread[i], nullptr,
        [](void* nr) -> void* {
          const auto i = static_cast<unsigned>(reinterpret_cast<unsigned long>(nr));
          genmc_cpu = i + 1;
          kBody(i);
          return nullptr;
        },
        reinterpret_cast<void*>(static_cast<unsigned long>(i)));
  for (pthread_t t : thread) pthread_join(t, nullptr);
}

}  // namespace genmc
}  // namespace nestlock
