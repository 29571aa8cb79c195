// A main() that checks what it was built as: a Bazel transition that does not apply is silent, and
// a test that ran in another configuration than its name says has shown nothing.
#include <cstdio>
#include <cstring>

#include "gtest/gtest.h"
#include "nestlock/config.h"

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  constexpr char kFlag[] = "--nestlock_expect_config=";
  const char* const built = nestlock::name_of(nestlock::kBuiltConfig);
  for (int i = 1; i < argc; ++i) {
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
