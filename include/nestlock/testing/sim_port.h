// The simulator's port: what a kernel is made of whose every step is a scheduling point.
//
//   using K = testing::SimKernel<configs::smp>;
//   BasicTrySpinLock<K> lock;
//
// For code under testing::explore() (explorer.h), which says what is simulated. In set-up and at
// the end of an execution, outside of it all, accesses are plain ones.
#pragma once

#include <atomic>
#include <string>
#include <type_traits>
#include <utility>

#include "nestlock/port/kernel.h"
#include "nestlock/testing/internal/sim_machine.h"

namespace nestlock::testing {

namespace internal {

inline SimMachine* in_fibre() {
  SimMachine* const m = SimMachine::current();
  return m && m->running() ? m : nullptr;
}
inline SimFibre& self() { return *SimMachine::current()->running(); }

}  // namespace internal

// Like std::atomic, and sequentially consistent whatever order is asked for.
template <class T>
class SimAtomic {
 public:
  constexpr SimAtomic(T value = {}) noexcept : value_(value) {}
  SimAtomic(const SimAtomic&) = delete;
  SimAtomic& operator=(const SimAtomic&) = delete;

  T load(std::memory_order = std::memory_order_seq_cst,
         Place where = Place::here()) const noexcept {
    if (auto* m = internal::in_fibre()) m->read(this, where);
    return value_;
  }
  void store(T v, std::memory_order = std::memory_order_seq_cst,
             Place where = Place::here()) noexcept {
    change(where, "store") = v;
  }
  T exchange(T v, std::memory_order = std::memory_order_seq_cst,
             Place where = Place::here()) noexcept {
    return std::exchange(change(where, "exchange"), v);
  }
  bool compare_exchange_strong(T& expected, T v, std::memory_order = std::memory_order_seq_cst,
                               std::memory_order = std::memory_order_seq_cst,
                               Place where = Place::here()) noexcept {
    T& now = change(where, "compare_exchange");
    if (now == expected) return now = v, true;
    return expected = now, false;
  }
  bool compare_exchange_weak(T& expected, T v, std::memory_order a = std::memory_order_seq_cst,
                             std::memory_order b = std::memory_order_seq_cst,
                             Place where = Place::here()) noexcept {
    return compare_exchange_strong(expected, v, a, b, where);
  }
  T fetch_add(T d, std::memory_order = std::memory_order_seq_cst,
              Place where = Place::here()) noexcept {
    T& now = change(where, "fetch_add");
    return std::exchange(now, static_cast<T>(now + d));
  }
  T fetch_sub(T d, std::memory_order = std::memory_order_seq_cst,
              Place where = Place::here()) noexcept {
    T& now = change(where, "fetch_sub");
    return std::exchange(now, static_cast<T>(now - d));
  }
  T fetch_or(T d, std::memory_order = std::memory_order_seq_cst,
             Place where = Place::here()) noexcept {
    T& now = change(where, "fetch_or");
    return std::exchange(now, static_cast<T>(now | d));
  }
  T fetch_and(T d, std::memory_order = std::memory_order_seq_cst,
              Place where = Place::here()) noexcept {
    T& now = change(where, "fetch_and");
    return std::exchange(now, static_cast<T>(now & d));
  }

 private:
  T& change(Place where, const char* what) noexcept {
    if (auto* m = internal::in_fibre()) m->write(this, where, what);
    return value_;
  }
  T value_;
};

// A sleeping lock: a task that finds it held waits for its turn to take it. Priorities are not
// simulated, since every task that can go on does so in some schedule.
class SimSleepLock {
 public:
  SleepResult lock() noexcept {
    auto* const m = internal::in_fibre();
    if (!m) return try_lock() ? SleepResult::acquired : SleepResult::deadlock;
    if (owner_ == m->owner() + 1) return SleepResult::deadlock;
    if (internal::self().preempt || internal::self().context >= Context::hardirq)
      m->fail(internal::self().name + " sleeps where it must not");
    m->sleep_until([](const void* me) { return static_cast<const SimSleepLock*>(me)->owner_ == 0; },
                   this, "waits for a sleeping lock");
    owner_ = m->owner() + 1;
    return SleepResult::acquired;
  }
  bool try_lock() noexcept {
    auto* const m = internal::in_fibre();
    if (m) m->write(this, {}, "tries a sleeping lock");
    if (owner_) return false;
    owner_ = m ? m->owner() + 1 : ~0u;
    return true;
  }
  void unlock() noexcept {
    if (auto* m = internal::in_fibre()) m->write(this, {}, "gives a sleeping lock back");
    owner_ = 0;
  }
  bool is_locked() const noexcept {
    if (auto* m = internal::in_fibre()) m->read(this, {});
    return owner_ != 0;
  }
  bool is_contended() const noexcept { return false; }
  bool held_by_caller() const noexcept {
    auto* const m = internal::in_fibre();
    return m && owner_ == m->owner() + 1;
  }

 private:
  unsigned owner_ = 0;
};

template <Config kC>
struct SimPort {
  static constexpr Config kConfig = kC;
  static constexpr unsigned kMaxCpus = kC.smp ? internal::SimMachine::kCpus : 1;
  template <class T>
  using Atomic = SimAtomic<T>;
  using SleepLock = SimSleepLock;
  using IrqState = bool;

  static IrqState irq_save() noexcept {
    auto* const m = internal::in_fibre();
    if (!m) return true;
    m->local("masks irqs");
    return std::exchange(internal::self().masked, true);
  }
  static void irq_restore(IrqState masked) noexcept {
    auto* const m = internal::in_fibre();
    if (!m) return;
    m->local("restores irqs");
    internal::self().masked = masked;
  }
  static void irq_disable() noexcept { irq_save(); }
  static void irq_enable() noexcept {
    if (internal::in_fibre()) irq_restore(internal::self().context == Context::nmi);
  }
  static bool irqs_disabled() noexcept {
    return internal::in_fibre() ? internal::self().masked : true;
  }

  static void preempt_disable() noexcept { up(&internal::SimFibre::preempt); }
  static void preempt_enable() noexcept { down(&internal::SimFibre::preempt); }
  static void migrate_disable() noexcept { up(&internal::SimFibre::migrate); }
  static void migrate_enable() noexcept { down(&internal::SimFibre::migrate); }
  // Without PREEMPT_RT a section without bottom halves is not preempted either.
  static void bh_disable() noexcept {
    if (auto* m = internal::in_fibre()) {
      m->local("disables bottom halves");
      internal::self().bh += 1;
      (kC.preempt_rt ? internal::self().migrate : internal::self().preempt) += 1;
    }
  }
  static void bh_enable() noexcept {
    if (auto* m = internal::in_fibre()) {
      m->local("enables bottom halves");
      internal::self().bh -= 1;
      (kC.preempt_rt ? internal::self().migrate : internal::self().preempt) -= 1;
    }
  }
  static bool bh_disabled() noexcept {
    return internal::in_fibre() &&
           (internal::self().bh || internal::self().context == Context::softirq);
  }

  static Context context() noexcept {
    return internal::in_fibre() ? internal::self().context : Context::task;
  }
  static unsigned cpu_id() noexcept {
    auto* const m = internal::in_fibre();
    if (!kC.smp) return 0;
    if (!m) return internal::SimMachine::outside_cpu();
    if (m->movable()) m->local("asks for its CPU");
    return internal::self().cpu;
  }
  static std::uintptr_t self() noexcept {
    auto* const m = internal::in_fibre();
    return m ? m->owner() + 1 : ~std::uintptr_t{0};
  }
  static void pause() noexcept {
    if (auto* m = internal::in_fibre()) m->spin();
  }
  // (All accesses are in one order anyway.)
  static bool barrier_on_all_cpus() noexcept { return true; }
  // A finding fails the execution.
  static void report(const Report& r) noexcept {
    if (auto* m = internal::in_fibre())
      m->fail(internal::self().name + " is reported: " + name_of(r.finding));
  }

 private:
  // Only other tasks of the CPU can see a count.
  static void up(unsigned internal::SimFibre::* count) noexcept {
    auto* const m = internal::in_fibre();
    if (!m) return;
    if (m->others_on_cpu()) m->local("pins itself");
    internal::self().*count += 1;
  }
  static void down(unsigned internal::SimFibre::* count) noexcept {
    auto* const m = internal::in_fibre();
    if (!m) return;
    if (m->others_on_cpu()) m->local("unpins itself");
    if (internal::self().*count == 0) m->fail(internal::self().name + " unpins what is not pinned");
    internal::self().*count -= 1;
  }
};

static_assert(SelfPort<SimPort<configs::smp>> &&
              BarrierPort<SimPort<configs::smp>>);  // a misspelt optional member would be left out

template <Config kC>
using SimKernel = KernelOf<kC, SimPort<kC>>;

// The same machine with parking: a waiter sleeps until it is woken or interrupted, never until a
// limit, so that a lost wake-up is a deadlock. The turns of a spin loop that gives up and parks are
// no steps; a nap waits, as SimPort::pause() does, until something that was read was written. The
// numbers are the least, for every way of waiting to be met within few steps.
template <Config kC>
struct SimParkingPort : SimPort<kC> {
  static constexpr Parking kParking{.looks = 1, .passes = 1};

  static bool park(const void* word, std::uint32_t expected, std::uint64_t) noexcept {
    auto* const m = internal::in_fibre();
    return m && m->park(word, expected);
  }
  static void unpark_one(const void* word) noexcept {
    if (auto* m = internal::in_fibre()) m->unpark_one(word);
  }
  static bool any_parked(const void* word) noexcept {
    auto* const m = internal::in_fibre();
    return m && m->any_parked(word);
  }
  static void pause() noexcept {}
  static void nap(const void*, std::uint64_t) noexcept { SimPort<kC>::pause(); }
  static void end_nap(const void*) noexcept {}
};

static_assert(ParkingPort<SimParkingPort<configs::smp>> && !ParkingPort<SimPort<configs::smp>>);

template <Config kC>
using SimParkingKernel = KernelOf<kC, SimParkingPort<kC>>;

}  // namespace nestlock::testing
