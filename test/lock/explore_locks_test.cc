// Every interleaving and every arrival of an interrupt, of the real locks on the simulator's port.
// Rows R6 and R7, which want two tasks on one CPU, are here, and what wants a migration.
#include <algorithm>
#include <initializer_list>
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
using test_support::each_lock;
using test_support::expect_caught;
using test_support::explored;
using test_support::LockScene;
using test_support::show;

template <class Config>
class OnEachKernel : public ::testing::Test {};

template <Config kC>
struct Simulated {
  using K = SimKernel<kC>;
  using P = SimPort<kC>;
};
using Uniprocessor = ::testing::Types<Simulated<configs::up>, Simulated<configs::up_debug>,
                                      Simulated<configs::up_rt>, Simulated<configs::up_rt_debug>>;
using Smp = ::testing::Types<Simulated<configs::smp>, Simulated<configs::smp_debug>,
                             Simulated<configs::smp_rt>, Simulated<configs::smp_rt_debug>>;
using Rt = ::testing::Types<Simulated<configs::smp_rt>, Simulated<configs::smp_rt_debug>>;

// What a search never saw it has not shown.
void expect_met(const ExploreResult& r, std::initializer_list<const char*> moments) {
  for (const char* const moment : moments)
    EXPECT_TRUE(r.counts.contains(moment)) << "never " << moment << ": " << r.text();
}

// A holder that does not mask is interrupted by one that then waits for it: two owners where the
// lock has no state, a report where the word knows that it is for ever, else for ever.
template <class L>
void expect_unmasked_caught(const char* name, const test_support::Scenario& set_up) {
  using Scene = LockScene<L>;
  constexpr bool kKnows = Scene::kConfig.debug || L::kLockType == LockType::local_try;
  constexpr bool kSpins = Scene::kConfig.smp && !Scene::kLocal;
  const char* const how = kSpins   ? "nobody can go on"
                          : kKnows ? name_of(Finding::never_returns)
                                   : "is in a section with";
  const std::string mutant =
      std::string(name) + ", " + name_of(Scene::kConfig) + ": an irq waits and is not masked";
  expect_caught(mutant.c_str(), Scene::kConfig, how, set_up);
}

// ---- one CPU: a task, and every kind of interrupt on top of it and of each other ----------------

// Those that may use the lock at all. `masks`: whether the holder keeps interrupts out that wait.
template <class L>
std::string nested_on_one_cpu(Sim* sim, bool masks) {
  using Scene = LockScene<L>;
  auto* const scene = sim ? &sim->make<Scene>(*sim) : nullptr;
  if (sim)
    sim->task(0, [=] {
      step();
      if (Scene::kOnTopOfHolder || !masks)
        scene->waits(0);
      else
        scene->waits(0, irq_save);
      step();
    });
  std::string who = "task";
  const auto add = [&](Context level, const char* name, auto to) {
    if (!Scene::may(contexts::Call::try_lock, level) && !Scene::may(contexts::Call::lock, level))
      return;
    who += std::string(", ") + name;
    if (sim) (sim->*to)(0, [=] { scene->interrupts(0); });
  };
  add(Context::softirq, "softirq", &Sim::softirq);
  add(Context::hardirq, "irq", &Sim::irq);
  add(Context::nmi, "nmi", &Sim::nmi);
  return who;
}

template <class T>
class OnOneCpu : public OnEachKernel<T> {};
TYPED_TEST_SUITE(OnOneCpu, Uniprocessor);

// A lock that promises it is tried at every step, and tells the truth. A plain lock is waited for
// by those whom its holders mask, and by the others tried when it is free.
TYPED_TEST(OnOneCpu, ExcludesAndTellsTheTruthAtEveryStep) {
  each_lock<typename TypeParam::K>([]<class L>(const char* name) {
    using Scene = LockScene<L>;
    const std::string who = nested_on_one_cpu<L>(nullptr, true);
    if (who == "task") return;  // RT's LocalLock: no interrupt may touch it
    const auto r =
        show(name, Scene::kConfig, who, [](Sim& sim) { nested_on_one_cpu<L>(&sim, true); },
             {.max_schedules = 50'000});
    EXPECT_TRUE(r.ok() && r.complete) << r.text();
    if (Scene::kOnTopOfHolder)
      expect_met(r, {"granted", "refused"});
    else if (Scene::kTries)
      expect_met(r, {"granted", "kept away"});
    if (Scene::kOnTopOfHolder && L::kSleeps) expect_met(r, {"refused at the gate"});
    if (!Scene::kOnTopOfHolder && !L::kSleeps) expect_met(r, {"locked"});
  });
}

TYPED_TEST(OnOneCpu, AHolderThatDoesNotMaskIsCaught) {
  each_lock<typename TypeParam::K>([]<class L>(const char* name) {
    using Scene = LockScene<L>;
    if constexpr (!Scene::kOnTopOfHolder && !L::kSleeps)
      expect_unmasked_caught<L>(name, [](Sim& sim) { nested_on_one_cpu<L>(&sim, false); });
  });
}

// The historic bug: without state the try is granted on top of the holder.
TEST(OnOneCpuHistoric, TheStatelessLockIsCaught) {
  expect_caught("a lock without state", configs::up, "nmi 0 is in a section with task 0",
                [](Sim& sim) {
                  auto& lock = sim.make<BasicSpinLock<SimKernel<configs::up>>>();
                  auto& section = sim.make<Exclusive>();
                  sim.task(0, [&] {
                    lock.lock();
                    section.visit();
                    lock.unlock();
                  });
                  sim.nmi(0, [&] {
                    if (!lock.try_lock()) return;
                    section.visit();
                    lock.unlock();
                  });
                });
}

// ---- two and three CPUs, with interrupts --------------------------------------------------------

template <class T>
class OnTwoCpus : public OnEachKernel<T> {};
TYPED_TEST_SUITE(OnTwoCpus, Smp);

// A task on each CPU and, on the first `interrupted` of them, an interrupt at level `to`.
template <class L, class Tag>
void tasks_and_interrupts(Sim& sim, unsigned cpus, unsigned interrupted, Tag tag,
                          void (Sim::*to)(unsigned, std::function<void()>), bool waits) {
  auto& scene = sim.make<LockScene<L>>(sim);
  for (unsigned cpu = 0; cpu < cpus; ++cpu)
    sim.task(cpu, [&scene, cpu, tag] { scene.waits(cpu, tag); });
  for (unsigned cpu = 0; cpu < interrupted; ++cpu)
    (sim.*to)(cpu, [&scene, &sim, cpu, waits] {
      if (!waits) return scene.tries(cpu);
      scene.waits(cpu);
      sim.count("locked");
    });
  unsigned turns = !LockScene<L>::kWaits ? 1 : waits ? cpus + interrupted : cpus;
  sim.at_end([&sim, &scene, turns] { sim.check(scene.visits() >= turns, "each had its turn"); });
}

// A bound on interruptions. On SMP three of the locks are one word, step for step (and what a debug
// configuration adds is the same steps): one of them is searched deeper.
template <class L>
constexpr std::uint64_t depth() {
  return (L::Kernel::kConfig.debug ? 1 : 2) + (L::kLockType == LockType::try_spin ? 1 : 0);
}

// What interrupts try is tried from an nmi, but on PREEMPT_RT a sleeping lock from a softirq, since
// the gate refuses all above it.
TYPED_TEST(OnTwoCpus, ExcludesAndTellsTheTruthToInterrupts) {
  each_lock<typename TypeParam::K>([]<class L>(const char* name) {
    using Scene = LockScene<L>;
    if (!Scene::kTries) return;
    const auto level = L::kSleeps ? &Sim::softirq : &Sim::nmi;
    const std::string interrupt = L::kSleeps ? "softirq" : "nmi";
    const auto search = [&](unsigned cpus, unsigned interrupted, const ExploreOptions& options) {
      const auto r = show(
          name, Scene::kConfig,
          std::to_string(cpus) + " CPUs, " + std::to_string(interrupted) + " " + interrupt +
              (interrupted > 1 ? "s" : ""),
          [=](Sim& sim) { tasks_and_interrupts<L>(sim, cpus, interrupted, no_irq, level, false); },
          options);
      EXPECT_TRUE(r.ok()) << r.text();
      expect_met(r, {"granted", "refused"});
      return r;
    };
    // Complete where it fits: in debug each of the three that spin has ten times the steps.
    constexpr bool kLong = Scene::kConfig.debug && !L::kSleeps && !Scene::kLocal && Scene::kWaits;
    const auto one = kLong ? ExploreOptions{.interruptions = 2} : ExploreOptions{};
    EXPECT_TRUE(search(2, 1, one).complete);
    EXPECT_TRUE(search(2, 2, {.interruptions = depth<L>()}).complete);
    search(3, 3, {.random = 1'000, .seed = 1});
  });
}

// Irqs that wait, and everybody masks them.
TYPED_TEST(OnTwoCpus, ExcludesIrqsThatWaitAndEachHasItsTurn) {
  each_lock<typename TypeParam::K>([]<class L>(const char* name) {
    using Scene = LockScene<L>;
    if constexpr (Scene::may(contexts::Call::lock, Context::hardirq)) {
      const auto r =
          show(name, Scene::kConfig, "2 CPUs, 2 irqs that wait",
               [](Sim& sim) { tasks_and_interrupts<L>(sim, 2, 2, irq_save, &Sim::irq, true); },
               {.interruptions = std::min<std::uint64_t>(depth<L>(), 2)});
      EXPECT_TRUE(r.ok() && r.complete) << r.text();
      expect_met(r, {"locked"});
      expect_unmasked_caught<L>(
          name, [](Sim& sim) { tasks_and_interrupts<L>(sim, 2, 2, no_irq, &Sim::irq, true); });
    }
  });
}

// A lock with a hole between its look and its store, as the uniprocessor's has, is none here.
TEST(OnTwoCpusHistoric, TheUniprocessorsByteIsCaught) {
  const auto r = explore([](Sim& sim) {
    using Word = nestlock::internal::ByteWord<SimKernel<configs::smp>>;
    auto& word = sim.make<Word>();
    auto& section = sim.make<Exclusive>();
    for (unsigned cpu : {0u, 1u})
      sim.task(cpu, [&] {
        if (!word.try_acquire()) return;
        section.visit();
        word.release();
      });
  });
  caught("explore", "byte between cpus", "smp", !r.ok());
  EXPECT_FALSE(r.ok());
  EXPECT_EQ(r.failure.find("is in a section with") == std::string::npos, false) << r.text();
}

// ---- two tasks of one CPU -----------------------------------------------------------------------

template <class T>
class TwoTasks : public OnEachKernel<T> {};
TYPED_TEST_SUITE(TwoTasks, Rt);

// And a softirq, whose try may find either of them; an irq's and an nmi's stop at the gate.
TYPED_TEST(TwoTasks, R6_TheSecondWaitsForThePreemptedHolder) {
  each_lock<typename TypeParam::K>([]<class L>(const char* name) {
    using Scene = LockScene<L>;
    if (!L::kSleeps || !Scene::kTries) return;
    for (const bool softirq : {false, true}) {
      const auto r = show(name, Scene::kConfig,
                          softirq ? "R6: 2 tasks of a CPU, softirq" : "R6: 2 tasks of a CPU",
                          [softirq](Sim& sim) {
                            auto& scene = sim.make<Scene>(sim);
                            sim.task(0, [&] { scene.waits(0); });
                            sim.task(0, [&] {
                              scene.tries(0);
                              scene.waits(0);
                            });
                            if (softirq) sim.softirq(0, [&] { scene.tries(0); });
                          },
                          {.interruptions = softirq ? 2u : 3u});
      EXPECT_TRUE(r.ok() && r.complete) << r.text();
      expect_met(r, {"granted", "refused"});
    }
  });
}

// Sections with bottom halves off interleave on PREEMPT_RT: found without the lock, not with it.
TYPED_TEST(TwoTasks, R7_SectionsWithBottomHalvesOffNeedTheNestedLock) {
  using P = typename TypeParam::P;
  for (const bool locked : {false, true}) {
    const ExploreOptions options{.max_schedules = 100'000};
    const auto r = explore(
        [locked](Sim& sim) {
          auto& lock = sim.make<BasicLocalLock<typename TypeParam::K>>();
          auto& section = sim.make<Exclusive>();
          for (int i = 0; i < 2; ++i)
            sim.task(0, [&, locked]() NESTLOCK_NO_TSA {
              P::bh_disable();
              if (locked) lock.lock_nested_bh();
              section.visit();
              if (locked) lock.unlock_nested_bh();
              P::bh_enable();
            });
        },
        options);
    const char* const config = name_of(TypeParam::K::kConfig);
    if (locked)
      explored("LocalLock", config, "R7: 2 tasks of a CPU, bottom halves off", r, options);
    else
      caught("explore", "R7 without the nested lock", config, !r.ok());
    EXPECT_EQ(r.ok(), locked) << r.text();
    EXPECT_TRUE(!locked || r.complete) << r.text();
  }
}

// ---- migration ----------------------------------------------------------------------------------

// The guard pins before it asks for the CPU. A copy of it that asks first takes another CPU's lock.
template <class L>
void lock_here_is_this_cpus(const char* name) {
  using Scene = LockScene<L>;
  using K = typename Scene::K;
  using P = typename Scene::P;
  struct Slot {
    L lock;
    Exclusive section;
  };
  for (const bool by_guard : {false, true}) {
    ExploreOptions options{.migrations = 1};
    if (Scene::kTries && !L::kSleeps) options.interruptions = 3;
    const auto r = explore(
        [by_guard](Sim& sim) {
          auto& slots = sim.make<BasicPerCpu<K, Slot>>();
          for (unsigned cpu : {0u, 1u})
            sim.task(cpu, [&, by_guard] {
              if (by_guard) {
                auto here = slots.template lock_here<&Slot::lock>();
                sim.check(&slots.on(P::cpu_id()) == &*here, "this CPU's");
                here->section.visit();
              } else {
                Slot& slot = slots.here();
                slot.lock.lock();
                sim.check(&slots.on(P::cpu_id()) == &slot, "this CPU's");
                slot.section.visit();
                slot.lock.unlock();
              }
            });
          if constexpr (Scene::kTries && !L::kSleeps)
            sim.nmi(0, [&] {
              auto here = slots.template try_lock_here<&Slot::lock>();
              if (here) here->section.visit();
              sim.count(here ? "granted" : "refused");
            });
        },
        options);
    const char* const config = name_of(Scene::kConfig);
    if (by_guard)
      explored(name, config, "2 tasks, 2 CPUs, a migration", r, options);
    else
      caught("explore", std::string(name) + " asks for the CPU before it pins", config, !r.ok());
    EXPECT_EQ(r.ok(), by_guard) << r.text();
    EXPECT_TRUE(!by_guard || r.complete) << r.text();
    if (by_guard && Scene::kTries && !L::kSleeps) expect_met(r, {"granted", "refused"});
  }
}

TEST(Migration, LockHereIsTheLockOfTheCpuItIsOn) {
  const auto each = []<class L>(const char* name) {
    if constexpr (LockScene<L>::kLocal) lock_here_is_this_cpus<L>(name);
  };
  each_lock<SimKernel<configs::smp>>(each);
  each_lock<SimKernel<configs::smp_rt>>(each);
}

// A holder who unpins may be moved, and gives the lock back on another CPU: debug says so.
template <class K, class Lock>
ExploreResult unlock_after(bool unpins) {
  using P = typename K::Port;
  return explore(
      [unpins](Sim& sim) {
        auto& lock = sim.make<Lock>();
        sim.task(0, [&lock, unpins]() NESTLOCK_NO_TSA {
          constexpr bool kSleeps = Lock::kSleeps;
          lock.lock();
          if (unpins) kSleeps ? P::migrate_enable() : P::preempt_enable();
          step();
          if (unpins) kSleeps ? P::migrate_disable() : P::preempt_disable();
          lock.unlock();
        });
        sim.task(1, [] { step(); });
      },
      {.migrations = 1});
}

TEST(Migration, AnUnlockOnAnotherCpuIsReported) {
  const auto both = []<class K, class Lock>(K, Lock*, Config config) {
    const auto wrong = unlock_after<K, Lock>(true);
    EXPECT_NE(wrong.failure.find(name_of(Finding::wrong_cpu)), std::string::npos) << wrong.text();
    caught("explore", "wrong_cpu", name_of(config), !wrong.ok());
    const auto right = unlock_after<K, Lock>(false);
    EXPECT_TRUE(right.ok() && right.complete) << right.text();
  };
  using S = SimKernel<configs::smp_debug>;
  using R = SimKernel<configs::smp_rt_debug>;
  both(S{}, static_cast<BasicTrySpinLock<S>*>(nullptr), configs::smp_debug);
  both(S{}, static_cast<BasicRawSpinLock<S>*>(nullptr), configs::smp_debug);
  both(R{}, static_cast<BasicSpinLock<R>*>(nullptr), configs::smp_rt_debug);
}

}  // namespace
}  // namespace nestlock::testing
