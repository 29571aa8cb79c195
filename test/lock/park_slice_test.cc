// What the SMP word asks the machine for in a section that others wait for (SlicePort), and how the hosted port
// asks Linux. A kernel that grants it was not at hand: what it does then is not tested here.
#include <sched.h>
#include <sys/auxv.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <thread>

#include "gtest/gtest.h"
#include "nestlock/nestlock.h"

namespace nestlock {
namespace {

template <bool kHasOne>
struct CountedPort : HostedPort<configs::smp> {
  static inline std::atomic<unsigned> begun{0}, ended{0}, ended_in_the_section{0};
  static inline std::atomic<bool> in_section{false};

  static bool slice_begins() noexcept { return ++begun, kHasOne; }
  static void slice_ends() noexcept { ++ended, ended_in_the_section += in_section; }
};
static_assert(SlicePort<CountedPort<true>> && SlicePort<HostedPort<configs::smp>>);

template <class Port>
void one_waits_for_another() {
  internal::ParkWord<KernelOf<configs::smp, Port>> word;
  Port::begun = Port::ended = Port::ended_in_the_section = 0;
  word.acquire();
  EXPECT_EQ(Port::begun, 0u) << "nobody waits";
  std::thread waiter([&] {
    word.acquire();
    Port::in_section = true;
    EXPECT_EQ(Port::begun, 1u);
    EXPECT_EQ(Port::ended, 0u);
    Port::in_section = false;
    word.release();
  });
  while (!word.contended()) sched_yield();
  word.release();
  waiter.join();
  EXPECT_FALSE(word.held());
  word.acquire(), word.release();
  EXPECT_TRUE(word.try_acquire());
  word.release();
  EXPECT_EQ(Port::begun, 1u);
}

TEST(ParkSlice, IsAskedForInASectionThatWasWaitedForAndEndedBehindIt) {
  using Port = CountedPort<true>;
  one_waits_for_another<Port>();
  EXPECT_EQ(Port::ended, 1u);
  EXPECT_EQ(Port::ended_in_the_section, 0u);
}

TEST(ParkSlice, IsNotEndedWhereTheMachineHasNone) {
  using Port = CountedPort<false>;
  one_waits_for_another<Port>();
  EXPECT_EQ(Port::ended, 0u);
}

namespace slice = hosted::slice;
using Area = std::array<unsigned char, 64>;

std::byte* bytes(Area& a) { return reinterpret_cast<std::byte*>(a.data()); }

// The layout is the kernel's: slice_ctrl at byte 28, the wish first, then the grant.
TEST(HostedSlice, WritesTheWishAndNothingElseOfTheArea) {
  alignas(32) Area area;
  area.fill(0xa5);
  area[29] = 0;
  const Area before = area;
  slice::begin(slice::control(bytes(area)));
  Area wished = before;
  wished[28] = 1;
  EXPECT_EQ(area, wished);
  slice::end(slice::control(bytes(area)));
  wished[28] = 0;
  EXPECT_EQ(area, wished);
}

// To the kernel that is a system call that it does not know, or one without a grant.
TEST(HostedSlice, AGrantIsGivenBackAndErrnoKept) {
  alignas(32) Area area{};
  slice::begin(slice::control(bytes(area)));
  area[28] = 0, area[29] = 1;
  errno = 7;
  slice::end(slice::control(bytes(area)));
  EXPECT_EQ(errno, 7);
}

TEST(HostedSlice, IsUsedWhereTheKernelHasIt) {
  std::byte* const area = slice::area();
  unsigned char before[4] = {}, now[4] = {};
  constexpr unsigned long kFeatureSize = 27;  // AT_RSEQ_FEATURE_SIZE
  if (area) std::memcpy(before, area + slice::kControlAt, sizeof before);
  errno = 7;
  const bool begun = hosted::Slices::slice_begins();
  EXPECT_EQ(errno, 7);
  if (area) std::memcpy(now, area + slice::kControlAt, sizeof now);
  if (!area || getauxval(kFeatureSize) < slice::kControlEndsAt) {
    EXPECT_FALSE(begun);
    EXPECT_EQ(std::memcmp(before, now, sizeof now), 0);
  } else if (begun) {  // else it is switched off there
    EXPECT_EQ(now[0], 1);
    hosted::Slices::slice_ends();
  }
}

}  // namespace
}  // namespace nestlock
