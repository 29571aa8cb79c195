// The explorer's own test: what it must count, and what it must find.
#include "nestlock/testing/explorer.h"

#include "gtest/gtest.h"
#include "nestlock/testing/sim_port.h"
#include "test/support/exploring.h"
#include "test/support/verify_line.h"

namespace nestlock::testing {
namespace {

void three_steps_each(Sim& sim, bool same) {
  auto& a = sim.make<SimAtomic<int>>();
  auto& b = sim.make<SimAtomic<int>>();
  const auto three = [](SimAtomic<int>& x) {
    return [&x] {
      for (int i = 0; i < 3; ++i) x.fetch_add(1);
    };
  };
  sim.task(0, three(a));
  sim.task(1, three(same ? a : b));
}

TEST(Explorer, TwoTasksOfThreeStepsHaveTwentySchedules) {
  const auto r = explore([](Sim& s) { three_steps_each(s, true); }, {.reduce = false});
  EXPECT_TRUE(r.ok() && r.complete) << r.text();
  test_support::explored("the explorer itself", "-", "2 tasks of 3 steps", r,
                         ExploreOptions{.reduce = false});
  EXPECT_EQ(r.schedules, 20u);
  EXPECT_EQ(explore([](Sim& s) { three_steps_each(s, false); }, {.reduce = false}).schedules, 20u);
}

TEST(Explorer, ReductionKeepsWhatDiffersAndNoMore) {
  EXPECT_EQ(explore([](Sim& s) { three_steps_each(s, true); }).schedules, 20u);
  const auto r = explore([](Sim& s) { three_steps_each(s, false); });
  EXPECT_TRUE(r.ok() && r.complete) << r.text();
  EXPECT_EQ(r.schedules, 1u);
}

// A lost update.
void two_increments(Sim& sim) {
  auto& n = sim.make<SimAtomic<int>>();
  for (unsigned cpu : {0u, 1u}) sim.task(cpu, [&n] { n.store(n.load() + 1); });
  sim.at_end([&sim, &n] { sim.check(n.load() == 2, "both counted"); });
}

// Found with and without reduction, with a schedule that shows it again.
TEST(Explorer, FindsALostUpdateAndReplaysIt) {
  const auto set_up = two_increments;
  for (const bool reduce : {true, false}) {
    const auto r = explore(set_up, {.reduce = reduce});
    EXPECT_EQ(r.failure, "check failed: both counted") << r.text();
    EXPECT_EQ(explore(set_up, {.replay = r.schedule}).failure, r.failure);
  }
  test_support::expect_caught("a lost update", configs::smp, "both counted", set_up);
  EXPECT_FALSE(explore(set_up, {.random = 100}).ok());
  EXPECT_TRUE(explore(set_up, {.interruptions = 0}).ok()) << "one after the other";
}

TEST(Explorer, AScheduleIsReplayedOnRequest) {
  const auto run = [](const char* schedule) {
    setenv("NESTLOCK_CASE", "counter, smp: lost update", 1);
    setenv("NESTLOCK_REPLAY", schedule, 1);
    test_support::show("counter", configs::smp, "lost update", two_increments);
  };
  const std::string lost = explore(two_increments).schedule;
  EXPECT_EXIT(run(lost.c_str()), ::testing::ExitedWithCode(1), "");
  EXPECT_EXIT(run("0@0x2 1@1x2"), ::testing::ExitedWithCode(0), "");
}

// A thousand steps of one before the first of the other: a schedule of few changes shows it, and
// none of many would.
TEST(Explorer, SomeRandomSchedulesChangeSeldom) {
  const auto r = explore(
      [](Sim& sim) {
        auto& x = sim.make<SimAtomic<int>>();
        sim.task(0, [&x] { x.store(1); });
        sim.task(1, [&sim, &x] {
          for (int i = 0; i < 1000; ++i) step();
          sim.check(x.load() != 0, "the other is long done");
        });
      },
      {.random = 100});
  EXPECT_EQ(r.failure, "check failed: the other is long done") << r.text();
}

// With and without reduction: the same verdict, nothing that was never seen, no more
// schedules. Returns what it was with.
ExploreResult explore_both(const std::function<void(Sim&)>& set_up, ExploreOptions options = {}) {
  options.reduce = false;
  const auto whole = explore(set_up, options);
  options.reduce = true;
  const auto reduced = explore(set_up, options);
  EXPECT_EQ(reduced.failure, whole.failure) << reduced.text() << "\nwithout: " << whole.text();
  EXPECT_EQ(reduced.complete, whole.complete);
  EXPECT_LE(reduced.schedules, whole.schedules);
  EXPECT_EQ(whole.redundant, 0u);
  if (whole.ok()) {
    for (const auto& [name, n] : whole.counts) {
      EXPECT_TRUE(reduced.counts.contains(name)) << name;
    }
  } else {
    options.replay = reduced.schedule;
    EXPECT_EQ(explore(set_up, options).failure, whole.failure) << options.replay;
  }
  std::printf("%llu schedules, %llu without reduction: %s\n",
              static_cast<unsigned long long>(reduced.schedules),
              static_cast<unsigned long long>(whole.schedules),
              whole.failure.empty() ? "ok" : whole.failure.c_str());
  return reduced;
}

// Two steps of another CPU that nobody sees: what reduction is for.
void add_bystander(Sim& sim) {
  sim.task(1, [] { step(), step(); });
}

TEST(Explorer, FindsADeadlock) {
  for (const bool in_order : {false, true}) {
    const auto r = explore_both([in_order](Sim& sim) {
      auto& a = sim.make<SimSleepLock>();
      auto& b = sim.make<SimSleepLock>();
      const auto both = [](SimSleepLock& x, SimSleepLock& y) {
        return [&] {
          (void)x.lock(), (void)y.lock();
          y.unlock(), x.unlock();
        };
      };
      sim.task(0, both(a, b));
      sim.task(1, in_order ? both(a, b) : both(b, a));
    });
    EXPECT_EQ(r.failure.rfind("nobody can go on", 0), in_order ? std::string::npos : 0u)
        << r.text();
    EXPECT_EQ(r.complete, in_order) << r.text();
  }
}

// Who looks before it says that it waits misses the bell; who says so first does not.
TEST(Explorer, FindsALostWakeUp) {
  for (const bool says_first : {false, true}) {
    const auto r = explore_both([says_first](Sim& sim) {
      auto& ready = sim.make<SimAtomic<int>>();
      auto& waiting = sim.make<SimAtomic<int>>();
      auto& bell = sim.make<SimAtomic<int>>();
      sim.task(0, [&, says_first] {
        if (says_first) waiting.store(1);
        if (ready.load()) return sim.count("was ready");
        if (!says_first) waiting.store(1);
        while (!bell.load()) SimPort<configs::smp>::pause();
        sim.count("was woken");
      });
      sim.task(1, [&] {
        ready.store(1);
        if (waiting.load()) bell.store(1);
      });
    });
    EXPECT_EQ(r.failure, says_first ? "" : "nobody can go on: task 0 spins") << r.text();
    if (!says_first) continue;
    EXPECT_GT(r.counts.at("was ready"), 0u);
    EXPECT_GT(r.counts.at("was woken"), 0u);
  }
  const auto never = explore_both([](Sim& sim) {
    auto& go = sim.make<SimAtomic<int>>();
    sim.task(0, [&go] {
      while (!go.load()) SimPort<configs::smp>::pause();
    });
    add_bystander(sim);
  });
  EXPECT_EQ(never.failure, "nobody can go on: task 0 spins");
}

TEST(Explorer, FindsAnEndlessLoop) {
  const auto endless = explore_both(
      [](Sim& sim) {
        auto& x = sim.make<SimAtomic<int>>();
        sim.task(0, [&x] {
          for (;;) x.store(1);
        });
        add_bystander(sim);
      },
      {.max_steps = 100});
  EXPECT_EQ(endless.failure, "no end after so many steps");
}

// A call's own steps: a loop that others can send round again has no bound, though every execution
// ends; one addition has, and what interrupts it does not count.
TEST(Explorer, FindsACallThatTakesMoreStepsThanItMay) {
  for (const bool loops : {false, true}) {
    const auto r = explore_both([loops](Sim& sim) {
      auto& n = sim.make<SimAtomic<int>>();
      const auto add = [&n, loops] {
        if (!loops) return n.fetch_add(1);
        int seen = n.load();
        while (!n.compare_exchange_strong(seen, seen + 1)) {
        }
        return seen;
      };
      for (unsigned cpu : {0u, 1u})
        sim.task(cpu, [&sim, add, loops] {
          sim.check(sim.within(loops ? 2 : 1, add) < 2, "what it returns");
          step(), step();  // no longer within
        });
      sim.nmi(0, [] { step(), step(), step(); });
    });
    EXPECT_EQ(r.ok(), !loops) << r.text();
    EXPECT_EQ(r.failure.find("takes more steps than it may") != std::string::npos, loops);
  }
  EXPECT_EQ(explore([](Sim& sim) {
              sim.task(0, [&sim] {
                sim.within(3, [&sim] {
                  sim.within(9, [] { step(); });
                  sim.within(1, [] { step(); });
                  sim.within(9, [] { step(), step(); });
                });
              });
            }).failure,
            "task 0 takes more steps than it may")
      << "of those around it the least has a say";
}

// An interrupt comes where its level and the masks let it, and nowhere else.
TEST(Explorer, MasksKeepInterruptsOut) {
  using P = SimPort<configs::smp>;
  for (const bool masks : {false, true}) {
    const auto r = explore_both([masks](Sim& sim) {
      auto& in_section = sim.make<bool>();
      sim.task(0, [&, masks] {
        step();
        const auto s = masks ? P::irq_save() : false;
        in_section = true;
        step(), step();
        in_section = false;
        if (masks) P::irq_restore(s);
        step();
      });
      const auto look = [&](const char* what) {
        return [&sim, &in_section, what] {
          if (in_section) sim.count(what);
          sim.count("came");
        };
      };
      sim.irq(0, look("irq in section"));
      sim.nmi(0, look("nmi in section"));
      sim.probe(0, look("probe in section"));
      add_bystander(sim);
    });
    EXPECT_TRUE(r.ok() && r.complete) << r.text();
    EXPECT_GT(r.redundant, 0u) << "nothing was reduced: " << r.text();
    EXPECT_EQ(r.counts.count("irq in section"), masks ? 0u : 1u);
    EXPECT_GT(r.counts.at("nmi in section"), 0u);
    EXPECT_GT(r.counts.at("probe in section"), 0u);
  }
}

// Between a task's load and its store: what shares a CPU is never reduced away, plain variables or
// not.
TEST(Explorer, FindsWhatAnInterruptLoses) {
  using P = SimPort<configs::smp>;
  for (const bool masks : {false, true}) {
    const auto r = explore_both([masks](Sim& sim) {
      auto& n = sim.make<int>(0);
      sim.task(0, [&n, masks] {
        const auto s = masks ? P::irq_save() : false;
        const int seen = n;
        step();
        n = seen + 1;
        if (masks) P::irq_restore(s);
      });
      sim.irq(0, [&n] { ++n; });
      add_bystander(sim);
      sim.at_end([&] { sim.check(n == 2, "both counted"); });
    });
    EXPECT_EQ(r.failure, masks ? "" : "check failed: both counted") << r.text();
  }
}

TEST(Explorer, TasksOfOneCpuArePreemptedWherePinningLets) {
  using P = SimPort<configs::smp>;
  for (const bool pinned : {false, true}) {
    const auto r = explore_both([pinned](Sim& sim) {
      auto& section = sim.make<Exclusive>();
      for (int i = 0; i < 2; ++i)
        sim.task(0, [&section, pinned] {
          if (pinned) P::preempt_disable();
          section.visit();
          if (pinned) P::preempt_enable();
        });
      add_bystander(sim);
    });
    EXPECT_EQ(r.ok(), pinned) << r.text();
  }
}

TEST(Explorer, AnUnpinnedTaskMayBeMoved) {
  using P = SimPort<configs::smp>;
  for (const bool pinned : {false, true}) {
    const auto r = explore_both(
        [pinned](Sim& sim) {
          sim.task(0, [&sim, pinned] {
            if (pinned) P::preempt_disable();
            const unsigned cpu = P::cpu_id();
            step();
            sim.check(P::cpu_id() == cpu, "still there");
            if (pinned) P::preempt_enable();
          });
          sim.task(1, [] { step(); });
        },
        {.migrations = 1});
    EXPECT_EQ(r.ok(), pinned) << r.text();
    EXPECT_EQ(r.redundant, 0u) << "no reduction where tasks move: " << r.text();
  }
}

// What an execution leaves behind changes the next one: the schedule asks for what cannot be done.
TEST(Explorer, FindsASetUpThatDoesNotDoTheSame) {
  unsigned executions = 0;
  const auto r = explore([&executions](Sim& sim) {
    const unsigned steps = executions++ == 0 ? 3 : 1;
    for (unsigned cpu : {0u, 1u})
      sim.task(cpu, [steps] {
        auto* const m = internal::SimMachine::current();
        for (unsigned i = 0; i < steps; ++i) m->write(m, {}, "store");
      });
  });
  EXPECT_EQ(r.failure, "the set-up does not do the same each time") << r.text();
}

// The end of a fibre's function would be the end of the program, with exit status 0: passed.
TEST(ExplorerDeathTest, AFibreThatReturnsIsNamed) {
  const auto returns = [] {
    internal::Fibre mine, other;
    other.start([](void*) {}, nullptr, "a short one");
    internal::Fibre::switch_to(mine, other);
  };
  EXPECT_DEATH(returns(), "fibre.h:.*fibre 'a short one' has returned");
  const auto chooses_who_has_ended = [] {
    internal::SimMachine machine;
    internal::SimMachine::current() = &machine;
    for (const char* name : {"first", "second"})
      machine.add(internal::SimLevel::task, 0, name, [] { step(); });
    machine.run([](const auto&, const auto&) { return internal::SimMove{0, 0}; }, 100, 0);
  };
  EXPECT_DEATH(chooses_who_has_ended(), "fibre.h:.*fibre 'first' has returned");
}

}  // namespace
}  // namespace nestlock::testing
