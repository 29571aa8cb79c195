// The SMP word that parks its waiters, on the simulator, which owns the sleep: every interleaving of
// the waiters' steps with the kernel's, every arrival of an interrupt at a waiter, awake or asleep.
// No sleep ends by a limit there: a wake-up that is lost is a deadlock.
#include <string>

#include "gtest/gtest.h"
#include "nestlock/nestlock.h"
#include "nestlock/testing/explorer.h"
#include "nestlock/testing/sim_port.h"
#include "test/support/exploring.h"
#include "test/support/sim_locks.h"

namespace nestlock::testing {
namespace {

using test_support::caught;
using test_support::LockScene;
using test_support::show;

using K = SimParkingKernel<configs::smp>;
using Lock = BasicTrySpinLock<K>;
using Word = nestlock::internal::ParkWord<K>;
static_assert(std::is_same_v<nestlock::internal::SmpWord<K>, Word>);
using Fifo = SimKernel<configs::smp>;
static_assert(
    std::is_same_v<nestlock::internal::SmpWord<Fifo>, nestlock::internal::FifoWord<Fifo>>);

constexpr const char* kSubject = "ParkWord (TrySpinLock)";
constexpr unsigned kPasses = Word::kPasses;

// What the word asks the machine for, counted: a search that never saw a sleeper has shown nothing.
struct Counting : SimParkingPort<configs::smp> {
  static inline Sim* sim = nullptr;
  static bool park(const void* word, std::uint32_t expected, std::uint64_t ns) noexcept {
    const bool slept = SimParkingPort::park(word, expected, ns);
    sim->count(slept ? "slept" : "changed before the sleep");
    return slept;
  }
  static void unpark_one(const void* word) noexcept {
    // Whom the holder wakes could take its processor. No step lies between this and the last one.
    sim->check(*static_cast<const unsigned char*>(word) == 0, "woken after the release");
    sim->count("woke one");
    SimParkingPort::unpark_one(word);
  }
  static bool any_parked(const void* word) noexcept {
    const bool any = SimParkingPort::any_parked(word);
    sim->count(any ? "saw a sleeper" : "saw none");
    return any;
  }
  static void end_nap(const void*) noexcept { sim->count("closed"); }
};
using Counted = BasicTrySpinLock<KernelOf<configs::smp, Counting>>;

void expect_met(const ExploreResult& r, std::initializer_list<const char*> moments) {
  for (const char* const moment : moments)
    EXPECT_TRUE(r.counts.contains(moment)) << "never " << moment << ": " << r.text();
}

// A task on each of `cpus` CPUs, each with `turns` sections, and an nmi on the first `nmis` of them.
template <class L>
void tasks_and_nmis(Sim& sim, unsigned cpus, unsigned turns, unsigned nmis) {
  Counting::sim = &sim;
  auto& scene = sim.make<LockScene<L>>(sim);
  for (unsigned cpu = 0; cpu < cpus; ++cpu)
    sim.task(cpu, [&scene, cpu, turns] {
      for (unsigned i = 0; i < turns; ++i) scene.waits(cpu);
    });
  for (unsigned cpu = 0; cpu < nmis; ++cpu) sim.nmi(cpu, [&scene, cpu] { scene.tries(cpu); });
  sim.at_end([&sim, &scene, cpus, turns] {
    sim.check(scene.visits() >= cpus * turns, "each had its turns");
  });
}

template <class L = Counted>
ExploreResult search(unsigned cpus, unsigned turns, unsigned nmis, const ExploreOptions& options,
                     const std::string& what = "") {
  const auto r = show(
      kSubject, configs::smp,
      what + std::to_string(cpus) + " CPUs, " + std::to_string(turns) + " turns, " +
          std::to_string(nmis) + " nmis",
      [=](Sim& sim) { tasks_and_nmis<L>(sim, cpus, turns, nmis); }, options);
  EXPECT_TRUE(r.ok()) << r.text();
  return r;
}

TEST(ParkWord, TwoCpus) {
  EXPECT_TRUE(search(2, 1, 0, {}).complete);
  EXPECT_TRUE(search(2, 2, 0, {.interruptions = 4}).complete);
  const auto r = search(2, 1, 1, {});
  EXPECT_TRUE(r.complete);
  expect_met(r, {"granted", "refused"});
  EXPECT_TRUE(search(2, 1, 2, {.interruptions = 2}).complete);
}

TEST(ParkWord, ThreeCpusWhereOneSleeps) {
  const auto r = search(3, 1, 0, {.interruptions = 3});
  EXPECT_TRUE(r.complete);
  expect_met(r, {"slept", "changed before the sleep", "woke one", "saw a sleeper", "saw none"});
  expect_met(search(3, 2, 0, {.random = 5'000}), {"slept", "woke one", "closed"});
  expect_met(search(3, 2, 3, {.random = 5'000}), {"slept", "woke one", "granted", "refused"});
}

// The same with a head that is in a hurry after its first nap, and passes without a bound.
struct Hurried : Counting {
  static constexpr Parking kParking{
      .looks = 1, .passes = 1000, .first_nap_ns = 1, .longest_nap_ns = 1};
  static void end_nap(const void*) noexcept { sim->count("called by who passed it"); }
};
using HurriedLock = BasicTrySpinLock<KernelOf<configs::smp, Hurried>>;

ExploreResult hurried(unsigned cpus, unsigned turns, unsigned nmis, const ExploreOptions& options) {
  return search<HurriedLock>(cpus, turns, nmis, options, "a head in a hurry, ");
}

TEST(ParkWord, AHeadInAHurry) {
  const auto r = hurried(2, 2, 0, {.interruptions = 4});
  EXPECT_TRUE(r.complete);
  expect_met(r, {"called by who passed it"});
  EXPECT_TRUE(hurried(2, 1, 1, {.interruptions = 3}).complete);
  const auto three = hurried(3, 1, 0, {.interruptions = 3});
  EXPECT_TRUE(three.complete);
  expect_met(three, {"slept", "woke one"});
  expect_met(hurried(3, 2, 3, {.random = 5'000}),
             {"slept", "woke one", "called by who passed it", "granted", "refused"});
  expect_met(hurried(4, 2, 2, {.random = 5'000}), {"slept", "woke one", "granted"});
}

// The same where each has had its turn, whenever it is asked: who finds the lock held sleeps at once, and the first
// who passes while another sleeps closes the lock.
struct Turned : Counting {
  static constexpr Parking kParking{.looks = 1, .passes = 1000, .turn_us = 1};
  static void turn_begins() noexcept { sim->count("began a turn"); }
  static std::uint32_t turn_us() noexcept { return sim->count("had its turn"), ~0u; }
};
using TurnedLock = BasicTrySpinLock<KernelOf<configs::smp, Turned>>;
static_assert(TurnPort<Turned>);

ExploreResult turned(unsigned cpus, unsigned turns, unsigned nmis, const ExploreOptions& options) {
  return search<TurnedLock>(cpus, turns, nmis, options, "each has had its turn, ");
}

TEST(ParkWord, WhoHasHadItsTurn) {
  EXPECT_TRUE(turned(2, 2, 0, {.interruptions = 4}).complete);
  const auto three = turned(3, 1, 0, {.interruptions = 3});
  EXPECT_TRUE(three.complete);
  expect_met(three, {"slept", "woke one", "had its turn", "began a turn"});
  expect_met(turned(3, 2, 3, {.random = 5'000}),
             {"slept", "woke one", "closed", "had its turn", "granted", "refused"});
  expect_met(turned(4, 2, 2, {.random = 5'000}), {"slept", "woke one", "closed", "granted"});
}

TEST(ParkWord, FourCpusWhereTwoSleep) {
  expect_met(search(4, 2, 2, {.random = 5'000}), {"slept", "woke one", "closed", "granted"});
}

// `waiters` wait for a lock that is held; then another takes it again and again by lock(), and counts
// how often before each of them.
ExploreResult bypass(unsigned waiters, const ExploreOptions& options) {
  const auto r = show(
      kSubject, configs::smp, "a newcomer passes " + std::to_string(waiters),
      [waiters](Sim& sim) {
        struct State {
          Word word;
          unsigned at = 0;          // waiters that are through
          unsigned passes[3] = {};  // of each
        };
        auto& s = sim.make<State>();
        s.word.acquire();
        sim.task(0, [&s, waiters, &sim] {
          // The waiters are as registered as they can be: a head, and the others asleep.
          auto* const m = internal::SimMachine::current();
          if (!s.word.contended() || m->parked_on(&s.word) + 1 != waiters) {
            sim.count("came too early");
            return s.word.release();
          }
          const unsigned turns = waiters * kPasses + 2;
          for (unsigned i = 0; i < turns; ++i) {
            s.word.release();
            s.word.acquire();
            for (unsigned w = s.at; w < waiters; ++w)
              sim.check(++s.passes[w] <= (w + 1) * kPasses, "passed too often");
          }
          s.word.release();
          sim.count("passed");
        });
        for (unsigned w = 0; w < waiters; ++w)
          sim.task(w + 1, [&s] {
            s.word.acquire();
            ++s.at;
            s.word.release();
          });
        sim.at_end([&s, &sim, waiters] { sim.check(s.at == waiters, "each had its turn"); });
      },
      options);
  EXPECT_TRUE(r.ok()) << r.text();
  expect_met(r, {"passed"});
  return r;
}

TEST(ParkWord, ANewcomerPassesOnlySoOften) {
  EXPECT_TRUE(bypass(1, {.interruptions = 4}).complete);
  EXPECT_TRUE(bypass(2, {.interruptions = 2}).complete);
  bypass(3, {.random = 10'000});
}

// An nmi that came upon a waiter takes the lock if it is free, asleep as the waiter may be.
TEST(ParkWord, AnNmiOnAWaiterIsGrantedTheFreeLock) {
  const auto r = show(kSubject, configs::smp, "an nmi on a waiter", [](Sim& sim) {
    struct State {
      Word word;
      bool waits = false, released = false;
    };
    auto& s = sim.make<State>();
    s.word.acquire();
    sim.task(0, [&s] {
      s.word.release();
      s.released = true;
    });
    sim.task(1, [&s] {
      s.waits = true;
      s.word.acquire();
      s.waits = false;
      s.word.release();
    });
    sim.nmi(1, [&s, &sim] {
      step();
      const bool sure = s.waits && s.released && !s.word.held();
      const bool got = sim.within(2, [&] { return s.word.try_acquire(); });
      sim.check(got || !sure, "refused a free lock");
      if (sure) sim.count("granted on a waiter");
      if (got) s.word.release();
    });
  });
  EXPECT_TRUE(r.ok() && r.complete) << r.text();
  expect_met(r, {"granted on a waiter"});
}

}  // namespace
}  // namespace nestlock::testing
