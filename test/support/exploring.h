// What the tests on the simulator share: a search that prints its row for ./nest verify, and
// something broken on purpose that must be caught.
#pragma once

#include <cstdio>
#include <functional>
#include <string>

#include "gtest/gtest.h"
#include "nestlock/testing/explorer.h"
#include "verify_line.h"

namespace nestlock::test_support {

using Scenario = std::function<void(testing::Sim&)>;

inline testing::ExploreResult show(const char* subject, Config config, const char* what,
                                   const Scenario& set_up,
                                   const testing::ExploreOptions& options = {}) {
  testing::ExploreResult r = testing::explore(set_up, options);
  explored(subject, name_of(config), what, r, options);
  return r;
}

// An expected failure: that it is found, that its text says `failure`, and that its schedule shows
// it again. The schedule is printed.
inline void expect_caught(const char* mutant, Config config, const char* failure,
                          const Scenario& set_up, const testing::ExploreOptions& options = {}) {
  const testing::ExploreResult r = testing::explore(set_up, options);
  EXPECT_NE(r.failure.find(failure), std::string::npos)
      << mutant << ", wanted '" << failure << "': " << r.text();
  const testing::ExploreOptions again{.migrations = options.migrations, .replay = r.schedule};
  const bool replayed = !r.schedule.empty() && testing::explore(set_up, again).failure == r.failure;
  EXPECT_TRUE(replayed) << mutant << ": " << r.text();
  std::printf("%s: %s\n  replay: %s\n", mutant, r.failure.c_str(), r.schedule.c_str());
  caught("explore", mutant, name_of(config), replayed);
}

}  // namespace nestlock::test_support
