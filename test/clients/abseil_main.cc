// Runs Abseil's tests of spinlocks, but for the one that asks how Abseil's own lock counts, and
// ends with 1 if they never took a lock of ours.
#include <cstdio>

#include "absl/base/internal/spinlock.h"
#include "gtest/gtest.h"

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  const int failed = RUN_ALL_TESTS();
  const unsigned long taken = absl::base_internal::SpinLock::taken;
  std::printf("clients: taken %lu\n", taken);
  return failed != 0 || taken == 0;
}
