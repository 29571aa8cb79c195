// The slab and page floors of any kernel behind a gate: while a test keeps it closed every nolock call is
// refused its locks.
#pragma once

#include <cstdint>

#include "gtest/gtest.h"
#include "nestlock/slab.h"
#include "slab_floors.h"

namespace nestlock::test_support {

// The library's locks behind a gate of the test's: while it is closed every nolock call is refused its
// locks, as in an NMI on PREEMPT_RT, and what it frees is left for later calls. The lists' locks count.
template <class K>
struct GatedLocks : policy::PerLockByte<K> {
  struct List : BasicTrySpinLock<K> {
    static inline unsigned sections = 0;
    template <class... Place>
    void lock(Place... place) noexcept {
      BasicTrySpinLock<K>::lock(place...), ++sections;
    }
  };
  static inline bool open = true;
  static bool may_try() noexcept { return open; }
};

// The fixture: both floors, made anew for each test, with the gate open.
template <class K>
struct GatedFloors : ::testing::Test {
  using Gate = GatedLocks<K>;
  using Slabs = typename Floors<K, Gate>::Slabs;
  void SetUp() override {
    before_ = hosted::set_report_sink(ignore);
    floors_.reset();
    Gate::open = true;
  }
  void TearDown() override { hosted::set_report_sink(before_); }
  Slabs& slabs() { return *floors_.slabs; }
  auto& pages() { return *floors_.pages; }
  std::uintptr_t bad_frees() {
    std::uintptr_t all = 0;
    for (unsigned i = 0; i < Slabs::kClasses; ++i)
      all += slabs().kmalloc_cache(i).stats().bad_frees;
    return all;
  }
  static Floors<K, Gate> floors_;
  hosted::ReportSink before_ = nullptr;
};
template <class K>
Floors<K, GatedLocks<K>> GatedFloors<K>::floors_;

}  // namespace nestlock::test_support
