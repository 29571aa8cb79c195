// ResilientSpinLock on the simulator: at each step of two and three CPUs and of what interrupts them
// nobody is told of a deadlock that is none, and nobody waits in one. Beside it, as permanent expected
// failures, the five ways in which the kernel's rqspinlock, which keeps what a CPU holds in a table
// beside the lock, once did or still does one of the two.
#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <utility>

#include "gtest/gtest.h"
#include "nestlock/nestlock.h"
#include "nestlock/testing/explorer.h"
#include "nestlock/testing/sim_port.h"
#include "test/support/exploring.h"

namespace nestlock::testing {
namespace {

using test_support::expect_caught;
using test_support::Scenario;
using test_support::show;

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

constexpr Spins kLong{1000};
constexpr unsigned kCpus = 3;

void expect_met(const ExploreResult& r, std::initializer_list<const char*> moments) {
  for (const char* const moment : moments)
    EXPECT_TRUE(r.counts.contains(moment)) << "never " << moment << ": " << r.text();
}

// Locks, and who has which and waits for which, from outside: plain variables are no steps.
template <class L>
struct Scene {
  explicit Scene(Sim& s) : sim(s) {
    L::Port::template boot<L>(s, L::Port::kMaxCpus < kCpus ? 1 : kCpus);
  }

  // The innermost context of `cpu` takes the lock, or says why not, and that is the truth.
  template <class F>
  Refusal with(unsigned cpu, unsigned i, Spins spins, F section) NESTLOCK_NO_TSA {
    const int waited_for = std::exchange(wants[cpu], static_cast<int>(i));
    const bool outer_crossed = std::exchange(crossed[cpu], false);
    look_for_cycles();
    const LockResult r = lock[i].lock(spins);
    look_for_cycles();
    wants[cpu] = r ? -1 : waited_for;
    if (r) {
      if (crossed[cpu]) sim.count("the other gave way");
      in[i].enter();
      section();
      in[i].leave();
      lock[i].unlock();
      wants[cpu] = waited_for;
    } else if (r.why() == Refusal::deadlock) {
      const bool mine = lock[i].held_by_caller();
      sim.check(mine || crossed[cpu], "told of a deadlock that is none");
      sim.count(mine ? "told of its own" : "told of a cycle");
    } else {
      sim.check(!lock[i].held_by_caller(), "waited for itself");
    }
    crossed[cpu] = outer_crossed;
    return r.why();
  }
  Refusal with(unsigned cpu, unsigned i, Spins spins) {
    return with(cpu, i, spins, [] { step(); });
  }

  // What interrupts a CPU, which asks for a lock in both ways; each is answered soon where it is its own.
  void asks(unsigned cpu, unsigned i) NESTLOCK_NO_TSA {
    const bool mine = lock[i].held_by_caller();
    const auto ask = [&](auto call) { return mine ? sim.within(4, call) : call(); };
    const LockResult tried = ask([&]() NESTLOCK_NO_TSA { return lock[i].try_lock(); });
    if (tried) {
      in[i].visit();
      lock[i].unlock();
    }
    sim.check((tried.why() == Refusal::held_by_me) == mine, "the try's reason is the truth");
    sim.count(name_of(tried.why()));
    const Refusal why = ask([&] { return with(cpu, i, kLong); });
    sim.check(!mine || why == Refusal::deadlock, "told that it has it");
  }

  void look_for_cycles() {
    for (unsigned a = 0; a < kCpus; ++a)
      for (unsigned b = 0; b < kCpus; ++b)
        if (a != b && wants[a] >= 0 && wants[b] >= 0 && has(b, wants[a]) && has(a, wants[b]))
          crossed[a] = crossed[b] = true;
  }
  // By a look from outside that is no step. On SMP the word comes first.
  bool has(unsigned cpu, int i) const {
    if (!L::Kernel::kConfig.smp) return false;
    std::uint32_t word;
    std::memcpy(&word, static_cast<const void*>(&lock[i]), sizeof word);
    return (word & 0x3fffff) == L::Port::execution * 4 + cpu + 1;
  }

  Sim& sim;
  L lock[3];
  Exclusive in[3];
  bool crossed[kCpus] = {};
  int wants[kCpus] = {-1, -1, -1};
};

template <class L>
ExploreResult search(const char* what, void (*set_up)(Sim&, Scene<L>&),
                     const ExploreOptions& options, std::initializer_list<const char*> moments) {
  const auto r = show(
      "ResilientSpinLock", L::Kernel::kConfig, what,
      [set_up](Sim& sim) { set_up(sim, sim.make<Scene<L>>(sim)); }, options);
  EXPECT_TRUE(r.ok() && (r.complete || options.random)) << r.text();
  expect_met(r, moments);
  return r;
}

// ---- AA -----------------------------------------------------------------------------------------

template <Config kC>
void interrupted_holder(const ExploreOptions& options) {
  using L = Waiting<kC>;
  search<L>("AA: every interrupt of a holder",
            [](Sim& sim, Scene<L>& s) {
              sim.task(0, [&] { s.with(0, 0, kLong); });
              sim.softirq(0, [&] { s.asks(0, 0); });
              if (!kC.debug) sim.irq(0, [&] { s.asks(0, 0); });
              sim.nmi(0, [&] { s.asks(0, 0); });
            },
            options, {"told of its own", "held by me", "acquired"});
}

TEST(Resilient, WhoInterruptsAHolderIsToldAtEachStep) {
  interrupted_holder<configs::up>({});
  interrupted_holder<configs::up_debug>({});
  interrupted_holder<configs::smp>({.interruptions = 3});
  interrupted_holder<configs::smp_debug>({.interruptions = 2});
}

// Another CPU's holder is waited for; one's own is not.
TEST(Resilient, AndBesideAnotherCpu) {
  using L = Waiting<configs::smp>;
  search<L>("AA: 2 CPUs, an nmi",
            [](Sim& sim, Scene<L>& s) {
              for (unsigned cpu : {0u, 1u})
                sim.task(cpu, [&s, &sim, cpu] {
                  sim.check(s.with(cpu, 0, kLong) == Refusal::none, "each has its turn");
                });
              sim.nmi(0, [&] { s.asks(0, 0); });
            },
            {.interruptions = 2}, {"told of its own", "held by me", "held by another", "acquired"});
}

// ---- ABBA, and longer ---------------------------------------------------------------------------

// Each has one and wants the next one's; whether all may have done.
template <class L>
void ring(Sim& sim, Scene<L>& s, unsigned cpus, Spins spins) {
  for (unsigned cpu = 0; cpu < cpus; ++cpu)
    sim.task(cpu, [&s, &sim, cpu, cpus, spins] {
      Refusal inner = Refusal::none;
      (void)s.with(cpu, cpu, spins, [&] { inner = s.with(cpu, (cpu + 1) % cpus, spins); });
      sim.count(name_of(inner));
    });
  sim.at_end([&s, &sim] {
    for (const L& l : s.lock) sim.check(!l.is_locked(), "all are free");
  });
}

template <Config kC>
void two_cross(const ExploreOptions& options) {
  using L = Waiting<kC>;
  const auto r = search<L>("ABBA: 2 CPUs", [](Sim& sim, Scene<L>& s) { ring(sim, s, 2, kLong); },
                           options, {"told of a cycle", "the other gave way", "acquired"});
  EXPECT_FALSE(r.counts.contains("timeout")) << r.text();
}

TEST(Resilient, WhoWaitCrosswiseAreToldAndTheOtherGoesOn) {
  two_cross<configs::smp>({.interruptions = 3});
  two_cross<configs::smp_debug>({.interruptions = 2});
}

// The lock that the other waits for is held by what the nmi interrupted, or was just being taken or
// given back.
TEST(Resilient, AnNmiThatWaitsOnTopOfAHolderIsPartOfACycle) {
  search<Waiting<configs::smp>>(
      "ABBA: an nmi on a holder, another CPU",
      [](Sim& sim, auto& s) {
        sim.task(0, [&s] { s.with(0, 0, kLong); });
        sim.nmi(0, [&s, &sim] { sim.count(name_of(s.with(0, 1, kLong))); });
        sim.task(1, [&s] { s.with(1, 1, kLong, [&s] { s.with(1, 0, kLong); }); });
      },
      {.interruptions = 3}, {"told of a cycle", "acquired", "deadlock"});
}

// What the nmi has it gives back though the waiter that it interrupted goes on waiting; and that one
// found, while a third CPU had it, that who waits for it has what it wants.
TEST(Resilient, WhatIsHeldOnTopOfAWaiterIsNoPartOfACycle) {
  search<Waiting<configs::smp>>("no cycle: an nmi on a waiter, 2 other CPUs",
                                [](Sim& sim, auto& s) {
                                  sim.task(0, [&s] { s.with(0, 1, kLong); });
                                  sim.nmi(0, [&s] { s.with(0, 2, kLong); });
                                  sim.task(1, [&s, &sim] {
                                    s.with(1, 1, kLong,
                                           [&s, &sim] { sim.count(name_of(s.with(1, 2, kLong))); });
                                  });
                                  sim.task(2, [&s] { s.with(2, 2, kLong); });
                                },
                                {.random = 20'000}, {"acquired"});
}

// Both in one order, and an nmi that wants either: a deadlock is only what it interrupted.
TEST(Resilient, NoCycleIsSeenWhereThereIsNone) {
  using L = Waiting<configs::smp>;
  const auto r = search<L>(
      "one order: 2 CPUs, an nmi",
      [](Sim& sim, Scene<L>& s) {
        for (unsigned cpu : {0u, 1u})
          sim.task(cpu, [&s, cpu] { s.with(cpu, 0, kLong, [&s, cpu] { s.with(cpu, 1, kLong); }); });
        sim.nmi(0, [&] { s.with(0, 1, kLong); });
      },
      {.interruptions = 2}, {"told of its own"});
  EXPECT_FALSE(r.counts.contains("timeout")) << r.text();
}

// ---- limits -------------------------------------------------------------------------------------

TEST(Resilient, WhoLeavesAtItsLimitLeavesNothing) {
  search<Limited>("limits: 3 CPUs",
                  [](Sim& sim, Scene<Limited>& s) {
                    for (unsigned cpu = 0; cpu < kCpus; ++cpu)
                      sim.task(cpu,
                               [&s, &sim, cpu] { sim.count(name_of(s.with(cpu, 0, Spins{1}))); });
                    sim.at_end([&]() NESTLOCK_NO_TSA {
                      sim.check(!s.lock[0].is_locked(), "it is free");
                      sim.check(static_cast<bool>(s.lock[0].lock(Spins{0})), "and to be had");
                    });
                  },
                  {.interruptions = 2}, {"acquired", "timeout"});
}

TEST(Resilient, ALongerCycleEndsByTheLimit) {
  const auto r = search<Limited>("a cycle of 3 CPUs",
                                 [](Sim& sim, Scene<Limited>& s) { ring(sim, s, 3, Spins{1}); },
                                 {.interruptions = 2}, {"acquired", "timeout"});
  EXPECT_FALSE(r.counts.contains("deadlock")) << r.text();
}

// Its owner's task is gone: said only then.
TEST(Resilient, AnAbandonedLockIsToldAsSuch) {
  search<Limited>("an owner that goes",
                  [](Sim& sim, Scene<Limited>& s) {
                    using P = Limited::Port;
                    sim.task(1, [&]() NESTLOCK_NO_TSA {
                      if (!s.lock[0].lock(Spins{1})) return;
                      P::preempt_enable();
                      step();
                      P::gone = 1u << 1;
                    });
                    sim.task(0, [&] {
                      const Refusal why = s.with(0, 0, Spins{1});
                      sim.check(why != Refusal::abandoned || P::gone, "its owner is still there");
                      sim.count(name_of(why));
                    });
                  },
                  {}, {"acquired", "timeout", "abandoned"});
}

// ---- the kernel's five --------------------------------------------------------------------------

// A word, and in a table of its own what each CPU has: a lock that is found there is its own.
enum class Flaw {
  entry_after_word,    // an nmi in between finds no entry, and waits for what it interrupted
  entry_before_word,   // its repair: an nmi between the release and the removal finds one
  entry_twice,         // of a slow path, which enters again what has been entered: one stays
  irqs_before_unlock,  // in the form that masks irqs
};

template <Flaw kFlaw>
class TableLock {
 public:
  using Port = SimPort<configs::smp>;
  struct Tables {
    SimAtomic<const void*> entry[kCpus][4]{};
    SimAtomic<unsigned> count[kCpus]{};
  };
  static inline Tables* tables = nullptr;

  LockResult lock(Spins) {
    const unsigned cpu = Port::cpu_id(), n = tables->count[cpu].load();
    for (unsigned i = 0; i < n; ++i)
      if (tables->entry[cpu][i].load() == this) return LockResult(Refusal::deadlock);
    if (kFlaw != Flaw::entry_after_word) enter(cpu);
    if (kFlaw == Flaw::entry_twice) enter(cpu);
    for (unsigned free = 0; word_.load() || !word_.compare_exchange_strong(free, cpu + 1); free = 0)
      Port::pause();
    if (kFlaw == Flaw::entry_after_word) enter(cpu);
    return LockResult(Refusal::none);
  }
  void unlock() {
    SimAtomic<unsigned>& count = tables->count[Port::cpu_id()];
    if (kFlaw != Flaw::entry_after_word) word_.store(0);
    count.store(count.load() - 1);
    if (kFlaw == Flaw::entry_after_word) word_.store(0);
  }
  bool held_by_caller() const { return word_.load() == Port::cpu_id() + 1; }
  void unlock_irq(bool masked) {
    if (kFlaw == Flaw::irqs_before_unlock) Port::irq_restore(masked);
    unlock();
    if (kFlaw != Flaw::irqs_before_unlock) Port::irq_restore(masked);
  }

 private:
  void enter(unsigned cpu) {
    const unsigned n = tables->count[cpu].load();
    tables->count[cpu].store(n + 1);
    tables->entry[cpu][n].store(this);
  }

  SimAtomic<unsigned> word_{0};
};

template <class L>
L& boot(Sim& sim) {
  if constexpr (requires { L::tables; })
    L::tables = &sim.make<typename L::Tables>();
  else
    L::Port::template boot<L>(sim, kCpus);
  return sim.make<L>();
}

// A task that takes the lock and gives it back, and an nmi, from when the task has come so far.
enum class From { start, section_left, end };
template <class L, From kFrom>
void nmi_comes(Sim& sim) NESTLOCK_NO_TSA {
  L& lock = boot<L>(sim);
  auto& reached = sim.make<From>(From::start);
  sim.task(0, [&]() NESTLOCK_NO_TSA {
    if (!lock.lock(kLong)) return;
    step();
    reached = From::section_left;
    lock.unlock();
    reached = From::end;
  });
  sim.nmi(0, [&]() NESTLOCK_NO_TSA {
    if (reached < kFrom) return;
    const LockResult r = lock.lock(kLong);
    if (r) return lock.unlock();
    sim.check(lock.held_by_caller(), "told of a deadlock that is none");
  });
}

// A task and an irq that both mask irqs while they have it.
template <class L>
void irq_comes(Sim& sim) {
  L& lock = boot<L>(sim);
  const auto section = [&]() NESTLOCK_NO_TSA {
    const bool masked = L::Port::irq_save();
    const LockResult r = lock.lock(kLong);
    sim.check(static_cast<bool>(r), "a deadlock with a holder that masks irqs");
    if constexpr (requires { lock.unlock_irq(masked); })
      return lock.unlock_irq(masked);
    else
      lock.unlock();
    L::Port::irq_restore(masked);
  };
  sim.task(0, section);
  sim.irq(0, section);
}

// A queue of waiters, here of one: who sees a deadlock takes itself out of it; if one has come behind
// it, that one has to be told. The flaw: a word in which the lock is held, too, is taken for a sign that
// one has, and its name is waited for.
template <bool kFlawed>
class QueueLock {
 public:
  using Port = SimPort<configs::smp>;
  struct Tables {
    SimAtomic<const QueueLock*> wants[2]{};
  };
  static inline Tables* tables = nullptr;

  LockResult lock(Spins) {
    const unsigned me = Port::cpu_id() + 1;
    unsigned w = 0;
    if (!word_.compare_exchange_strong(w, kHeld)) {
      word_.fetch_or(me);
      tables->wants[me - 1].store(this);
      for (;;) {
        w = me;
        if (word_.load() == me && word_.compare_exchange_strong(w, kHeld)) break;
        if (const QueueLock* const l = tables->wants[2 - me].load(); l && l->owner_ == me) {
          leave(me);
          return LockResult(Refusal::deadlock);
        }
        Port::pause();
      }
      tables->wants[me - 1].store(nullptr);
    }
    owner_ = me;
    return LockResult(Refusal::none);
  }
  void unlock() {
    owner_ = 0;
    word_.fetch_and(~kHeld);
  }

 private:
  static constexpr unsigned kHeld = 256;

  void leave(unsigned me) {
    tables->wants[me - 1].store(nullptr);
    if (!kFlawed) return void(word_.fetch_and(~me));
    if (unsigned alone = me; word_.compare_exchange_strong(alone, 0)) return;
    while (next_.load() == 0) Port::pause();
  }

  SimAtomic<unsigned> word_{0}, next_{0};
  unsigned owner_ = 0;
};

template <class L>
void cross(Sim& sim) {
  L* const locks[] = {&boot<L>(sim), &boot<L>(sim)};
  for (unsigned cpu : {0u, 1u})
    sim.task(cpu, [=]() NESTLOCK_NO_TSA {
      if (!locks[cpu]->lock(kLong)) return;
      if (locks[1 - cpu]->lock(kLong)) locks[1 - cpu]->unlock();
      locks[cpu]->unlock();
    });
}

// What the flawed do not stand, ours does, and so does a model without that flaw.
void stands(const Scenario& set_up) {
  const ExploreResult r = explore(set_up, {.interruptions = 2});
  EXPECT_TRUE(r.ok() && r.complete) << r.text();
}

TEST(ResilientHistoric, AnEntryBehindTheWordIsCaught) {
  expect_caught("rqspinlock's entry behind its word", configs::smp, "nobody can go on",
                nmi_comes<TableLock<Flaw::entry_after_word>, From::start>);
  stands(nmi_comes<TableLock<Flaw::entry_before_word>, From::end>);
  stands(nmi_comes<Waiting<configs::smp>, From::start>);
}

TEST(ResilientHistoric, AnEntryThatOutlastsTheReleaseIsCaught) {
  expect_caught("rqspinlock's entry outlasts its release", configs::smp,
                "told of a deadlock that is none",
                nmi_comes<TableLock<Flaw::entry_before_word>, From::section_left>);
  stands(nmi_comes<Waiting<configs::smp>, From::section_left>);
}

TEST(ResilientHistoric, AnEntryThatIsMadeTwiceIsCaught) {
  expect_caught("rqspinlock's second entry stays", configs::smp, "told of a deadlock that is none",
                nmi_comes<TableLock<Flaw::entry_twice>, From::end>);
  stands(nmi_comes<Waiting<configs::smp>, From::end>);
}

TEST(ResilientHistoric, IrqsThatComeBackBeforeTheUnlockAreCaught) {
  expect_caught("rqspinlock's irqs come back too soon", configs::smp,
                "a deadlock with a holder that masks irqs",
                irq_comes<TableLock<Flaw::irqs_before_unlock>>);
  stands(irq_comes<TableLock<Flaw::entry_before_word>>);
  stands(irq_comes<Waiting<configs::smp>>);
}

TEST(ResilientHistoric, AWaiterThatCannotLeaveIsCaught) {
  expect_caught("rqspinlock's leaving waiter is stuck", configs::smp, "nobody can go on",
                cross<QueueLock<true>>);
  stands(cross<QueueLock<false>>);
  stands(cross<Waiting<configs::smp>>);
}

}  // namespace
}  // namespace nestlock::testing
