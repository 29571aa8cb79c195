// Interruptions: signals of the irq and the nmi class and unregistered ones, sent by a thread of
// its own at random moments, and raised at random at the atomic accesses of the code itself.
#pragma once

#include <atomic>
#include <cstdint>
#include <optional>
#include <thread>
#include <vector>

#include "nestlock/nestlock.h"
#include "tools/torture/subject.h"

namespace nestlock::torture {

// A thread that works on the subject, in a quarter of a second or so: what interrupts it finds it
// by a thread-local pointer.
class Worker {
 public:
  Worker(unsigned index, const Options&, Subject&);

  // On its own thread, until `stop`.
  void run(const std::atomic<bool>& stop);

  struct Counts {
    std::uint64_t steps = 0, entries[kLevels] = {}, at_a_held_lock[kLevels] = {};
    void operator+=(const Counts&);
    std::uint64_t all_entries() const;
    std::uint64_t all_at_a_held_lock() const;
  };
  const Counts& counts() const { return counts_; }
  int tid() const { return tid_.load(std::memory_order_relaxed); }

  // For the observer, the accesses and the handlers, on the thread of this worker.
  void acquired() noexcept { locks_held_.store(locks_held() + 1, kByTurns); }
  void releasing() noexcept { locks_held_.store(locks_held() - 1, kByTurns); }
  void at_an_access() noexcept;
  void interrupted(Level) noexcept;

 private:
  // What the thread and its handlers share; whoever interrupts leaves it as it was. Nothing that a
  // lock has to order may be ordered by it: to ThreadSanitizer each level is a thread.
  static constexpr std::memory_order kByTurns = std::memory_order_relaxed;

  unsigned locks_held() const noexcept { return locks_held_.load(kByTurns); }
  void work_as(Level) noexcept;

  Subject& subject_;
  Caller callers_[kLevels];  // of a level each, and so are its counts
  Counts counts_;
  std::atomic<Caller*> now_{&callers_[0]};
  std::atomic<bool> inside_[kLevels] = {};
  std::atomic<unsigned> locks_held_{0};
  std::atomic<int> tid_{0};
};

// The kernel to torture: the built one, its locks observed, and interrupted now and then at each
// atomic access of the locks and the subject: inside critical sections, and inside the locks.
void at_an_access() noexcept;

struct AtLocks {
  static void acquiring(const LockRef&) noexcept {}
  static void acquired(const LockRef&, bool by_try) noexcept;
  static void refused(const LockRef&) noexcept {}
  static void releasing(const LockRef&) noexcept;
};
struct InterruptedPort : BuiltPort {
  template <class T>
  class Atomic {
    using Order = std::memory_order;

   public:
    constexpr Atomic(T value) noexcept : a_(value) {}
    Atomic() = default;
    T load(Order o) const noexcept { return at_an_access(), a_.load(o); }
    void store(T v, Order o) noexcept { at_an_access(), a_.store(v, o); }
    T exchange(T v, Order o) noexcept { return at_an_access(), a_.exchange(v, o); }
    T fetch_add(T v, Order o) noexcept { return at_an_access(), a_.fetch_add(v, o); }
    T fetch_sub(T v, Order o) noexcept { return at_an_access(), a_.fetch_sub(v, o); }
    T fetch_and(T v, Order o) noexcept { return at_an_access(), a_.fetch_and(v, o); }
    T fetch_or(T v, Order o) noexcept { return at_an_access(), a_.fetch_or(v, o); }
    bool compare_exchange_weak(T& e, T v, Order s, Order f) noexcept {
      return at_an_access(), a_.compare_exchange_weak(e, v, s, f);
    }
    bool compare_exchange_strong(T& e, T v, Order s, Order f) noexcept {
      return at_an_access(), a_.compare_exchange_strong(e, v, s, f);
    }

   private:
    std::atomic<T> a_;
  };
};
using K = KernelOf<kBuiltConfig, InterruptedPort, AtLocks>;

// Registers the handlers; task context, once in a process.
void register_handlers();

// Sends signals to the workers while one of these lives. Under ThreadSanitizer it sends none: they
// could come inside its runtime and wait for what that holds. There all are raised by the code.
class Storm {
 public:
  Storm(std::vector<std::unique_ptr<Worker>>& workers, std::uint64_t seed);
  ~Storm();

 private:
  std::atomic<bool> stop_{false};
  std::thread sender_;
};

}  // namespace nestlock::torture
