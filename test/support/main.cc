// A main() that checks what it was built as: a Bazel transition that does not apply is silent, and
// a test that ran in another configuration than its name says has shown nothing.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "gtest/gtest.h"
#include "nestlock/config/config.h"

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  constexpr char kFlag[] = "--nestlock_expect_config=";
  // For the tests on the simulator, as a failure prints them.
  constexpr std::pair<const char*, const char*> kReplay[] = {{"--case=", "NESTLOCK_CASE"},
                                                             {"--replay=", "NESTLOCK_REPLAY"}};
  const char* const built = nestlock::name_of(nestlock::kBuiltConfig);
  for (int i = 1; i < argc; ++i) {
    bool taken = false;
    for (const auto& [flag, variable] : kReplay)
      if (const std::size_t n = std::strlen(flag); std::strncmp(argv[i], flag, n) == 0)
        taken = setenv(variable, argv[i] + n, 1) == 0;
    if (taken) continue;
    if (std::strncmp(argv[i], kFlag, sizeof kFlag - 1) != 0) {
      std::fprintf(stderr, "%s: unknown option '%s'\n", argv[0], argv[i]);
      return 2;
    }
    if (std::strcmp(argv[i] + sizeof kFlag - 1, built) != 0) {
      std::fprintf(stderr, "built as %s, not as %s\n", built, argv[i] + sizeof kFlag - 1);
      return 1;
    }
  }
  return RUN_ALL_TESTS();
}
