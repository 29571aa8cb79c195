// Every interleaving and every arrival of an interrupt, of the real locks on the simulator's port.
// Rows R6 and R7, which want two tasks on one CPU, are here, and what wants a migration.
#include "gtest/gtest.h"
#include "nestlock/nestlock.h"
#include "nestlock/testing/explorer.h"
#include "nestlock/testing/sim_port.h"
#include "support/exploring.h"

namespace nestlock::testing {
namespace {

using test_support::caught;
using test_support::explored;
using test_support::show;

template <class Config>
class OnEachKernel : public ::testing::Test {};

template <Config kC>
struct Simulated {
  using K = SimKernel<kC>;
  using P = SimPort<kC>;
};
using Uniprocessor = ::testing::Types<Simulated<configs::up>, Simulated<configs::up_debug>>;
using Smp = ::testing::Types<Simulated<configs::smp>, Simulated<configs::smp_debug>>;
using Rt = ::testing::Types<Simulated<configs::smp_rt>, Simulated<configs::smp_rt_debug>>;

// The interrupt's part: a try, counted as what it found. `users`: those who have, or may have, the
// lock; a refusal without any is a lie.
template <class Lock>
auto tries(Sim& sim, Lock& lock, Exclusive& section, unsigned& users) {
  return [&sim, &lock, &section, &users] {
    const bool in_use = users != 0;
    ++users;
    if (lock.try_lock()) {
      section.visit();
      lock.unlock();
      sim.count("granted");
    } else {
      sim.check(in_use, "refused a free lock");
      sim.count("refused");
    }
    --users;
  };
}

template <class Lock>
void holds(Lock& lock, Exclusive& section, unsigned& users) {
  ++users;
  lock.lock();
  section.visit();
  lock.unlock();
  --users;
}

// ---- one CPU: a task, and every kind of interrupt on top of it and of each other ----------------

template <class T>
class OnOneCpu : public OnEachKernel<T> {};
TYPED_TEST_SUITE(OnOneCpu, Uniprocessor);

TYPED_TEST(OnOneCpu, ATryTellsTheTruthAtEveryStep) {
  const auto r = show("TrySpinLock", TypeParam::K::kConfig, "task, softirq, irq, nmi",
                      [](Sim& sim) {
                        auto& lock = sim.make<BasicTrySpinLock<typename TypeParam::K>>();
                        auto& section = sim.make<Exclusive>();
                        auto& users = sim.make<unsigned>(0u);
                        sim.task(0, [&] {
                          step();
                          holds(lock, section, users);
                          step();
                        });
                        sim.softirq(0, tries(sim, lock, section, users));
                        sim.irq(0, tries(sim, lock, section, users));
                        sim.nmi(0, tries(sim, lock, section, users));
                      },
                      {.max_schedules = 200'000});
  EXPECT_TRUE(r.ok()) << r.text();
  EXPECT_GT(r.counts.at("granted"), 0u);
  EXPECT_GT(r.counts.at("refused"), 0u);
}

// The historic bug: without state the try is granted on top of the holder.
TEST(OnOneCpuHistoric, TheStatelessLockIsCaught) {
  const auto r = explore([](Sim& sim) {
    auto& lock = sim.make<BasicSpinLock<SimKernel<configs::up>>>();
    auto& section = sim.make<Exclusive>();
    auto& users = sim.make<unsigned>(0u);
    sim.task(0, [&] { holds(lock, section, users); });
    sim.nmi(0, tries(sim, lock, section, users));
  });
  caught("explore", "a lock without state", "up", !r.failure.empty());
  EXPECT_EQ(r.failure, "nmi 0 is in a section with task 0") << r.text();
}

// ---- two and three CPUs, each with an interrupt -------------------------------------------------

template <class T>
class OnTwoCpus : public OnEachKernel<T> {};
TYPED_TEST_SUITE(OnTwoCpus, Smp);

template <class K>
void cpus_with_an_nmi(Sim& sim, unsigned cpus, unsigned nmis) {
  auto& lock = sim.make<BasicTrySpinLock<K>>();
  auto& section = sim.make<Exclusive>();
  for (unsigned cpu = 0; cpu < cpus; ++cpu)
    sim.task(cpu, [&] {
      lock.lock();
      section.visit();
      lock.unlock();
    });
  for (unsigned cpu = 0; cpu < nmis; ++cpu)
    sim.nmi(cpu, [&] {
      if (!lock.try_lock()) return sim.count("refused");
      section.visit();
      lock.unlock();
      sim.count("granted");
    });
  sim.at_end([&, cpus] { sim.check(section.visits() >= cpus, "each task had its turn"); });
}

TYPED_TEST(OnTwoCpus, ExcludesAndEveryTaskHasItsTurn) {
  using K = typename TypeParam::K;
  const auto r = show("TrySpinLock", K::kConfig, "2 CPUs, 1 nmi",
                      [](Sim& sim) { cpus_with_an_nmi<K>(sim, 2, 1); }, {.max_schedules = 30'000});
  EXPECT_TRUE(r.ok()) << r.text();
  const auto three =
      show("TrySpinLock", K::kConfig, "3 CPUs, 3 nmis",
           [](Sim& sim) { cpus_with_an_nmi<K>(sim, 3, 3); }, {.random = 5'000, .seed = 1});
  EXPECT_TRUE(three.ok()) << three.text();
  EXPECT_GT(three.counts.at("granted"), 0u);
  EXPECT_GT(three.counts.at("refused"), 0u);
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
  caught("explore", "the uniprocessor's byte on two CPUs", "smp", !r.ok());
  EXPECT_FALSE(r.ok());
  EXPECT_EQ(r.failure.find("is in a section with") == std::string::npos, false) << r.text();
}

// ---- two tasks of one CPU -----------------------------------------------------------------------

template <class T>
class TwoTasks : public OnEachKernel<T> {};
TYPED_TEST_SUITE(TwoTasks, Rt);

TYPED_TEST(TwoTasks, R6_TheSecondWaitsForThePreemptedHolder) {
  const auto r = show("SpinLock", TypeParam::K::kConfig, "R6: 2 tasks of a CPU",
                      [](Sim& sim) {
                        auto& lock = sim.make<BasicSpinLock<typename TypeParam::K>>();
                        auto& section = sim.make<Exclusive>();
                        sim.task(0, [&] {
                          lock.lock();
                          section.visit();
                          lock.unlock();
                        });
                        sim.task(0, [&] {
                          if (!lock.try_lock()) {
                            sim.count("the try is refused");
                            lock.lock();
                          }
                          section.visit();
                          lock.unlock();
                        });
                      },
                      {.interruptions = 3});
  EXPECT_TRUE(r.ok() && r.complete) << r.text();
  EXPECT_GT(r.counts.at("the try is refused"), 0u);
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
TEST(Migration, LockHereIsTheLockOfTheCpuItIsOn) {
  using K = SimKernel<configs::smp>;
  using P = SimPort<configs::smp>;
  struct Slot {
    BasicLocalLock<K> lock;
    Exclusive section;
  };
  for (const bool by_guard : {false, true}) {
    const ExploreOptions options{.max_schedules = 100'000, .migrations = 1};
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
        },
        options);
    if (by_guard)
      explored("LocalLock", "smp", "2 tasks, 2 CPUs, a migration", r, options);
    else
      caught("explore", "asks for the CPU before it pins", "smp", !r.ok());
    EXPECT_EQ(r.ok(), by_guard) << r.text();
    EXPECT_TRUE(!by_guard || r.complete) << r.text();
  }
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
