// SeqLock and SeqLatch, row by row of include/nestlock/README.md: each call in each context, and on top
// of each writer that it can interrupt, at each word that this one stores. What their lock answers comes
// from contexts.h; the contexts are entered by real signals.
#include <atomic>
#include <cstdint>
#include <functional>
#include <ostream>
#include <type_traits>
#include <vector>

#include "gtest/gtest.h"
#include "nestlock/lock/seqlock.h"
#include "test/support/contract.h"
#include "test/support/findings.h"
#include "test/support/interrupts.h"
#include "test/support/kernels.h"

namespace nestlock::test_support {
namespace {

using contexts::Call;

constexpr unsigned kWords = 3;
struct Value {
  std::uintptr_t word[kWords]{};
  static Value of(std::uintptr_t n) { return {{n, n * n, ~n}}; }
  friend bool operator==(const Value&, const Value&) = default;
  friend void PrintTo(const Value& v, std::ostream* os) {
    for (const std::uintptr_t w : v.word) *os << w << ' ';
  }
};

// A port that lets the test in before each word of a value is stored, and counts turns of waiting.
constexpr auto kRelaxed = std::memory_order_relaxed;
constinit std::atomic<const std::function<void()>*> before_store{nullptr};
constinit std::atomic<unsigned> turns{0};

template <class K>
struct WatchedPort : K::Port {
  template <class T>
  struct Atomic : K::Port::template Atomic<T> {
    using Base = typename K::Port::template Atomic<T>;
    using Base::Base;
    void store(T value, std::memory_order order) noexcept {
      if (std::is_same_v<T, std::uintptr_t> && order == std::memory_order_release)
        if (const auto* const f = before_store.exchange(nullptr, kRelaxed))
          (*f)(), before_store.store(f, kRelaxed);
      Base::store(value, order);
    }
  };
  static void pause() noexcept { turns.fetch_add(1, kRelaxed), K::Port::pause(); }
};

template <unsigned kCopies, class L>
struct Case {
  BasicSeqValue<typename L::Kernel, Value, kCopies, L> seq;
  unsigned writers = 0, stores = 0;

  // try_read(); 0: it is refused.
  void reads(std::uintptr_t wanted) {
    const unsigned before = turns.load(kRelaxed);
    Value value = Value::of(99);
    EXPECT_EQ(seq.try_read(value), wanted != 0);
    EXPECT_EQ(value, Value::of(wanted ? wanted : 99));
    EXPECT_EQ(turns.load(kRelaxed), before) << "it waited";
  }
  void tries_to_write(std::uintptr_t n, bool gets, const std::vector<Finding>& reports) {
    Findings findings;
    const auto bytes = bytes_of(seq);
    EXPECT_EQ(seq.try_write(Value::of(n)), gets);
    EXPECT_EQ(bytes_of(seq) != bytes, gets) << "changed: what is refused changes nothing";
    EXPECT_EQ(findings.all(), reports) << findings.text();
  }

  void alone(Where where) {
    const Row<L> row{context_of(where)};
    const std::uintptr_t tried = row.gets_free() ? 2 : 1;
    seq.write(Value::of(1));
    interrupt(where, [&] {
      const ThreadCounts before = counts();
      reads(1);
      tries_to_write(2, row.gets_free(), row.reports({Call::try_lock}));
      reads(tried);
      if (!row.lock_is_tried()) return;
      Findings findings;
      EXPECT_EQ(seq.read(), Value::of(tried));
      ASSERT_EQ(findings.all(), row.reports({Call::lock})) << findings.text();
      if (findings.size()) {
        EXPECT_STREQ(findings[0].type, kCopies == 1 ? "SeqLock" : "SeqLatch");
        EXPECT_STREQ(findings[0].call, "read");
      }
      seq.write(Value::of(3));
      reads(3);
      seq.update([](Value& value) { value = Value::of(value.word[0] + 1); });
      reads(4);
      EXPECT_EQ(findings.all(),
                row.reports({Call::lock, Call::lock, Call::unlock, Call::lock, Call::unlock}))
          << findings.text();
      EXPECT_EQ(counts(), before);
    });
  }

  // A writer in `holder` is interrupted before it has begun to store, then before each word: there a
  // SeqLock has no value; a SeqLatch has the old one, and the new one while it stores the other copy.
  void on_a_writer(Where holder, Where where) {
    const Row<L> writer{context_of(holder)}, row{context_of(where, holder)};
    if (!writer.can_hold()) return;
    ++writers;
    seq.write(Value::of(1));
    interrupt(holder, [&] {
      const auto tries = [&](bool gets) {
        tries_to_write(9, gets, row.reports_of_try_on(writer.here));
      };
      if (writer.locks())
        seq.update([&](Value& value) {
          interrupt(where, [&] { reads(1), tries(row.gets_held()); });
          EXPECT_EQ(value, Value::of(1));
        });
      unsigned stored = 0;
      const std::function<void()> look = [&] {
        interrupt(where, [&] {
          reads(kCopies == 1 ? 0 : stored < kWords ? 1 : 2);
          if (!row.gets_held()) tries(false);  // else two write at once: such a lock has no state
        });
        ++stored;
      };
      before_store.store(&look, kRelaxed);
      if (writer.locks())
        seq.write(Value::of(2));
      else
        EXPECT_TRUE(seq.try_write(Value::of(2)));
      before_store.store(nullptr, kRelaxed);
      reads(2);
      stores += stored;
    });
  }

  static void run() {
    Case c;
    for_each_context([&](Where where) { c.alone(where); });
    for_each_interruption([&](Where holder, Where where) { c.on_a_writer(holder, where); });
    EXPECT_GE(c.writers, 4u) << "a task, interrupted by each";
    EXPECT_EQ(c.stores, c.writers * kCopies * kWords);
  }
};

template <class K>
class SeqLockContract : public InterruptTest {};
TYPED_TEST_SUITE(SeqLockContract, AllKernels, KernelName);

TYPED_TEST(SeqLockContract, IsKeptInEachContext) {
  using K = KernelOf<TypeParam::kConfig, WatchedPort<TypeParam>>;
  Case<1, BasicTrySpinLock<K>>::run();
  Case<2, BasicTrySpinLock<K>>::run();
  Case<1, BasicRawSpinLock<K>>::run();
  Case<2, BasicSpinLock<K>>::run();
}

}  // namespace
}  // namespace nestlock::test_support
