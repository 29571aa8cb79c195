// What is known when the program is compiled (sizes, concepts, who may take what), that the
// standard's guards work, and what an observer sees.
#include <mutex>
#include <type_traits>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "nestlock/nestlock.h"
#include "test/support/interrupts.h"
#include "test/support/kernels.h"
#include "test/support/locks.h"

namespace nestlock::test_support {
namespace {

// ---- sizes --------------------------------------------------------------------------------------

// What a lock adds to an object that it is a member of.
template <class L>
struct With {
  [[no_unique_address]] L lock;
  std::uint32_t data;
};
template <class L>
inline constexpr std::size_t kCost = sizeof(With<L>) - sizeof(std::uint32_t);

template <Config kC>
constexpr bool sizes_are_as_documented() {
  using K = HostedKernel<kC>;
  using Raw = BasicRawSpinLock<K>;
  using Spin = BasicSpinLock<K>;
  using Try = BasicTrySpinLock<K>;
  using Shared = BasicSharedTrySpinLock<K, TestClass>;
  using Local = BasicLocalLock<K>;
  using LocalTry = BasicLocalTryLock<K>;
  static_assert(!kC.debug);
  if (kC.smp) {
    static_assert(!kC.smp || (sizeof(Raw) == 4 && alignof(Raw) == 4));
  } else {
    static_assert(kC.smp || (std::is_empty_v<Raw> && kCost<Raw> == 0));
  }
  if (kC.preempt_rt)
    return sizeof(Spin) == 4 && sizeof(Try) == 4 && sizeof(Shared) == 4 && sizeof(Local) == 4 &&
           sizeof(LocalTry) == 4;
  if (kC.smp)
    return sizeof(Spin) == 4 && sizeof(Try) == 4 && sizeof(Shared) == 4 && std::is_empty_v<Local> &&
           kCost<Local> == 0 && sizeof(LocalTry) == 1;
  return std::is_empty_v<Spin> && kCost<Spin> == 0 && sizeof(Try) == 1 && std::is_empty_v<Shared> &&
         kCost<Shared> == 0 && std::is_empty_v<Local> && kCost<Local> == 0 && sizeof(LocalTry) == 1;
}
static_assert(sizes_are_as_documented<configs::up>());
static_assert(sizes_are_as_documented<configs::up_rt>());
static_assert(sizes_are_as_documented<configs::smp>());
static_assert(sizes_are_as_documented<configs::smp_rt>());

// The class's one word on UP: 4 bytes in all, for any number of locks.
static_assert(sizeof(nestlock::internal::ClassWord<HostedKernel<configs::up>, TestClass>) == 1,
              "an empty class: the word is static");
struct OtherClass {};
TEST(SharedWord, IsOfItsClassAlone) {
  using K = HostedKernel<configs::up>;
  BasicSharedTrySpinLock<K, TestClass> a, b;
  BasicSharedTrySpinLock<K, OtherClass> other;
  if (!a.try_lock()) FAIL();
  EXPECT_TRUE(b.is_locked());
  EXPECT_FALSE(TryGuard(b));
  EXPECT_FALSE(other.is_locked());
  EXPECT_TRUE(TryGuard(other));
  a.unlock();
  EXPECT_TRUE(TryGuard(b));
}

// A guard of a spinning lock keeps the irq state, one without a tag keeps nothing but the lock.
using UpLock = BasicRawSpinLock<HostedKernel<configs::up>>;
using UpRtLock = BasicSpinLock<HostedKernel<configs::up_rt>>;
static_assert(sizeof(Guard<UpLock, NoIrq>) == sizeof(void*));
static_assert(sizeof(Guard<UpLock, IrqDisable>) == sizeof(void*));
static_assert(sizeof(Guard<UpLock, IrqSave>) == 2 * sizeof(void*));
static_assert(sizeof(Guard<UpRtLock, IrqSave>) == sizeof(void*),
              "no state where nothing is masked");

// ---- concepts -----------------------------------------------------------------------------------

template <class L, LockType kType>
concept IsAsPromised = AnyContextTryLockable<L> ==
                       (kType == LockType::try_spin || kType == LockType::shared_try_spin ||
                        kType == LockType::local_try);

template <class K>
constexpr bool concepts_are_as_promised() {
  using Raw = BasicRawSpinLock<K>;
  using Local = BasicLocalLock<K>;
  using Shared = BasicSharedTrySpinLock<K, TestClass>;
  static_assert(IsAsPromised<Raw, LockType::raw_spin>);
  static_assert(IsAsPromised<BasicSpinLock<K>, LockType::spin>);
  static_assert(IsAsPromised<BasicTrySpinLock<K>, LockType::try_spin>);
  static_assert(IsAsPromised<Shared, LockType::shared_try_spin>);
  static_assert(IsAsPromised<Local, LockType::local>);
  static_assert(IsAsPromised<BasicLocalTryLock<K>, LockType::local_try>);

  static_assert(BasicLockable<Raw> && TryLockable<Raw>);
  static_assert(BasicLockable<Local> && !TryLockable<Local>, "L9: local_lock_t has no trylock");
  static_assert(!BasicLockable<Shared> && TryLockable<Shared>, "its lock() could never return");

  static_assert(!std::is_copy_constructible_v<Raw> && !std::is_move_constructible_v<Raw>);
  static_assert(!std::is_copy_assignable_v<Local>);
  static_assert(!std::is_copy_constructible_v<Guard<Raw, NoIrq>>);
  static_assert(!std::is_move_constructible_v<TryGuard<Raw, NoIrq>>);
  return true;
}
template <class... K>
constexpr bool concepts_in_all(::testing::Types<K...>) {
  return (concepts_are_as_promised<K>() && ...);
}
static_assert(concepts_in_all(AllKernels{}));

// All can be constant-initialised: no constructor runs at start-up.
[[maybe_unused]] constinit BasicRawSpinLock<HostedKernel<configs::smp_debug>> a_constant;
[[maybe_unused]] constinit BasicTrySpinLock<HostedKernel<configs::smp_rt_debug>> another;
static_assert(!std::is_trivially_destructible_v<decltype(a_constant)> &&
                  !std::is_trivially_destructible_v<decltype(another)>,
              "it looks whether anybody holds it");
static_assert(std::is_trivially_destructible_v<BasicRawSpinLock<HostedKernel<configs::up>>> &&
              std::is_trivially_destructible_v<BasicSpinLock<HostedKernel<configs::smp_rt>>> &&
              std::is_trivially_destructible_v<BasicTrySpinLock<HostedKernel<configs::smp>>>);
// A constant expression may make one, and end its life.
template <class L>
constexpr bool lives_and_dies() {
  [[maybe_unused]] const L lock;
  return true;
}
static_assert(lives_and_dies<BasicTrySpinLock<HostedKernel<configs::smp_debug>>>() &&
              lives_and_dies<BasicRawSpinLock<HostedKernel<configs::smp>>>());

// ---- the standard's guards ----------------------------------------------------------------------

template <class K>
class StdGuards : public InterruptTest {};
TYPED_TEST_SUITE(StdGuards, AllKernels, KernelName);

template <class L>
void take_by_std_guards() NESTLOCK_NO_TSA {
  L one, two;
  {
    std::lock_guard g(one);
    one.assert_held();
  }
  {
    std::scoped_lock g(one, two);
    one.assert_held(), two.assert_held();
  }
  {
    std::unique_lock g(one, std::try_to_lock);
    ASSERT_TRUE(g.owns_lock());
    g.unlock();
    g.lock();
  }
  EXPECT_FALSE(one.is_locked() || two.is_locked());
}

TYPED_TEST(StdGuards, TakeAndGiveBack) {
  take_by_std_guards<BasicRawSpinLock<TypeParam>>();
  take_by_std_guards<BasicSpinLock<TypeParam>>();
  take_by_std_guards<BasicTrySpinLock<TypeParam>>();
  take_by_std_guards<BasicLocalTryLock<TypeParam>>();
  BasicLocalLock<TypeParam> local;
  std::lock_guard g(local);
  local.assert_held();
}

// ---- observers ----------------------------------------------------------------------------------

enum class Step : std::uint8_t { acquiring, acquired, acquired_by_try, refused, releasing };
void PrintTo(Step s, std::ostream* os) {
  constexpr const char* names[] = {"acquiring", "acquired", "acquired_by_try", "refused",
                                   "releasing"};
  *os << names[static_cast<unsigned>(s)];
}

struct Recorder {
  struct Event {
    Step step;
    LockRef lock;
    ThreadCounts counts;
  };
  // The task's and the handler's, by turns, so not for ThreadSanitizer to look at.
  static inline std::vector<Event> events;
  static void add(Step s, const LockRef& l) {
    const Unchecked book;
    events.push_back({s, l, test_support::counts()});
  }
  static void acquiring(const LockRef& l) noexcept { add(Step::acquiring, l); }
  static void acquired(const LockRef& l, bool by_try) noexcept {
    add(by_try ? Step::acquired_by_try : Step::acquired, l);
  }
  static void refused(const LockRef& l) noexcept { add(Step::refused, l); }
  static void releasing(const LockRef& l) noexcept { add(Step::releasing, l); }

  static std::vector<Event> take() {
    const Unchecked book;
    return std::exchange(events, {});
  }
};

template <class K>
class Observers : public InterruptTest {
 protected:
  void SetUp() override {
    InterruptTest::SetUp();
    detail::check_library(true);
    Recorder::take();
  }
  void TearDown() override {
    detail::check_library(false);
    InterruptTest::TearDown();
  }
};
TYPED_TEST_SUITE(Observers, AllKernels, KernelName);

template <class K>
using Watched = KernelOf<K::kConfig, typename K::Port, Recorder>;

template <class L>
void expect_events_of(const L& lock, const std::vector<Step>& expected) {
  std::vector<Step> steps;
  for (const Recorder::Event& e : Recorder::take()) {
    steps.push_back(e.step);
    EXPECT_EQ(e.lock.lock, &lock);
    EXPECT_EQ(e.lock.type, L::kLockType);
    EXPECT_EQ(e.lock.where.file != nullptr, L::Kernel::kConfig.debug);
    EXPECT_EQ(e.lock.born.file != nullptr, L::Kernel::kConfig.debug);
  }
  EXPECT_EQ(steps, expected) << name_of(L::kLockType);
}

template <class L>
void lock_is_seen() NESTLOCK_NO_TSA {
  L lock;
  lock.lock();
  lock.unlock();
  expect_events_of(lock, {Step::acquiring, Step::acquired, Step::releasing});
}
template <class L>
void tries_are_seen() NESTLOCK_NO_TSA {
  L lock;
  ASSERT_TRUE(lock.try_lock());
  interrupt(Where::nmi, [&] { EXPECT_FALSE(lock.try_lock()); });
  EXPECT_FALSE(lock.try_lock());
  lock.unlock();
  expect_events_of(lock, {Step::acquired_by_try, Step::refused, Step::refused, Step::releasing});
}

TYPED_TEST(Observers, SeeEveryStepInOrder) {
  using K = Watched<TypeParam>;
  lock_is_seen<BasicRawSpinLock<K>>();
  lock_is_seen<BasicSpinLock<K>>();
  lock_is_seen<BasicTrySpinLock<K>>();
  lock_is_seen<BasicLocalLock<K>>();
  lock_is_seen<BasicLocalTryLock<K>>();
  tries_are_seen<BasicTrySpinLock<K>>();
  tries_are_seen<BasicSharedTrySpinLock<K, TestClass>>();
  tries_are_seen<BasicLocalTryLock<K>>();
}

// Also the refusal of a call that the table forbids.
TYPED_TEST(Observers, SeeEveryRefusal) {
  using K = Watched<TypeParam>;
  const auto sink = hosted::set_report_sink([](const Report&) noexcept {});
  BasicSpinLock<K> lock;
  bool got = false;
  interrupt(Where::hardirq, [&]() NESTLOCK_NO_TSA {
    got = lock.try_lock();
    if (got) lock.unlock();
  });
  hosted::set_report_sink(sink);
  EXPECT_EQ(got, !K::kConfig.preempt_rt);
  if (got)
    expect_events_of(lock, {Step::acquired_by_try, Step::releasing});
  else
    expect_events_of(lock, {Step::refused});
}

// Context first, then the lock; and back: the lock first, then the context.
TYPED_TEST(Observers, SeeTheContextAroundTheLock) {
  using K = Watched<TypeParam>;
  const auto check = [](bool masks) {
    const auto events = Recorder::take();
    ASSERT_EQ(events.size(), 3u);
    for (const Recorder::Event& e : events) {
      EXPECT_EQ(e.counts.masked, masks);
      EXPECT_EQ(e.counts.preempt + e.counts.migrate, 1u);
    }
    EXPECT_EQ(counts(), ThreadCounts{});
  };
  BasicRawSpinLock<K> raw;
  BasicSpinLock<K> spin;
  const auto take = [](auto& lock, auto tag) { Guard g(lock, tag); };
  take(raw, irq_save), check(true);
  take(raw, irq_disable), check(true);
  take(spin, irq_save), check(!K::kConfig.preempt_rt);
  take(spin, irq_disable), check(!K::kConfig.preempt_rt);
  {
    Guard g(raw, bh_disable);
  }
  for (const Recorder::Event& e : Recorder::take()) EXPECT_EQ(e.counts.bh, 1u);
}

// The default observer is no member of anything.
template <class K>
constexpr bool costs_nothing() {
  return sizeof(BasicRawSpinLock<K>) == sizeof(BasicRawSpinLock<Watched<K>>) &&
         sizeof(BasicTrySpinLock<K>) == sizeof(BasicTrySpinLock<Watched<K>>) &&
         sizeof(BasicLocalTryLock<K>) == sizeof(BasicLocalTryLock<Watched<K>>);
}
static_assert(costs_nothing<HostedKernel<configs::up>>());
static_assert(costs_nothing<HostedKernel<configs::smp_rt_debug>>());

// ---- the built kernel's names -------------------------------------------------------------------

static_assert(BuiltKernel::kConfig == kBuiltConfig);
static_assert(std::is_same_v<TrySpinLock, BasicTrySpinLock<BuiltKernel>>);
static_assert(std::is_same_v<SpinLock::Kernel, BuiltKernel>);

TYPED_TEST(StdGuards, AdoptLockTakesOverWhatATryTook) {
  using K = Watched<TypeParam>;
  BasicTrySpinLock<K> lock;
  Recorder::take();
  ASSERT_TRUE(lock.try_lock());
  lock.assert_held();  // for clang's analysis
  {
    Guard g(lock, adopt_lock);
    EXPECT_TRUE(lock.is_locked());
    expect_events_of(lock, {Step::acquired_by_try});
  }
  expect_events_of(lock, {Step::releasing});
  EXPECT_FALSE(lock.is_locked());
  EXPECT_EQ(counts(), ThreadCounts{});
}

TYPED_TEST(StdGuards, CanSpinTrylockIsTheTablesGate) {
  for (Where where : kWheres)
    interrupt(where, [&] {
      const bool gated = TypeParam::kConfig.preempt_rt && context_of(where) >= Context::hardirq;
      EXPECT_EQ(can_spin_trylock<TypeParam>(), !gated) << name_of(where);
    });
}

}  // namespace
}  // namespace nestlock::test_support
