// malloc, realloc, calloc, aligned_alloc and free in handlers that interrupt them a thousand times a second and
// ten thousand times, on one thread and on four, with three mixes of sizes: nothing overlaps, nothing is null,
// nothing hangs.
//
// Ten seconds in all, with ThreadSanitizer and with AddressSanitizer, too; NESTLOCK_STORM_SECONDS says otherwise, for
// each of the twelve. ThreadSanitizer runs a handler where the code next asks its runtime for an atomic access, the
// allocator's own among them; AddressSanitizer where the signal comes.
#include <cstdio>

#include "gtest/gtest.h"
#include "nestlock/malloc.h"
#include "nestlock/system_slab.h"
#include "test/malloc/storm.h"

namespace nestlock::test_support {
namespace {

constexpr MallocFunctions kOurs{nestlock_malloc, nestlock_calloc, nestlock_realloc,
                                nestlock_aligned_alloc, nestlock_free};

struct Mix {
  const char* name;
  std::size_t least, most;
};
constexpr Mix kMixes[] = {{"64", 64, 64}, {"16..1024", 16, 1024}, {"16..3M", 16, 3 << 20}};

class MallocStormTest : public testing::TestWithParam<std::tuple<Mix, unsigned, long>> {
 protected:
  static void TearDownTestSuite() {
    EXPECT_TRUE(system_slab().consistent() && system_pages().consistent());
  }
};

TEST_P(MallocStormTest, NothingOverlapsAndNothingHangs) {
  const auto& [mix, threads, hz] = GetParam();
  const char* const seconds = std::getenv("NESTLOCK_STORM_SECONDS");
  const StormOptions options{.use = kOurs,
                             .least = mix.least,
                             .most = mix.most,
                             .threads = threads,
                             .period_ns = 1'000'000'000 / hz,
                             .seconds = seconds ? std::atof(seconds) : 10. / 12,
                             .lock_held = [] { return nestlock_interrupted() != Floor::none; }};
  const StormResult r = run_storm(options);
  const auto number = [](std::uint64_t n) { return static_cast<unsigned long long>(n); };
  std::printf(
      "%s, %u threads, %ld Hz: %llu turns, %llu handler entries, %llu inside a call, %llu with a "
      "lock held, %zu of the "
      "reserve\n",
      mix.name, threads, hz, number(r.turns), number(r.entries), number(r.inside), number(r.held),
      nestlock_malloc_counts().reserve_taken);
  EXPECT_FALSE(r.hung);
  EXPECT_EQ(r.overlaps, 0u);
  EXPECT_EQ(r.nulls, 0u);
  EXPECT_EQ(r.misaligned, 0u);
  EXPECT_EQ(r.errnos, 0u);
  EXPECT_GT(r.entries, 0u);
  EXPECT_GT(r.inside, 0u);
  if (r.hung) std::_Exit(1);  // its threads would go on
  EXPECT_EQ(nestlock_malloc_counts().mapped, 0u);
}

std::string name_of_storm(const testing::TestParamInfo<MallocStormTest::ParamType>& info) {
  const auto& [mix, threads, hz] = info.param;
  return "Upto" + std::to_string(mix.most) + "Threads" + std::to_string(threads) + "At" +
         std::to_string(hz);
}
INSTANTIATE_TEST_SUITE_P(All, MallocStormTest,
                         testing::Combine(testing::ValuesIn(kMixes), testing::Values(1u, 4u),
                                          testing::Values(1000l, 10000l)),
                         name_of_storm);

}  // namespace
}  // namespace nestlock::test_support
