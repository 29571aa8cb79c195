// What the tests on the simulator share: a search that prints its row for ./nest verify, and
// something broken on purpose that must be caught.
#pragma once

#include <cstdio>
#include <cstdlib>
#include <functional>
#include <initializer_list>
#include <string>

#include "gtest/gtest.h"
#include "nestlock/testing/explorer.h"
#include "verify_line.h"

namespace nestlock::test_support {

using Scenario = std::function<void(testing::Sim&)>;

// PROGRAM --case=... --replay=... (test/support/main.cc; or by the environment): runs that schedule
// of that case, shows each step, and ends the program with 1 if it fails, else with 0.
inline void replay_if_asked(const std::string& what, const Scenario& set_up,
                            testing::ExploreOptions options) {
  const char* const schedule = std::getenv("NESTLOCK_REPLAY");
  const char* const which = std::getenv("NESTLOCK_CASE");
  if (!schedule || !which || what != which) return;
  options.replay = schedule;
  const testing::ExploreResult r = testing::explore(set_up, options);
  std::printf("%s\n", r.text().c_str());
  std::exit(r.ok() ? 0 : 1);
}

inline testing::ExploreResult show(const char* subject, Config config, const std::string& what,
                                   const Scenario& set_up,
                                   const testing::ExploreOptions& options = {}) {
  const std::string name = std::string(subject) + ", " + name_of(config) + ": " + what;
  replay_if_asked(name, set_up, options);
  testing::ExploreResult r = testing::explore(set_up, options);
  explored(subject, name_of(config), what, r, options);
  if (!r.failure.empty())
    std::printf("again: --case='%s' --replay='%s'\n", name.c_str(), r.schedule.c_str());
  return r;
}

// That each of the moments was met which a scenario counts by these names.
inline void expect_met(const testing::ExploreResult& r,
                       std::initializer_list<const char*> moments) {
  for (const char* const moment : moments)
    EXPECT_TRUE(r.counts.contains(moment)) << "never " << moment << ": " << r.text();
}

// An expected failure: that it is found, that its text says `failure`, and that its schedule shows
// it again. The schedule is printed.
inline void expect_caught(const char* mutant, Config config, const char* failure,
                          const Scenario& set_up, const testing::ExploreOptions& options = {}) {
  replay_if_asked(mutant, set_up, options);
  const testing::ExploreResult r = testing::explore(set_up, options);
  EXPECT_NE(r.failure.find(failure), std::string::npos)
      << mutant << ", wanted '" << failure << "': " << r.text();
  const testing::ExploreOptions again{.migrations = options.migrations, .replay = r.schedule};
  const bool replayed = !r.schedule.empty() && testing::explore(set_up, again).failure == r.failure;
  EXPECT_TRUE(replayed) << mutant << ": " << r.text();
  std::printf("%s: %s\n  again: --case='%s' --replay='%s'\n", mutant, r.failure.c_str(), mutant,
              r.schedule.c_str());
  caught("explore", mutant, name_of(config), replayed);
}

}  // namespace nestlock::test_support
