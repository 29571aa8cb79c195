// The promise of the slab floor, at every instruction: kmalloc() and kfree(), on each of their
// paths, interrupted after every machine instruction by a handler that frees an object by
// kfree_nolock() and takes two by kmalloc_nolock(), and keeps them. In all eight kernels; and at
// depth 2, the handler itself interrupted by another.
//
// No object is given twice, none is lost, allocations minus frees are what is out, every null has a
// reason. The same sweep sees the historic bugs, kept as expected failures.
//
// By default a sample where every boundary would take minutes (debug kernels, depth 2);
// NESTLOCK_LONG=1 takes all of them.
#include <cstdio>
#include <functional>
#include <random>

#include "gtest/gtest.h"
#include "nestlock/testing/proposed_policies.h"
#include "nestlock/testing/unpromised_policies.h"
#include "test/support/findings.h"
#include "test/support/kernels.h"
#include "test/support/slab_sweeps.h"
#include "test/support/verify_line.h"

namespace nestlock::test_support {
namespace {

bool all_of_it() { return std::getenv("NESTLOCK_LONG") != nullptr; }

template <class K>
using Ours = policy::PerLockByte<K>;

template <class K, class P = Ours<K>, std::size_t Size = 1024>
struct Swept {
  using M = SlabMachine<K, P, Size>;
  static M& machine() {
    static M m;
    return m;
  }
  static void ignore(const Report&) noexcept {}

  testing::SweepResult result;
  Served served, inner_served;
  unsigned wrong[5]{};
  bool proven = false;  // the path was gone

  // What was wrong, how often.
  std::string kinds() const {
    std::string text;
    for (unsigned i = 1; i < 5; ++i)
      if (wrong[i]) text += "; " + std::to_string(wrong[i]) + " " + name_of(static_cast<Wrong>(i));
    return text;
  }
  Wrong note(Wrong w) { return ++wrong[static_cast<unsigned>(w)], w; }

  void each(const SlabPath<M>& path, testing::Sample sample) {
    M& m = machine();
    const hosted::ReportSink before = hosted::set_report_sink(ignore);
    testing::SweepOptions options;
    options.boundaries = sample;
    result = testing::sweep_each([&] { m.reset(), path.before(m); }, [&] { path.code(m); },
                                 [&] { m.interrupt(0, served); },
                                 [&] { return note(m.wrong()) == Wrong::nothing; }, options);
    prove(path);
    hosted::set_report_sink(before);
  }
  void pairs(const SlabPath<M>& path, testing::Sample outer, testing::Sample inner) {
    M& m = machine();
    testing::SweepOptions options;
    options.boundaries = outer, options.inner = inner;
    result =
        testing::sweep_pairs([&] { m.reset(), path.before(m); }, [&] { path.code(m); },
                             [&] { m.interrupt(0, served); }, [&] { m.interrupt(1, inner_served); },
                             [&] { return note(m.wrong()) == Wrong::nothing; }, options);
    prove(path);
  }
  void prove(const SlabPath<M>& path) {
    M& m = machine();
    m.reset(), path.before(m);
    const auto before = m.cache->stats().*path.proof;
    path.code(m);
    proven = m.cache->stats().*path.proof > before;
  }
};

void print(const char* kernel, const char* path, const testing::SweepResult& r, const Served& s) {
  std::printf("%-12s %-12s %s; served %llu, refused %llu\n", kernel, path, r.text().c_str(),
              static_cast<unsigned long long>(s.served),
              static_cast<unsigned long long>(s.refused));
}

// Under ThreadSanitizer its runtime is stepped through, too: there two paths of four kernels.
constexpr const char* kTooSlow = "takes minutes under ThreadSanitizer";
template <class M>
bool worth_its_time(const SlabPath<M>& path) {
  const std::string_view name = path.name;
  return !internal::kWithTsan || name == "fast" || name == "refill";
}

template <class K>
struct SlabSweep : ::testing::Test {};
TYPED_TEST_SUITE(SlabSweep, AllKernels, KernelName);

// Depth 1: every boundary of every path (debug kernels, by default: every 13th).
template <class K>
void on_every_path() {
  using S = Swept<K>;
  const char* const kernel = name_of(K::kConfig);
  Served all;
  for (const auto& path : kSlabPaths<typename S::M>) {
    if (!worth_its_time(path)) continue;
    S s;
    const unsigned every = internal::kWithTsan ? 997u : K::kConfig.debug && !all_of_it() ? 13u : 1u;
    s.each(path, {.every = every});
    print(kernel, path.name, s.result, s.served);
    EXPECT_TRUE(s.result.ok()) << path.name << ": " << s.result.text() << s.kinds();
    EXPECT_TRUE(s.proven) << path.name << ": its counter did not move";
    swept("kmalloc, kfree", kernel, path.name, s.result, every == 1)
        .put("count.served", s.served.served)
        .put("count.refused", s.served.refused);
    EXPECT_EQ(s.served.unnamed, 0u) << path.name;
    // With only the sheaf locked the list serves.
    if (&path == kSlabPaths<typename S::M>) {
      EXPECT_EQ(s.served.refused, 0u);
    }
    all.served += s.served.served, all.refused += s.served.refused;
  }
  std::printf(
      "%-12s served %.2f %%\n", kernel,
      100.0 * static_cast<double>(all.served) / static_cast<double>(all.served + all.refused));
  EXPECT_GT(all.served * 10, (all.served + all.refused) * 9);
}
TYPED_TEST(SlabSweep, OnEveryPathNothingIsLostNorGivenTwice) {
  if constexpr (internal::kWithTsan && TypeParam::kConfig.debug)
    GTEST_SKIP() << kTooSlow;
  else
    on_every_path<TypeParam>();
}

struct Strides {
  unsigned outer, inner;
};
// Debug kernels have some eight times the boundaries, of the same locks.
template <class K>
Strides strides(bool fast) {
  constexpr bool kDebug = K::kConfig.debug;
  if (!all_of_it()) return kDebug ? Strides{5999, 101} : Strides{997, 17};
  if (fast) return {1, 1};
  return kDebug ? Strides{211, 17} : Strides{23, 11};
}

struct Pairs {
  std::uint64_t fast = 0, others = 0;
  Served all;
};

// One path, sampled from a seeded start.
template <class S>
void sweep_pairs_of(const SlabPath<typename S::M>& path, bool fast, std::mt19937& random,
                    Pairs& sum) {
  using K = typename S::M::Pages::Kernel;
  // Each outer boundary is dear (its handler is stepped to learn it), each inner one cheap.
  const Strides t = strides<K>(fast);
  S s;
  s.pairs(path, {.first = 1 + random() % std::min(t.outer, 100u), .every = t.outer},
          {.first = 1 + random() % t.inner, .every = t.inner});
  print(name_of(K::kConfig), path.name, s.result, s.served);
  EXPECT_TRUE(s.result.ok()) << path.name << ": " << s.result.text() << s.kinds();
  EXPECT_TRUE(s.proven) << path.name;
  EXPECT_EQ(s.served.unnamed, 0u) << path.name;
  EXPECT_EQ(s.inner_served.unnamed, 0u) << path.name;
  const bool all = t.outer == 1 && t.inner == 1;
  if (all) {
    EXPECT_TRUE(s.result.complete) << path.name;
  }
  swept("kmalloc, kfree, pairs", name_of(K::kConfig), path.name, s.result, all);
  (fast ? sum.fast : sum.others) += s.result.boundaries;
  sum.all.served += s.served.served + s.inner_served.served;
  sum.all.refused += s.served.refused + s.inner_served.refused;
}

// Depth 2. By default some 500 pairs in each kernel (debug: on two paths); NESTLOCK_LONG: every
// pair of the fast path, of the others at least 20,000. The fast path with objects of 64 bytes: at
// most boundaries of 1 KiB it is this test that fills an object.
template <class K>
void interrupted_handlers() {
  using S = Swept<K>;
  using Small = Swept<K, Ours<K>, 64>;
  std::mt19937 random(20261121);
  Pairs sum;
  sweep_pairs_of<Small>(kSlabPaths<typename Small::M>[0], true, random, sum);
  for (const auto& path : kSlabPaths<typename S::M>) {
    if (&path == kSlabPaths<typename S::M>) continue;
    if (K::kConfig.debug && !all_of_it() && &path != kSlabPaths<typename S::M> + 5) continue;
    sweep_pairs_of<S>(path, false, random, sum);
  }
  std::printf("%-12s %llu pairs, %llu of them not of the fast path\n", name_of(K::kConfig),
              static_cast<unsigned long long>(sum.fast + sum.others),
              static_cast<unsigned long long>(sum.others));
  EXPECT_GT(sum.all.served * 10, (sum.all.served + sum.all.refused) * 9);
  if (all_of_it()) {
    EXPECT_GE(sum.others, 20000u);
  }
}
TYPED_TEST(SlabSweep, InAnInterruptedHandlerToo) {
  if constexpr (internal::kWithTsan)
    GTEST_SKIP() << kTooSlow;
  else
    interrupted_handlers<TypeParam>();
}

using Up = HostedKernel<configs::up>;

TEST(SlabSweepPolicies, TheOtherPromisingLocksHold) {
  if (internal::kWithTsan) GTEST_SKIP() << kTooSlow;
  const auto holds = [](auto s) {
    using M = typename decltype(s)::M;
    for (const auto& path : kSlabPaths<M>) {
      decltype(s) one;
      one.each(path, {.every = all_of_it() ? 1u : 3u});
      EXPECT_TRUE(one.result.ok()) << path.name << ": " << one.result.text();
      EXPECT_TRUE(one.proven) << path.name;
      EXPECT_GT(one.served.served, 0u);
    }
  };
  holds(Swept<Up, policy::PerLockAtomic<Up>>{});
  holds(Swept<Up, policy::ClassAtomic<Up>>{});
}

// Where a sanitizer's instructions are among those that are counted.
constexpr bool kToolsCode = internal::kWithTsan || internal::kWithAsan;

// The longest that kmalloc_nolock() was seen to take, in machine instructions, page floor and all:
// the first object of a new slab, of a block that the buddy splits ten times. Not longer for small
// objects: a slab is linked as it is used.
template <class S>
std::uint64_t longest() {
  using M = typename S::M;
  M& m = S::machine();
  std::uint64_t most = 0;
  std::size_t of = 0;
  for (unsigned i = 0; i < M::Slabs::kClasses; ++i) {
    const std::size_t size = M::Slabs::class_size(i);
    m.reset();
    void* p = nullptr;
    const auto r =
        testing::sweep_through([&] { p = m.slabs->kmalloc_nolock(size, gfp::none); }, [] {});
    EXPECT_NE(p, nullptr) << size;
    EXPECT_TRUE(r.ok()) << r.text();
    if (size != M::kSize) {
      EXPECT_EQ(m.slabs->kmalloc_cache(i).stats().new_slabs, 1u) << size;
    }
    if (r.boundaries > most) most = r.boundaries, of = size;
    std::printf("%zu: %llu  ", size, static_cast<unsigned long long>(r.boundaries));
  }
  std::printf("\n%s: kmalloc_nolock(%zu) takes %llu instructions\n",
              name_of(M::Pages::Kernel::kConfig), of, static_cast<unsigned long long>(most));
  return most;
}

template <class... S>
void longest_of_a_new_slab() {
  for (const std::uint64_t most : {longest<S>()...}) {
    EXPECT_GT(most, 512u) << "that was no new slab";
    EXPECT_LT(most, 2000u) << "K5: a nolock call's work is bounded";
  }
}
TEST(SlabSweepLongest, OfKmallocNolockIsANewSlab) {
  if constexpr (kToolsCode)
    GTEST_SKIP() << "the tool's instructions, too";
  else
    longest_of_a_new_slab<Swept<Up>, Swept<HostedKernel<configs::smp>>>();
}

// The same where it interrupted the holder of its class's list: the slab's rest goes to the CPU's
// sheaf and to an orphan. And where its class refuses, and the next one serves; and the free that
// gives a slab back, or finds the list held and is deferred.
struct AtTheList {
  static inline std::function<void()> then;
  static inline const void *from = nullptr, *to = nullptr;
  static void acquiring(const LockRef&) noexcept {}
  static void acquired(const LockRef& l, bool) noexcept {
    if (l.type != LockType::try_spin || l.lock < from || l.lock >= to || !then) return;
    std::exchange(then, nullptr)();
  }
  static void refused(const LockRef&) noexcept {}
  static void releasing(const LockRef&) noexcept {}
};

template <class F>
std::uint64_t instructions_of(F f) {
  const auto r = testing::sweep_through(f, [] {});
  EXPECT_TRUE(r.ok()) << r.text();
  return r.boundaries;
}

template <class K>
void calls_that_are_refused_something() {
  using M = Swept<K>::M;
  M& m = Swept<K>::machine();
  m.reset();
  std::uint64_t held = 0, next = 0, given = 0, deferred = 0;
  for (unsigned i = 0; i + 1 < M::Slabs::kClasses; ++i) {
    const std::size_t size = M::Slabs::class_size(i);
    auto& cache = m.slabs->kmalloc_cache(i);
    void* p = nullptr;
    const auto with_the_list_held = [&](auto f) {
      m.reset();
      cache.shrink();
      AtTheList::from = &cache, AtTheList::to = &cache + 1;
      AtTheList::then = f;
      EXPECT_NE(m.slabs->kmalloc(size, gfp::none), nullptr);
      EXPECT_EQ(AtTheList::then, nullptr) << size << ": the list was not taken";
      AtTheList::then = nullptr;
    };
    with_the_list_held([&] {
      held = std::max(held, instructions_of([&] { p = m.slabs->kmalloc_nolock(size, gfp::none); }));
      EXPECT_EQ(m.slabs->ksize(p), size);
      EXPECT_EQ(cache.stats().orphans, 1u) << size;
    });
    m.reset();
    cache.fail_every(1);
    next = std::max(next, instructions_of([&] { p = m.slabs->kmalloc_nolock(size, gfp::none); }));
    EXPECT_GT(m.slabs->ksize(p), size);
    cache.fail_every(0);
    given = std::max(given, instructions_of([&] { m.slabs->kfree_nolock(p); }));
    with_the_list_held([&] {
      void* const q = m.slabs->kmalloc_nolock(size, gfp::none);
      deferred = std::max(deferred, instructions_of([&] { m.slabs->kfree_nolock(q); }));
      EXPECT_EQ(cache.stats().deferred, 1u) << size;
    });
  }
  std::printf(
      "up: kmalloc_nolock() takes %llu instructions with its list held, %llu where the next "
      "class serves; kfree_nolock() %llu, with its list held %llu\n",
      static_cast<unsigned long long>(held), static_cast<unsigned long long>(next),
      static_cast<unsigned long long>(given), static_cast<unsigned long long>(deferred));
  for (const std::uint64_t most : {held, next, given, deferred}) EXPECT_LT(most, 2000u);
  EXPECT_GT(held, 512u);
  EXPECT_GT(next, 512u);
}
TEST(SlabSweepLongest, OfNolockCallsThatAreRefusedSomething) {
  if constexpr (kToolsCode)
    GTEST_SKIP() << "the tool's instructions, too";
  else
    calls_that_are_refused_something<KernelOf<configs::up, Up::Port, AtTheList>>();
}

// ---- expected failures, kept for good -----------------------------------------------------------

// The probe is an NMI to irqs off. On the path that fills a sheaf from the list: the third seed's
// crash, a slab's objects in two owners' hands. In a child, for a corrupt list may end it; each
// object that is given twice is told as a finding. (ThreadSanitizer ends the program at the race
// itself: these locks order nothing.)
template <class P>
void corrupts() {
  using S = Swept<Up, P>;
  using M = typename S::M;
  unsigned swept = 0;
  for (const auto& path : kSlabPaths<M>) {
    const std::string_view name = path.name;
    if (name != "fast" && name != "refill") continue;
    ++swept;
    const Outcome o = in_child([&] {
      M& m = S::machine();
      S s;
      testing::sweep_each([&] { m.reset(), path.before(m); }, [&] { path.code(m); },
                          [&] { m.interrupt(0, s.served); },
                          [&] {
                            if (m.wrong_now_or_next() != Wrong::given_twice) return;
                            Report r;
                            r.finding = Finding::double_free;  // a name for "two owners"
                            Up::Port::report(r);
                          });
    });
    std::printf("%-16s %-8s %zu times two owners\n", P::kName, path.name, o.reports.size());
    caught("sweep", std::string("slab on ") + P::kName + " locks, " + path.name, "up",
           !o.reports.empty());
    EXPECT_GT(o.reports.size(), 0u) << path.name;
  }
  EXPECT_EQ(swept, 2u);
}
TEST(SlabSweepPolicies, StatelessLocksGiveASlabToTwoOwners) {
  if constexpr (!internal::kWithTsan) corrupts<testing::Stateless<Up>>();
}
TEST(SlabSweepPolicies, IrqsOffFailsUnderNmi) {
  if constexpr (!internal::kWithTsan) corrupts<testing::IrqsOff<Up>>();
}

}  // namespace
}  // namespace nestlock::test_support
