// The slab allocator itself on the simulator's port: sheaves, barn, list, deferred objects and
// orphans against interrupts on one CPU, and against other CPUs. After each schedule the cache
// agrees with itself, no object is lost, none was given twice, and all of its memory comes back.
// Row K27, which wants a migration, is here.
//
// What is broken on purpose is caught by the same searches: expected failures, kept for good.
#include "nestlock/testing/unpromised_policies.h"
#include "test/support/exploring.h"
#include "test/support/sim_slabs.h"

namespace nestlock::testing {
namespace {

using test_support::expect_caught;
using test_support::LockWatch;
using test_support::Scenario;
using test_support::show;
using test_support::SimSlabs;
using test_support::WatchedKernel;
using test_support::WatchedLocks;

template <class K>
using Watched = SimSlabs<K, WatchedLocks<K>>;

// ---- what a CPU is about to do ------------------------------------------------------------------

// A path of alloc() or free(), by what is counted when it is gone.
struct Case {
  const char* name;
  bool frees;
  std::uintptr_t SlabStats::* counted;
  const char* hit;
};
constexpr Case kCases[] = {
    {"pop", false, &SlabStats::fast_allocs, "fast alloc"},
    {"take the spare", false, &SlabStats::spare_swaps, "spare swap"},
    {"get from the barn", false, &SlabStats::barn_gets, "barn get"},
    {"refill", false, &SlabStats::refills, "refill"},
    {"new slab", false, &SlabStats::new_slabs, "new slab"},
    {"push", true, &SlabStats::fast_frees, "fast free"},
    {"push to the spare", true, &SlabStats::spare_swaps, "spare swap"},
    {"put to the barn", true, &SlabStats::barn_puts, "barn put"},
    {"new sheaf for the barn", true, &SlabStats::sheaf_allocs, "new sheaf"},
    {"flush", true, &SlabStats::flushes, "flush"},
};

// The place in the script where the next call goes that way, begun behind `first`. A refill: one that needs no
// new slab.
template <class S>
unsigned place_in_script(const Case& c, void (*first)(Sim&, S&) = [](Sim&, S&) {}) {
  unsigned place = S::kScript;
  explore([&](Sim& sim) {
    auto& s = sim.make<S>(sim);
    first(sim, s);
    for (unsigned i = 0; i < S::kScript && place == S::kScript; ++i) {
      const SlabStats before = s.cache->stats();
      i / 60 == 1 ? s.free(s.any_out()) : (void)s.alloc();
      const SlabStats after = s.cache->stats();
      if (S::script_frees(i) == c.frees && after.*c.counted != before.*c.counted &&
          (c.hit == std::string("new slab") || after.new_slabs == before.new_slabs))
        place = i;
    }
  });
  EXPECT_LT(place, S::kScript) << c.name;
  return place;
}

const Case& named(const std::string& name) {
  return *std::find_if(std::begin(kCases), std::end(kCases),
                       [&](const Case& c) { return c.name == name; });
}

// ---- one CPU ------------------------------------------------------------------------------------

// The task's call.
template <class S>
auto call_of(S& s, const Case& c) {
  return [&s, o = c.frees ? s.any_out() : nullptr] { o ? s.free(o) : (void)s.alloc(); };
}

// An irq allocates and frees as it may; an NMI asks, keeps what it gets, and gives another back.
template <class S>
Scenario on_one_cpu(const Case& c, bool with_irq, bool with_nmi) {
  return [=, place = place_in_script<S>(c)](Sim& sim) {
    auto& s = sim.make<S>(sim);
    s.script(place);
    s.start();
    sim.task(0, call_of(s, c));
    if (with_irq)
      sim.irq(0, [&s] {
        s.alloc();
        s.free(s.kept[0]);
      });
    if (with_nmi)
      sim.nmi(0, [&s] {
        s.alloc_nolock();
        s.free_nolock(s.kept[1]);
      });
    sim.at_end([&s] { s.check_conserved(); });
  };
}

Scenario watched(const Scenario& what) {
  return [what](Sim& sim) {
    sim.make<LockWatch>();
    what(sim);
  };
}

TEST(SlabOnOneCpu, EveryArrivalOfAnIrqAndAnNmi) {
  std::map<std::string, std::uint64_t> hits;
  for (const Case& c : kCases) {
    const auto r = show("slab allocator", configs::up, std::string("task, irq, nmi: ") + c.name,
                        watched(on_one_cpu<Watched<WatchedKernel<configs::up>>>(c, true, true)));
    EXPECT_TRUE(r.ok() && r.complete) << r.text();
    EXPECT_NE(r.counts.count(c.hit), 0u) << c.hit << " in " << r.text();
    for (const auto& [what, n] : r.counts) hits[what] += n;
  }
  for (const char* hit :
       {"nolock granted", "nolock refused", "local busy", "list busy", "deferred", "orphan"})
    EXPECT_NE(hits[hit], 0u) << hit;
}

// As the kernel was: corrupted under an irq, and with irqs off under an NMI. Observed, since what
// two make of one list may end in a fault.
TEST(SlabOnOneCpuHistoric, LocksThatAnswerWithoutLookingAreCaught) {
  using K = WatchedKernel<configs::up>;
  constexpr const char* kBoth = "hold one lock";
  expect_caught("slab: locks without state, irq", configs::up, kBoth,
                watched(on_one_cpu<SimSlabs<K, Stateless<K>>>(named("pop"), true, false)));
  expect_caught("slab: irqs off against an NMI", configs::up, kBoth,
                watched(on_one_cpu<SimSlabs<K, IrqsOff<K>>>(named("pop"), false, true)));
  expect_caught("slab: irqs off against an NMI, refill", configs::up, kBoth,
                watched(on_one_cpu<SimSlabs<K, IrqsOff<K>>>(named("refill"), false, true)));
}

// ---- several CPUs -------------------------------------------------------------------------------

// CPU 0 goes one way, CPU 1 another (from nothing: its sheaves come from the barn), each with an
// NMI.
template <class S>
Scenario on_cpus(const Case& first, const Case& second, unsigned cpus, unsigned nmis) {
  return watched([=, place = place_in_script<S>(first)](Sim& sim) {
    auto& s = sim.make<S>(sim);
    s.script(place);
    s.start();
    sim.task(0, call_of(s, first));
    for (unsigned cpu = 1; cpu < cpus; ++cpu)
      sim.task(cpu, [&s, frees = second.frees, o = s.kept[0], cpu] {
        frees&& cpu == 1 ? s.free(o) : (void)s.alloc();
      });
    for (unsigned cpu = 0; cpu < nmis; ++cpu)
      sim.nmi(cpu, [&s, cpu] {
        s.alloc_nolock();
        if (cpu == 0) s.free_nolock(s.kept[1]);
      });
    sim.at_end([&s] { s.check_conserved(); });
  });
}

TEST(SlabOnCpus, EveryPathBesideAnotherCpuAndInterrupts) {
  constexpr Config kC = configs::smp;
  using S = Watched<WatchedKernel<kC>>;
  std::map<std::string, std::uint64_t> hits;
  const auto search = [&](const Case& a, const Case& b, unsigned cpus, unsigned nmis,
                          const ExploreOptions& options) {
    const std::string what = std::string(a.name) + " beside " + b.name + ", " +
                             std::to_string(cpus) + " CPUs, " + std::to_string(nmis) + " nmis";
    const auto r = show("slab allocator", kC, what, on_cpus<S>(a, b, cpus, nmis), options);
    EXPECT_TRUE(r.ok() && r.complete == !options.random) << what << ": " << r.text();
    for (const auto& [hit, n] : r.counts) hits[hit] += n;
  };
  for (const Case& a : kCases)
    for (const char* b : {"pop", "push"}) {
      search(a, named(b), 2, 1, {.interruptions = 1});
      search(a, named(b), 3, 3, {.random = 300});
    }
  // Without an interrupt, all there is.
  search(named("get from the barn"), named("pop"), 2, 0, {});
  search(named("get from the barn"), named("push"), 2, 0, {});
  search(named("put to the barn"), named("push"), 2, 0, {});
  search(named("new slab"), named("push"), 2, 0, {});
  for (const char* hit :
       {"nolock granted", "nolock refused", "local busy", "barn busy", "list busy", "barn get",
        "barn put", "refill", "flush", "deferred", "orphan"})
    EXPECT_NE(hits[hit], 0u) << hit;
}

// A list that another CPU has until the test says otherwise: a try is refused.
template <class K>
struct TakenList : BasicTrySpinLock<K> {
  static inline typename K::Port::template Atomic<int>* taken = nullptr;
  [[nodiscard]] bool try_lock(nestlock::internal::PlaceOf<K> where = {}) noexcept
      NESTLOCK_TRY_ACQUIRE(true) {
    return !(taken && taken->load()) && BasicTrySpinLock<K>::try_lock(where);
  }
};
template <class K>
struct TakenLists : WatchedLocks<K> {
  using List = TakenList<K>;
};

// A new slab finds the list taken. Its objects are in the sheaf before the slab is left as an
// orphan: an nmi takes one, and gives it back when the sheaf is full, to the slab if the list is
// free by then.
TEST(SlabOnCpus, AnOrphansObjectComesBackBeforeTheOrphanIsSeen) {
  using K = WatchedKernel<configs::smp>;
  using S = SimSlabs<K, TakenLists<K>>;
  const auto set_up = watched([](Sim& sim) {
    auto& taken = sim.make<K::Port::Atomic<int>>(0);
    TakenList<K>::taken = &taken;
    auto& s = sim.make<S>(sim, 64);  // so that a slab has more objects than a sheaf
    s.script(12);                    // with those that are kept: the one sheaf is empty
    s.start();
    taken.store(1);
    sim.task(0, [&s] { s.alloc_nolock(); });
    sim.task(1, [&taken] { taken.store(0); });
    sim.nmi(0, [&sim, &s] {
      void* const o = s.alloc_nolock();
      for (int i = 0; i < 3; ++i) s.free_nolock(s.any_out());  // the sheaf is full
      const auto frees = s.cache->stats().list_frees;
      if (o) s.free_nolock(o);
      if (s.cache->stats().list_frees != frees) sim.count("came back by the list");
    });
    sim.at_end([&taken, &s] { taken.store(0), s.check_conserved(); });
  });
  const auto r = show("slab allocator", configs::smp, "an object of an orphan comes back", set_up);
  TakenList<K>::taken = nullptr;
  EXPECT_TRUE(r.ok() && r.complete) << r.text();
  for (const char* hit : {"orphan", "came back by the list"})
    EXPECT_NE(r.counts.count(hit), 0u) << hit << " in " << r.text();
}

// The uniprocessor's bytes for the locks of a node.
struct BytesOnTwoCpus : policy::PerLockByte<SimKernel<configs::smp>> {
  using OneCpu = KernelOf<configs::up, SimPort<configs::smp>>;
  using Barn = BasicTrySpinLock<OneCpu>;
  using List = BasicTrySpinLock<OneCpu>;
};
TEST(SlabOnCpusHistoric, TheUniprocessorsBytesAreCaught) {
  using S = SimSlabs<SimKernel<configs::smp>, BytesOnTwoCpus>;
  expect_caught("slab: bytes on two CPUs", configs::smp, "can never return",
                on_cpus<S>(named("get from the barn"), named("pop"), 2, 0));
}

// ---- K27: on another CPU when the sheaf is filled -----------------------------------------------

// CPU 0's task wants a filled sheaf, or an empty one, and may be moved to CPU 1 while it gets it;
// CPU 1 has sheaves of its own, that an nmi there changes, too.
template <class S>
Scenario moves(const Case& c) {
  constexpr auto first = [](Sim& sim, S& s) {
    sim.as_on(1, [&s] {  // a full sheaf, and a spare that is not empty
      void* objects[20];
      for (void*& o : objects) o = s.alloc();
      for (void* const o : objects) s.free(o);
    });
  };
  return watched([=, place = place_in_script<S>(c, first)](Sim& sim) {
    auto& s = sim.make<S>(sim);
    first(sim, s);
    s.script(place);
    s.start();
    sim.task(0, call_of(s, c));
    sim.task(1, [] { step(); });
    sim.nmi(1, [&s] { s.alloc_nolock(); });
    sim.at_end([&sim, &s] {
      if (LockWatch::now()->moved()) sim.count("moved meanwhile");
      s.check_conserved();
    });
  });
}

// A port that does not keep a pinned task on its CPU.
struct NeverPins : SimPort<configs::smp> {
  static void preempt_disable() noexcept {}
  static void preempt_enable() noexcept {}
};

TEST(SlabMigration, K27_AFilledSheafFindsItsPlaceOnTheCpuThatItsTaskIsOn) {
  const ExploreOptions one{.interruptions = 1, .migrations = 1};
  for (const char* name : {"refill", "new slab", "new sheaf for the barn", "flush"}) {
    const auto r = show("slab allocator", configs::smp, std::string("K27: moved: ") + name,
                        moves<Watched<WatchedKernel<configs::smp>>>(named(name)), one);
    EXPECT_TRUE(r.ok() && r.complete) << r.text();
    for (const char* hit : {"moved meanwhile", named(name).hit})
      EXPECT_NE(r.counts.count(hit), 0u) << hit << " in " << r.text();
  }
  using Unpinned = Watched<WatchedKernel<configs::smp, NeverPins>>;
  expect_caught("K27: the sheaves' lock without a pin", configs::smp, "another CPU",
                moves<Unpinned>(named("refill")), one);
}

// The protocol by itself: right, and wrong in the two ways of the row.
enum class After { looks_again, keeps_its_slot, thinks_it_empty };

template <After kAfter>
class FilledSheaf {
  using K = WatchedKernel<configs::smp>;
  using P = SimPort<configs::smp>;
  static constexpr unsigned kSheaf = 4;
  struct Slot {
    WatchedLocks<K>::Local lock;
    P::Atomic<unsigned> main{0};
  };

 public:
  void alloc() NESTLOCK_NO_TSA {
    Slot* first = nullptr;
    if (auto c = cpus_.template try_lock_here<&Slot::lock>()) {
      first = &*c;
      if (const unsigned n = c->main.load()) return c->main.store(n - 1);
    }
    list_.fetch_sub(kSheaf);  // filled, with no lock held
    P::preempt_disable();
    Slot& now = kAfter == After::keeps_its_slot && first ? *first : cpus_.here();
    if (now.lock.try_lock()) {
      if (kAfter == After::thinks_it_empty || now.main.load() == 0)
        now.main.store(kSheaf - 1);
      else
        list_.fetch_add(kSheaf - 1);  // the barn's part
      now.lock.unlock();
    } else {
      list_.fetch_add(kSheaf - 1);
    }
    P::preempt_enable();
  }
  unsigned sum() const {
    unsigned n = list_.load();
    for (unsigned cpu = 0; cpu < cpus_.size(); ++cpu) n += cpus_.on(cpu).main.load();
    return n;
  }

 private:
  BasicPerCpu<K, Slot> cpus_;
  P::Atomic<unsigned> list_{100};
};

template <After kAfter>
void sheaf_moves(Sim& sim) {
  sim.make<LockWatch>();
  auto& f = sim.make<FilledSheaf<kAfter>>();
  for (unsigned cpu : {0u, 1u}) sim.task(cpu, [&f] { f.alloc(); });
  sim.at_end([&sim, &f] { sim.check(f.sum() == 98, "no object is lost"); });
}

TEST(SlabMigration, K27_TheProtocolThatTakesItsPlaceForGrantedIsCaught) {
  const ExploreOptions one{.interruptions = 1, .migrations = 1};
  const auto r = show("K27, the protocol alone", configs::smp, "2 tasks, a migration",
                      sheaf_moves<After::looks_again>, one);
  EXPECT_TRUE(r.ok() && r.complete) << r.text();
  expect_caught("K27: puts it on the CPU that it was on", configs::smp, "takes another CPU's lock",
                sheaf_moves<After::keeps_its_slot>, one);
  expect_caught("K27: over a sheaf that came meanwhile", configs::smp, "no object is lost",
                sheaf_moves<After::thinks_it_empty>, one);
}

}  // namespace
}  // namespace nestlock::testing
