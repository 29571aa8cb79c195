// A CPU that empties another's sheaves (slab/reach_inl.h) against what that one does, in every order: on the fast
// paths, on the slow ones that stay among the sheaves, and with an NMI. No object is lost, none was given twice.
#include "nestlock/slab.h"
#include "test/support/exploring.h"
#include "test/support/sim_slabs.h"

namespace nestlock::testing {
namespace {

using test_support::show;
using test_support::SimSlabs;

// CPU 1 goes on with what it took when the owner is through: what follows is explored elsewhere, and would be most of
// the schedules here.
template <class K>
struct PatientBarn : BasicTrySpinLock<K> {
  static inline typename K::Port::template Atomic<int>* through = nullptr;
  void lock(nestlock::internal::PlaceOf<K> where = {}) noexcept NESTLOCK_ACQUIRE() {
    if (through && K::Port::cpu_id() == 1)
      while (through->load() == 0) K::Port::pause();
    BasicTrySpinLock<K>::lock(where);
  }
};
template <class K>
struct Locks : policy::PerLockByte<K> {
  using Barn = PatientBarn<K>;
};
template <Config kC>
using Slabs = SimSlabs<SimKernel<kC>, Locks<SimKernel<kC>>>;

struct Owner {
  const char* does;
  bool allocates, frees;
  std::uintptr_t SlabStats::* counted;  // by the first of them
  const char* hit;
  bool nmi;
};
constexpr Owner kOwners[] = {
    {"allocates", true, false, &SlabStats::fast_allocs, "fast alloc", false},
    {"frees", false, true, &SlabStats::fast_frees, "fast free", false},
    {"both", true, true, &SlabStats::fast_allocs, "fast alloc", false},
    {"takes the spare", true, false, &SlabStats::spare_swaps, "spare swap", false},
    {"frees into the spare", false, true, &SlabStats::spare_swaps, "spare swap", false},
    {"gets from the barn", true, false, &SlabStats::barn_gets, "barn get", false},
    {"is interrupted", true, false, &SlabStats::fast_allocs, "fast alloc", true},
};

// Where in the script of SimSlabs the owner's call is next.
template <class S>
unsigned place_in_script(const Owner& owner) {
  unsigned place = S::kScript;
  explore([&](Sim& sim) {
    auto& s = sim.make<S>(sim);
    for (unsigned i = 0; i < S::kScript && place == S::kScript; ++i) {
      const SlabStats before = s.cache->stats();
      S::script_frees(i) ? s.free(s.any_out()) : (void)s.alloc();
      if (i && S::script_frees(i) != owner.allocates &&
          s.cache->stats().*owner.counted != before.*owner.counted)
        place = i;
    }
  });
  EXPECT_LT(place, S::kScript) << owner.does;
  return place;
}

template <Config kC>
ExploreResult beside_another(const Owner& owner, const ExploreOptions& options) {
  using S = Slabs<kC>;
  const unsigned place = place_in_script<S>(owner);
  return show(
      "slab reach", kC, owner.does,
      [&owner, place](Sim& sim) {
        auto& s = sim.make<S>(sim);
        s.script(place);
        s.start();
        auto& through = sim.make<typename SimPort<kC>::template Atomic<int>>(0);
        PatientBarn<SimKernel<kC>>::through = &through;
        const std::uintptr_t reached = s.cache->stats().reached;
        sim.task(0, [&s, &owner, &through] {
          if (owner.allocates) s.alloc();
          if (owner.frees) s.free(s.any_out());
          through.store(1);
        });
        sim.task(1, [&s] { s.cache->shrink(); });
        if (owner.nmi)
          sim.nmi(0, [&s] {
            s.alloc_nolock();
            s.free_nolock(s.kept[1]);
          });
        sim.at_end([&sim, &s, reached] {
          PatientBarn<SimKernel<kC>>::through = nullptr;
          sim.count(s.cache->stats().reached > reached ? "reached" : "turned back");
          s.check_conserved();
        });
      },
      options);
}

TEST(SlabReachExplored, NothingIsLostNorGivenTwice) {
  for (const Owner& owner : kOwners) {
    const ExploreOptions options{.random = owner.nmi ? 5000u : 0u};
    const auto r = beside_another<configs::smp>(owner, options);
    EXPECT_TRUE(r.ok() && r.complete == !options.random) << owner.does << ": " << r.text();
    for (const char* hit : {"reached", "turned back", owner.hit})
      EXPECT_NE(r.counts.count(hit), 0u) << hit << " in " << r.text();
  }
}

}  // namespace
}  // namespace nestlock::testing
