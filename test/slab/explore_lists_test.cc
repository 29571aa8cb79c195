// The two ways in which interrupting contexts leave things behind, every interleaving of them: the
// lock-free list (parked pages, orphaned slabs), and the deferred list with its mark (the slab
// floor's defer() and settle(), whose allocator is in explore_slab_test). Nothing is lost, nothing
// comes twice, and a mark stands wherever something is left.
#include "nestlock/page/lock_free_list.h"
#include "nestlock/testing/sim_port.h"
#include "test/support/exploring.h"

namespace nestlock::testing {
namespace {

using test_support::expect_caught;
using test_support::Scenario;
using test_support::show;

using K = SimKernel<configs::smp>;
using Port = K::Port;
constexpr std::uint32_t kNil = ~std::uint32_t{0};

// ---- the lock-free list -------------------------------------------------------------------------

using List = nestlock::internal::LockFreeList<K>;

// Wrong in the two ways there are: a push by load and store, a take by load and store.
class PushByStore {
 public:
  template <class Next>
  bool push(std::uint32_t node, Next next) {
    next(node) = head_.load();
    head_.store(node);
    return next(node) == kNil;
  }
  std::uint32_t take_all() { return head_.exchange(kNil); }

 private:
  Port::Atomic<std::uint32_t> head_{kNil};
};
class TakeByStore {
 public:
  template <class Next>
  bool push(std::uint32_t node, Next next) {
    std::uint32_t first = head_.load();
    do next(node) = first;
    while (!head_.compare_exchange_weak(first, node));
    return first == kNil;
  }
  std::uint32_t take_all() {
    const std::uint32_t all = head_.load();
    head_.store(kNil);
    return all;
  }

 private:
  Port::Atomic<std::uint32_t> head_{kNil};
};

// Nodes of a list, who pushes which, and how often each came out. A link is written and read as a
// step of its own: a list that gives out a node too early shows it.
template <class L>
struct Nodes {
  explicit Nodes(Sim& s) : sim(s) {}

  void push(std::uint32_t node) {
    const bool first =
        list.push(node, [this](std::uint32_t n) -> std::uint32_t& { return link[n]; });
    if (first) firsts.fetch_add(1);
  }
  void take() {
    for (std::uint32_t n = list.take_all(); n != kNil; n = link[n]) {
      step();
      if (++came[n] > 1) sim.check(false, "a node comes once");
      sim.count("taken");
    }
  }
  void check(unsigned pushed, unsigned takes) {
    take();
    unsigned n = 0;
    for (unsigned c : came) n += c;
    sim.check(n == pushed, "no node is lost");
    // Exactly one push finds the list empty for each chain that somebody takes.
    sim.check(firsts.load() >= 1 && firsts.load() <= takes, "who was first is told");
  }

  Sim& sim;
  L list;
  std::uint32_t link[8] = {};
  unsigned came[8] = {};
  Port::Atomic<unsigned> firsts{0};
};

// Two CPUs push, a third takes twice; or a task, and interrupts on top of it that push as well.
template <class L>
void two_push_one_takes(Sim& sim) {
  auto& n = sim.make<Nodes<L>>(sim);
  sim.task(0, [&n] { n.push(0), n.push(1); });
  sim.task(1, [&n] { n.push(2); });
  sim.task(2, [&n] { n.take(), n.take(); });
  sim.at_end([&n] { n.check(3, 3); });
}
template <class L>
void interrupts_push(Sim& sim) {
  auto& n = sim.make<Nodes<L>>(sim);
  sim.task(0, [&n] { n.push(0), n.take(); });
  sim.irq(0, [&n] { n.push(1), n.push(2); });
  sim.nmi(0, [&n] { n.push(3); });
  sim.task(1, [&n] { n.push(4), n.take(); });
  sim.at_end([&n] { n.check(5, 3); });
}

TEST(LockFreeList, EveryInterleaving) {
  const auto cpus =
      show("LockFreeList", configs::smp, "2 CPUs push, 1 takes", two_push_one_takes<List>);
  EXPECT_TRUE(cpus.ok() && cpus.complete) << cpus.text();
  EXPECT_NE(cpus.counts.count("taken"), 0u);
  const auto irqs = show("LockFreeList", configs::smp, "2 CPUs, irq, nmi", interrupts_push<List>,
                         {.max_schedules = 3'000'000});
  EXPECT_TRUE(irqs.ok() && irqs.complete) << irqs.text();
}

TEST(LockFreeListHistoric, LoadAndStoreAreCaught) {
  for (const Scenario& scenario :
       {Scenario(two_push_one_takes<PushByStore>), Scenario(interrupts_push<PushByStore>)})
    expect_caught("list pushed in two steps", configs::smp, "a node comes once", scenario);
  expect_caught("list taken in two steps", configs::smp, "no node is lost",
                two_push_one_takes<TakeByStore>);
}

// ---- the deferred list and its mark -------------------------------------------------------------

// The protocol of BasicKmemCache::defer() and settle(), and its two wrong orders.
enum class Order { right, mark_before_push, list_before_mark };

template <Order kOrder>
class Deferred {
 public:
  explicit Deferred(Sim& sim) : nodes_(sim) {}

  void defer(std::uint32_t object) {
    if constexpr (kOrder == Order::mark_before_push) mark_.fetch_or(1);
    nodes_.push(object);
    if constexpr (kOrder != Order::mark_before_push) mark_.fetch_or(1);
  }
  // What a call that may spin does first.
  void settle() {
    if (!(mark_.load() & 1)) return;
    if constexpr (kOrder == Order::list_before_mark) nodes_.take();
    mark_.fetch_and(~1u);
    if constexpr (kOrder != Order::list_before_mark) nodes_.take();
  }
  // When all is quiet the mark alone must lead to what is left.
  void check(Sim& sim, unsigned deferred) {
    settle();
    unsigned n = 0;
    for (unsigned c : nodes_.came) n += c;
    sim.check(n == deferred, "the mark leads to all that is left");
  }

 private:
  Nodes<List> nodes_;
  Port::Atomic<unsigned> mark_{0};
};

template <Order kOrder>
void defers_and_settles(Sim& sim) {
  auto& d = sim.make<Deferred<kOrder>>(sim);
  sim.task(0, [&d] { d.settle(); });
  sim.nmi(0, [&d] { d.defer(0); });
  sim.task(1, [&d] { d.defer(1), d.settle(); });
  sim.at_end([&sim, &d] { d.check(sim, 2); });
}

TEST(Deferred, NoMarkAndNoObjectIsLost) {
  const auto r = show("deferred list, mark", configs::smp, "2 CPUs, nmi",
                      defers_and_settles<Order::right>, {.max_schedules = 3'000'000});
  EXPECT_TRUE(r.ok() && r.complete) << r.text();
  EXPECT_NE(r.counts.count("taken"), 0u);
}

TEST(DeferredHistoric, AnotherOrderIsCaught) {
  constexpr const char* kLeft = "the mark leads to all that is left";
  expect_caught("deferred: marked before it is pushed", configs::smp, kLeft,
                defers_and_settles<Order::mark_before_push>);
  expect_caught("deferred: list taken before the mark", configs::smp, kLeft,
                defers_and_settles<Order::list_before_mark>);
}

}  // namespace
}  // namespace nestlock::testing
