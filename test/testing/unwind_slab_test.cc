// As unwind_sweep_test.cc: kmalloc() and kfree(), along each of their paths, and the nolock calls.
#include "test/support/kernels.h"
#include "test/support/slab_sweeps.h"
#include "test/support/unwinding.h"

namespace nestlock::test_support {
namespace {

using testing::UnwindResult;

template <class K>
void unwind_every_path() {
  using M = SlabMachine<K, policy::PerLockByte<K>>;
  static M m;
  for (const SlabPath<M>& path : kSlabPaths<M>) {
    m.reset();
    path.before(m);
    Served nolock;
    const auto before = m.cache->stats().*path.proof;
    const UnwindResult r = testing::sweep_unwinding(
        [&] {
          path.code(m);
          m.interrupt(0, nolock);
        },
        unwound_program());
    expect_unwound("kmalloc, kfree", name_of(K::kConfig), path.name, r);
    EXPECT_TRUE(r.called_from("main")) << r.text();
    EXPECT_GT(m.cache->stats().*path.proof, before) << path.name << ": its counter did not move";
    EXPECT_EQ(nolock.served, 2u) << path.name;
    EXPECT_EQ(m.wrong(), Wrong::nothing) << path.name;
  }
}

TEST(UnwindSlab, EveryInstructionOfEveryPath) {
  for_each_kernel([]<class K>() {
    if constexpr (worth_compiling(K::kConfig))
      if (worth_its_time(K::kConfig)) unwind_every_path<K>();
  });
}

}  // namespace
}  // namespace nestlock::test_support
