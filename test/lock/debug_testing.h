// What the tests of debug configurations' reports share.
#pragma once

#include "gtest/gtest.h"
#include "nestlock/nestlock.h"
#include "test/support/kernels.h"

namespace nestlock::test_support {

using DebugKernels =
    ::testing::Types<HostedKernel<configs::up_debug>, HostedKernel<configs::up_rt_debug>,
                     HostedKernel<configs::smp_debug>, HostedKernel<configs::smp_rt_debug>>;

// The place is a line of the caller's file.
inline void expect_place(const Place& place, unsigned line, const char* file = __builtin_FILE()) {
  ASSERT_NE(place.file, nullptr);
  EXPECT_STREQ(place.file, file);
  EXPECT_EQ(place.line, line);
}

}  // namespace nestlock::test_support
