// ResilientSpinLock on the simulator: at each step of two and three CPUs and of what interrupts them
// nobody is told of a deadlock that is none, and nobody waits in one. How the kernel's rqspinlock fails is
// explore_rqspinlock_test.
#include <cstring>
#include <initializer_list>
#include <utility>

#include "gtest/gtest.h"
#include "nestlock/nestlock.h"
#include "nestlock/testing/explorer.h"
#include "nestlock/testing/sim_port.h"
#include "test/lock/resilient_exploring.h"
#include "test/support/exploring.h"

namespace nestlock::testing {
namespace {

using test_support::expect_met;
using test_support::show;

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

}  // namespace
}  // namespace nestlock::testing
