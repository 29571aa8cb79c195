// The eight kernels on the hosted port: as gtest types, and one at a time.
#pragma once

#include <string>

#include "gtest/gtest.h"
#include "nestlock/port/hosted.h"
#include "nestlock/port/kernel.h"

namespace nestlock::test_support {

template <Config kC>
using HostedKernel = KernelOf<kC, HostedPort<kC>>;

#ifdef NESTLOCK_TEST_KERNELS  // fewer: mutants are built one by one
using AllKernels = ::testing::Types<NESTLOCK_TEST_KERNELS>;
#else
using AllKernels =
    ::testing::Types<HostedKernel<configs::up>, HostedKernel<configs::up_debug>,
                     HostedKernel<configs::up_rt>, HostedKernel<configs::up_rt_debug>,
                     HostedKernel<configs::smp>, HostedKernel<configs::smp_debug>,
                     HostedKernel<configs::smp_rt>, HostedKernel<configs::smp_rt_debug>>;
#endif

// TYPED_TEST_SUITE(Suite, AllKernels, KernelName);
struct KernelName {
  template <class K>
  static std::string GetName(int) {
    return name_of(K::kConfig);
  }
};

// Runs f.operator()<K>() for each of the eight.
template <class F, class... K>
void for_each_kernel(F f, ::testing::Types<K...>) {
  (f.template operator()<K>(), ...);
}
template <class F>
void for_each_kernel(F f) {
  for_each_kernel(f, AllKernels{});
}

}  // namespace nestlock::test_support
