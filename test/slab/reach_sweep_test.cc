// Another CPU reaches for a CPU's sheaves (slab/reach_inl.h) at every instruction of what that one does with them: a
// whole reach between two instructions of kmalloc() and kfree(). Nothing is lost, nothing is given twice; and it was
// turned away where the owner was inside, and nowhere else. By default a sample in debug kernels; NESTLOCK_LONG=1 takes
// every boundary.
#include <cstdio>
#include <cstdlib>
#include <functional>

#include "gtest/gtest.h"
#include "test/support/asked_thread.h"
#include "test/support/kernels.h"
#include "test/support/slab_sweeps.h"
#include "test/support/verify_line.h"

namespace nestlock::test_support {
namespace {

template <class K>
using Machine = SlabMachine<K, policy::PerLockByte<K>>;

template <class K>
struct Path {
  const char* name;
  void (*before)(Machine<K>&);
  void (*code)(Machine<K>&);
};
template <class K>
constexpr Path<K> kPaths[] = {
    {"allocates", [](Machine<K>& m) { m.take(20), m.give(8); },
     [](Machine<K>& m) { m.one_alloc(); }},
    {"frees", [](Machine<K>& m) { m.take(20), m.give(8); }, [](Machine<K>& m) { m.one_free(); }},
    {"takes the spare", [](Machine<K>& m) { m.fill_sheaves(), m.take(Machine<K>::kSheaf); },
     [](Machine<K>& m) { m.one_alloc(); }},
    {"frees into the spare",
     [](Machine<K>& m) { m.fill_sheaves(), m.take(Machine<K>::kSheaf + 1), m.give(1); },
     [](Machine<K>& m) { m.one_free(); }},
};

template <class K>
struct ReachSweep : ::testing::Test {};
using Kernels =
    ::testing::Types<HostedKernel<configs::smp>, HostedKernel<configs::smp_debug>,
                     HostedKernel<configs::smp_rt>, HostedKernel<configs::smp_rt_debug>>;
TYPED_TEST_SUITE(ReachSweep, Kernels, KernelName);

TYPED_TEST(ReachSweep, AtEveryInstructionOfTheOwner) {
  using K = TypeParam;
  static Machine<K> m;
  AskedThread other([] { m.cache->shrink(); });
  testing::SweepOptions options;
  options.boundaries.every = K::kConfig.debug && !std::getenv("NESTLOCK_LONG") ? 17 : 1;
  for (const auto& path : kPaths<K>) {
    std::uint64_t taken = 0, turned_away = 0;
    const auto r =
        testing::sweep_each([&] { m.reset(), path.before(m); }, [&] { path.code(m); },
                            [&] {
                              const auto before = m.cache->stats().reached;
                              other.does_again();
                              ++(m.cache->stats().reached > before ? taken : turned_away);
                            },
                            [&] { return m.wrong() == Wrong::nothing; }, options);
    std::printf("%-12s %-20s %s; taken %llu, turned away %llu\n", name_of(K::kConfig), path.name,
                r.text().c_str(), static_cast<unsigned long long>(taken),
                static_cast<unsigned long long>(turned_away));
    EXPECT_TRUE(r.ok() && r.complete) << path.name << ": " << r.text();
    EXPECT_GT(taken, 0u) << path.name;
    EXPECT_GT(turned_away, 0u) << path.name;
    swept("kmalloc, kfree under a reach", name_of(K::kConfig), path.name, r,
          options.boundaries.every == 1);
  }
}

}  // namespace
}  // namespace nestlock::test_support
