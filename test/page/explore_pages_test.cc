// The page allocator itself on the simulator's port: its protocols (pop and push, refill, a drain
// in batches, a remote drain, parked pages) against interrupts of every kind on one CPU, and
// against other CPUs. After each schedule its lists, descriptors and counts agree, no page is lost,
// and none was handed out twice; its locks are observed. Row P8, which wants a migration, is here.
//
// What is broken on purpose is caught by the same searches: expected failures, kept for good.
#include "nestlock/testing/unpromised_policies.h"
#include "test/support/exploring.h"
#include "test/support/sim_allocators.h"

namespace nestlock::testing {
namespace {

using test_support::expect_caught;
using test_support::LockWatch;
using test_support::Scenario;
using test_support::show;
using test_support::SimPages;
using test_support::WatchedKernel;
using test_support::WatchedLocks;

template <class K>
using Watched = SimPages<K, WatchedLocks<K>>;

// ---- one CPU ------------------------------------------------------------------------------------

// What the task does when everything else comes: each of the allocator's protocols.
enum class Doing { refill, pop_and_push, drain, drain_over_high, drain_by_nolock, unpark };
constexpr Doing kAllOfIt[] = {Doing::refill,          Doing::pop_and_push,    Doing::drain,
                              Doing::drain_over_high, Doing::drain_by_nolock, Doing::unpark};
constexpr const char* name_of(Doing d) {
  constexpr const char* names[] = {"refill",          "pop, push",       "drain",
                                   "drain over high", "drain by nolock", "unpark"};
  return names[static_cast<unsigned>(d)];
}

// Blocks of eight pages for this CPU's lists, of which 24 pages are high, by nolock frees, which do not
// drain up to twice that; and one more, which is returned.
template <class Pages>
auto* fill_by_nolock(Pages& p, unsigned blocks) {
  decltype(p.alloc(3)) block[8];
  for (unsigned i = 0; i <= blocks; ++i) block[i] = p.alloc(3);
  for (unsigned i = 1; i <= blocks; ++i) p.free_nolock(block[i], 3);
  return block[0];
}
// The normal free of that one drains in two batches,
template <class Pages>
auto* fill_over_high(Pages& p) {
  return fill_by_nolock(p, 4);
}
// and its nolock free gives the zone four blocks.
constexpr unsigned kTwiceHigh = 6 * 8;
template <class Pages>
auto* fill_to_twice_high(Pages& p) {
  return fill_by_nolock(p, kTwiceHigh / 8);
}

// An irq allocates as it may, and keeps what it got; an NMI can only ask, and gives a page back.
template <class Pages>
void on_one_cpu(Sim& sim, Doing doing, bool with_nmi) {
  auto& p = sim.make<Pages>(sim);
  auto* const irqs = p.alloc(0);
  auto* const nmis = p.alloc(0);
  if (doing == Doing::refill) p.pages.drain_all_pages();
  auto* const big = doing == Doing::drain_over_high   ? fill_over_high(p)
                    : doing == Doing::drain_by_nolock ? fill_to_twice_high(p)
                                                      : nullptr;
  auto& entered = sim.make<unsigned>(0u);
  sim.task(0, [&sim, &p, &entered, doing, big] {
    step();
    if (doing == Doing::drain_by_nolock) {
      p.free_nolock(big, 3);
      if (!entered && p.pages.cached(0, 0) < kTwiceHigh) sim.count("drained by nolock");
    }
    if (doing == Doing::drain || doing == Doing::unpark) p.pages.drain_cpu(0);
    if (doing == Doing::unpark) p.pages.unpark_all();
    if (doing == Doing::drain_over_high) p.free(big, 3);
    if (doing == Doing::refill || doing == Doing::pop_and_push)
      if (auto* const page = p.alloc(0)) p.free(page, 0);
    step();
  });
  sim.irq(0, [&p, &entered, irqs] {
    ++entered;
    p.alloc(0);
    p.free(irqs, 0);
  });
  if (with_nmi)
    sim.nmi(0, [&p, &entered, nmis] {
      ++entered;
      p.alloc_nolock(0);
      p.free_nolock(nmis, 0);
    });
  sim.at_end([&p] { p.check_conserved(); });
}

template <Config kC>
ExploreResult explore_one_cpu(Doing doing, const ExploreOptions& options) {
  return show(
      "page allocator", kC, std::string("task, irq, nmi: ") + name_of(doing),
      [=](Sim& sim) {
        sim.make<LockWatch>();
        on_one_cpu<Watched<WatchedKernel<kC>>>(sim, doing, true);
      },
      options);
}

TEST(PagesOnOneCpu, EveryArrivalOfAnIrqAndAnNmi) {
  for (const Doing doing : kAllOfIt) {
    const auto r = explore_one_cpu<configs::up>(doing, {});
    EXPECT_TRUE(r.ok() && r.complete) << r.text();
    for (const char* hit : {"nolock granted", "zone busy", "pcp busy", "parked"})
      EXPECT_NE(r.counts.count(hit), 0u) << hit << " in " << r.text();
    EXPECT_EQ(r.counts.count("drained by nolock"), doing == Doing::drain_by_nolock) << r.text();
    const auto debug = explore_one_cpu<configs::up_debug>(doing, {.random = 1'000});
    EXPECT_TRUE(debug.ok()) << debug.text();
  }
}

// An NMI's frees in the middle of the zone: what is beyond four times high is parked there, and nothing
// else is. Before and behind it the zone gets what is beyond twice high.
TEST(PagesOnOneCpu, ANolockFreeParksWhatIsFarTooMuch) {
  constexpr Config kC = configs::up;
  using P = Watched<WatchedKernel<kC>>;
  const Scenario frees_in_the_zone = [](Sim& sim) {
    sim.make<LockWatch>();
    auto& p = sim.make<P>(sim);
    decltype(p.alloc(3)) block[7];
    for (auto*& b : block) b = p.alloc(3);
    p.free_nolock(fill_by_nolock(p, 5), 3);
    sim.task(0, [&p] { p.alloc(4); });
    sim.nmi(0, [&sim, &p, block] {
      const bool held = p.pages.zone_locked(0);
      for (auto* const b : block) p.free_nolock(b, 3);
      const unsigned cached = p.pages.cached(0, 0);
      sim.check(cached <= (held ? 2 : 1) * kTwiceHigh, "a CPU's pages have a bound");
      if (held) sim.check(cached + 32 == kTwiceHigh + 7 * 8, "four blocks are parked");
    });
    sim.at_end([&p] { p.check_conserved(); });
  };
  const auto r =
      show("page allocator", kC, "task in the zone, nmi frees far too much", frees_in_the_zone);
  EXPECT_TRUE(r.ok() && r.complete) << r.text();
  for (const char* hit : {"zone busy", "parked"})
    EXPECT_NE(r.counts.count(hit), 0u) << hit << " in " << r.text();
}

// PREEMPT_RT: the locks sleep, and two tasks of the CPU preempt each other while they hold them.
TEST(PagesOnOneCpu, TwoTasksPreemptEachOtherUnderSleepingLocks) {
  const Scenario two_tasks = [](Sim& sim) {
    sim.make<LockWatch>();
    auto& p = sim.make<Watched<WatchedKernel<configs::up_rt>>>(sim);
    auto* const given = p.alloc(0);
    p.pages.drain_all_pages();
    for (int i = 0; i < 2; ++i)
      sim.task(0, [&p] {
        if (auto* const page = p.alloc(0)) p.free(page, 0);
      });
    sim.nmi(0, [&p, given] { p.free_nolock(given, 0); });
    sim.at_end([&p] { p.check_conserved(); });
  };
  for (const ExploreOptions& options : {ExploreOptions{.interruptions = 1}, {.random = 2'000}}) {
    const auto r =
        show("page allocator", configs::up_rt, "2 tasks of a CPU, nmi", two_tasks, options);
    EXPECT_TRUE(r.ok() && r.complete == !options.random) << r.text();
    for (const char* hit : {"pcp busy", "parked"})
      EXPECT_NE(r.counts.count(hit), 0u) << hit << " in " << r.text();
  }
}

// A drain waits for the pcp's lock, so it is for tasks: an irq that interrupted the owner would
// wait for ever. Debug reports the call itself, wherever it comes; others what they can see.
template <Config kC>
void an_irq_drains(Sim& sim) {
  auto& p = sim.make<SimPages<SimKernel<kC>, policy::PerLockByte<SimKernel<kC>>>>(sim);
  p.free(p.alloc(0), 0);
  sim.task(0, [&p] { p.alloc(0); });
  sim.irq(0, [&p] { p.pages.drain_cpu(0); });
}
TEST(PagesOnOneCpuHistoric, ADrainFromAnIrqIsReported) {
  const char* const wrong = name_of(Finding::wrong_context);
  expect_caught("an irq drains, up debug", configs::up_debug, wrong,
                an_irq_drains<configs::up_debug>);
  expect_caught("an irq drains, smp debug", configs::smp_debug, wrong,
                an_irq_drains<configs::smp_debug>);
  expect_caught("an irq drains, up", configs::up, name_of(Finding::never_returns),
                an_irq_drains<configs::up>);
  expect_caught("an irq drains, smp", configs::smp, "nobody can go on",
                an_irq_drains<configs::smp>);
}

// The proposals of the mails: a lock without state corrupts under an irq; irqs masked around it
// survive irqs, and not an NMI.
TEST(PagesOnOneCpuHistoric, LocksThatAnswerWithoutLookingAreCaught) {
  using K = SimKernel<configs::up>;
  const auto on = []<class L>(L, Doing doing, bool with_nmi) {
    return [=](Sim& sim) { on_one_cpu<SimPages<K, L>>(sim, doing, with_nmi); };
  };
  constexpr const char* kCorrupt = "lists, descriptors and counts agree";
  expect_caught("P1: a page under a lock without state, irq", configs::up, kCorrupt,
                on(Stateless<K>{}, Doing::pop_and_push, false));
  const auto r = show("page allocator, irqs off", configs::up, "task, irq: drain",
                      on(IrqsOff<K>{}, Doing::drain, false));
  EXPECT_TRUE(r.ok() && r.complete) << r.text();
  expect_caught("irqs off against an NMI", configs::up, kCorrupt,
                on(IrqsOff<K>{}, Doing::drain, true));
  expect_caught("irqs off against an NMI, refill", configs::up, kCorrupt,
                on(IrqsOff<K>{}, Doing::refill, true));
}

// ---- several CPUs -------------------------------------------------------------------------------

// What a CPU's task does; warm: from its pcp. Another CPU may drain that meanwhile.
template <class Pages>
Scenario on_cpus(unsigned cpus, unsigned nmis, bool warm, bool drains) {
  return [=](Sim& sim) {
    sim.make<LockWatch>();
    auto& p = sim.make<Pages>(sim);
    decltype(p.alloc(0)) given[3];
    for (auto*& g : given) g = p.alloc(0);
    p.pages.drain_all_pages();
    if (warm)
      for (unsigned cpu = 0; cpu < cpus; ++cpu) sim.as_on(cpu, [&] { p.free(p.alloc(0), 0); });
    for (unsigned cpu = 0; cpu < cpus; ++cpu)
      sim.task(cpu, [&p, cpu, drains] {
        if (drains && cpu == 1) return p.pages.drain_cpu(0);
        if (auto* const page = p.alloc(0)) p.free(page, 0);
      });
    for (unsigned cpu = 0; cpu < nmis; ++cpu)
      sim.nmi(cpu, [&p, g = given[cpu]] {
        p.alloc_nolock(0);
        p.free_nolock(g, 0);
      });
    sim.at_end([&p] { p.check_conserved(); });
  };
}

TEST(PagesOnCpus, OwnersADrainAndInterrupts) {
  constexpr Config kC = configs::smp;
  using P = Watched<WatchedKernel<kC>>;
  const struct {
    const char* what;
    Scenario set_up;
    ExploreOptions options;
    bool complete;
  } searches[] = {
      {"2 CPUs refill", on_cpus<P>(2, 0, false, false), {}, true},
      {"2 CPUs, warm", on_cpus<P>(2, 0, true, false), {}, true},
      {"2 CPUs, warm, an nmi", on_cpus<P>(2, 1, true, false), {}, true},
      {"a refill, a remote drain", on_cpus<P>(2, 0, false, true), {}, true},
      {"an owner, a remote drain", on_cpus<P>(2, 0, true, true), {.interruptions = 2}, true},
      {"an owner, a remote drain, 2 nmis",
       on_cpus<P>(2, 2, true, true),
       {.interruptions = 1},
       true},
      {"2 CPUs refill, 2 nmis", on_cpus<P>(2, 2, false, false), {.interruptions = 1}, true},
      {"3 CPUs, a remote drain, 3 nmis", on_cpus<P>(3, 3, true, true), {.random = 3'000}, false},
      {"3 CPUs refill, 3 nmis", on_cpus<P>(3, 3, false, false), {.random = 2'000}, false},
  };
  std::map<std::string, std::uint64_t> hits;
  for (const auto& s : searches) {
    const auto r = show("page allocator", kC, s.what, s.set_up, s.options);
    EXPECT_TRUE(r.ok()) << s.what << ": " << r.text();
    EXPECT_EQ(r.complete, s.complete) << s.what << ": " << r.text();
    for (const auto& [what, n] : r.counts) hits[what] += n;
  }
  for (const char* hit : {"nolock granted", "nolock refused", "zone busy", "pcp busy", "parked"})
    EXPECT_NE(hits[hit], 0u) << hit;
  const auto debug = show("page allocator", configs::smp_debug, "3 CPUs, a remote drain, 3 nmis",
                          on_cpus<Watched<WatchedKernel<configs::smp_debug>>>(3, 3, true, true),
                          {.random = 1'000});
  EXPECT_TRUE(debug.ok()) << debug.text();
}

// One frees by nolock over twice high, another takes the zone meanwhile: behind the look at its lock, too,
// where the blocks are off the list already and are parked. No other free of these is.
TEST(PagesOnCpus, ANolockFreeDrainsBesideTheZonesHolder) {
  constexpr Config kC = configs::smp;
  using P = Watched<WatchedKernel<kC>>;
  for (const bool drains : {false, true}) {
    const Scenario beside = [drains](Sim& sim) {
      sim.make<LockWatch>();
      auto& p = sim.make<P>(sim);
      auto* const big = fill_to_twice_high(p);
      sim.task(0, [&sim, &p, big, drains] {
        p.free_nolock(big, 3);
        if (!drains && p.pages.cached(0, 0) < kTwiceHigh) sim.count("drained by nolock");
      });
      sim.task(1, [&p, drains] {
        if (drains) return p.pages.drain_cpu(0);
        p.alloc(4);
      });
      sim.at_end([&p] { p.check_conserved(); });
    };
    const auto r = show("page allocator", kC,
                        std::string("a nolock free over twice high, ") +
                            (drains ? "a remote drain" : "a large block"),
                        beside, drains ? ExploreOptions{.interruptions = 2} : ExploreOptions{});
    EXPECT_TRUE(r.ok() && r.complete) << r.text();
    for (const char* hit : {"zone busy", "parked"})
      EXPECT_NE(r.counts.count(hit), 0u) << hit << " in " << r.text();
    EXPECT_EQ(r.counts.count("drained by nolock"), !drains) << r.text();
  }
}

// The uniprocessor's bytes for locks: right on one CPU, and none between two.
struct BytesOnTwoCpus : policy::PerLockByte<SimKernel<configs::smp>> {
  using OneCpu = KernelOf<configs::up, SimPort<configs::smp>>;
  using Pcp = BasicTrySpinLock<OneCpu>;
  using Zone = BasicTrySpinLock<OneCpu>;
};

TEST(PagesOnCpusHistoric, TheUniprocessorsBytesAreCaught) {
  using P = SimPages<SimKernel<configs::smp>, BytesOnTwoCpus>;
  expect_caught("pages: bytes on two CPUs", configs::smp, "", on_cpus<P>(2, 0, true, true));
}

// ---- P8: moved between two batches --------------------------------------------------------------

// A task of CPU 0 frees over high, which drains in two batches; it may be moved to CPU 1, whose
// cache is over high, too. CPU 2 drains CPU 1's: that one's lock may be held.
template <class Pages>
void free_moves(Sim& sim) {
  sim.make<LockWatch>();
  auto& p = sim.make<Pages>(sim);
  auto* const big = fill_over_high(p);
  sim.as_on(1, [&p] { fill_over_high(p); });
  sim.task(0, [&p, big] { p.free(big, 3); });
  sim.task(1, [] { step(); });
  sim.task(2, [&p] { p.pages.drain_cpu(1); });
  sim.at_end([&sim, &p] {
    if (LockWatch::now()->moved()) sim.count("moved between two batches");
    p.check_conserved();
  });
}

// A port that does not keep a pinned task on its CPU: as if the allocator forgot to pin.
struct NeverPins : SimPort<configs::smp> {
  static void preempt_disable() noexcept {}
  static void preempt_enable() noexcept {}
};

TEST(PagesMigration, P8_AFreeThatIsMovedDrainsOnlyTheCpuThatItIsOn) {
  const ExploreOptions moves{.interruptions = 1, .migrations = 1};
  const auto r = show("page allocator", configs::smp, "P8: moved between two batches",
                      free_moves<Watched<WatchedKernel<configs::smp>>>, moves);
  EXPECT_TRUE(r.ok() && r.complete) << r.text();
  EXPECT_NE(r.counts.count("moved between two batches"), 0u) << r.text();
  EXPECT_NE(r.counts.count("pcp busy"), 0u) << r.text();
  expect_caught("P8: the pcp's lock without a pin", configs::smp, "another CPU",
                free_moves<Watched<WatchedKernel<configs::smp, NeverPins>>>, moves);
}

// The protocol by itself, as it was written first in the kernel's shape: one function that gives
// its lock back between two batches. Right, and wrong in the two ways of the row.
enum class After { looks_again, keeps_its_slot, unlocks_anyway };

template <After kAfter>
class Batches {
  using P = SimPort<configs::smp>;
  using K = WatchedKernel<configs::smp>;
  static constexpr unsigned kHigh = 2, kBatch = 2;
  struct Slot {
    WatchedLocks<K>::Pcp lock;
    P::Atomic<unsigned> count{6};
  };

 public:
  void free() NESTLOCK_NO_TSA {
    P::preempt_disable();
    Slot* const first = &cpus_.here();
    if (!first->lock.try_lock()) return P::preempt_enable();
    while (first->count.load() > kHigh) {
      first->count.store(first->count.load() - kBatch);
      first->lock.unlock();
      P::preempt_enable();
      zone_.fetch_add(kBatch);  // the zone's part
      P::preempt_disable();
      Slot* const now = kAfter == After::keeps_its_slot ? first : &cpus_.here();
      if (now == first && first->lock.try_lock()) continue;
      if (kAfter == After::unlocks_anyway) now->lock.unlock();
      return P::preempt_enable();
    }
    first->lock.unlock();
    P::preempt_enable();
  }
  void drain(unsigned cpu) NESTLOCK_NO_TSA {
    cpus_.on(cpu).lock.lock();
    zone_.fetch_add(cpus_.on(cpu).count.exchange(0));
    cpus_.on(cpu).lock.unlock();
  }
  unsigned sum() const {
    unsigned n = zone_.load();
    for (unsigned cpu = 0; cpu < cpus_.size(); ++cpu) n += cpus_.on(cpu).count.load();
    return n;
  }

 private:
  BasicPerCpu<K, Slot> cpus_;
  P::Atomic<unsigned> zone_{0};
};

template <After kAfter>
void batches_move(Sim& sim) {
  sim.make<LockWatch>();
  auto& b = sim.make<Batches<kAfter>>();
  const unsigned before = b.sum();
  sim.task(0, [&b] { b.free(); });
  sim.task(1, [&b] { b.free(); });
  sim.task(2, [&b] { b.drain(1); });
  sim.at_end([&sim, &b, before] { sim.check(b.sum() == before, "no page is lost"); });
}

TEST(PagesMigration, P8_TheProtocolThatGivesBackWhatItDoesNotHoldIsCaught) {
  const ExploreOptions moves{.interruptions = 1, .migrations = 1};
  const auto r = show("P8, the protocol alone", configs::smp, "2 tasks, a drain, a migration",
                      batches_move<After::looks_again>, moves);
  EXPECT_TRUE(r.ok() && r.complete) << r.text();
  expect_caught("P8: drains the CPU that it was on", configs::smp, "takes another CPU's lock",
                batches_move<After::keeps_its_slot>, moves);
  expect_caught("P8: gives back the new CPU's lock", configs::smp, "gives back",
                batches_move<After::unlocks_anyway>, moves);
}

}  // namespace
}  // namespace nestlock::testing
