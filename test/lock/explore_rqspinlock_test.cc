// Permanent expected failures: the five ways in which the kernel's rqspinlock, which keeps what a CPU holds in a
// table beside the lock, once told or still tells somebody of a deadlock that is none, or lets somebody wait in
// one. On the simulator, and beside each ResilientSpinLock, which stands the same.
#include "gtest/gtest.h"
#include "nestlock/testing/explorer.h"
#include "nestlock/testing/sim_port.h"
#include "test/lock/resilient_exploring.h"
#include "test/support/exploring.h"

namespace nestlock::testing {
namespace {

using test_support::expect_caught;
using test_support::Scenario;

// A word, and in a table of its own what each CPU has: a lock that is found there is its own.
enum class Flaw {
  entry_after_word,    // an nmi in between finds no entry, and waits for what it interrupted
  entry_before_word,   // its repair: an nmi between the release and the removal finds one
  entry_twice,         // of a slow path, which enters again what has been entered: one stays
  irqs_before_unlock,  // in the form that masks irqs
};

template <Flaw kFlaw>
class TableLock {
 public:
  using Port = SimPort<configs::smp>;
  struct Tables {
    SimAtomic<const void*> entry[kCpus][4]{};
    SimAtomic<unsigned> count[kCpus]{};
  };
  static inline Tables* tables = nullptr;

  LockResult lock(Spins) {
    const unsigned cpu = Port::cpu_id(), n = tables->count[cpu].load();
    for (unsigned i = 0; i < n; ++i)
      if (tables->entry[cpu][i].load() == this) return LockResult(Refusal::deadlock);
    if (kFlaw != Flaw::entry_after_word) enter(cpu);
    if (kFlaw == Flaw::entry_twice) enter(cpu);
    for (unsigned free = 0; word_.load() || !word_.compare_exchange_strong(free, cpu + 1); free = 0)
      Port::pause();
    if (kFlaw == Flaw::entry_after_word) enter(cpu);
    return LockResult(Refusal::none);
  }
  void unlock() {
    SimAtomic<unsigned>& count = tables->count[Port::cpu_id()];
    if (kFlaw != Flaw::entry_after_word) word_.store(0);
    count.store(count.load() - 1);
    if (kFlaw == Flaw::entry_after_word) word_.store(0);
  }
  bool held_by_caller() const { return word_.load() == Port::cpu_id() + 1; }
  void unlock_irq(bool masked) {
    if (kFlaw == Flaw::irqs_before_unlock) Port::irq_restore(masked);
    unlock();
    if (kFlaw != Flaw::irqs_before_unlock) Port::irq_restore(masked);
  }

 private:
  void enter(unsigned cpu) {
    const unsigned n = tables->count[cpu].load();
    tables->count[cpu].store(n + 1);
    tables->entry[cpu][n].store(this);
  }

  SimAtomic<unsigned> word_{0};
};

template <class L>
L& boot(Sim& sim) {
  if constexpr (requires { L::tables; })
    L::tables = &sim.make<typename L::Tables>();
  else
    L::Port::template boot<L>(sim, kCpus);
  return sim.make<L>();
}

// A task that takes the lock and gives it back, and an nmi, from when the task has come so far.
enum class From { start, section_left, end };
template <class L, From kFrom>
void nmi_comes(Sim& sim) NESTLOCK_NO_TSA {
  L& lock = boot<L>(sim);
  auto& reached = sim.make<From>(From::start);
  sim.task(0, [&]() NESTLOCK_NO_TSA {
    if (!lock.lock(kLong)) return;
    step();
    reached = From::section_left;
    lock.unlock();
    reached = From::end;
  });
  sim.nmi(0, [&]() NESTLOCK_NO_TSA {
    if (reached < kFrom) return;
    const LockResult r = lock.lock(kLong);
    if (r) return lock.unlock();
    sim.check(lock.held_by_caller(), "told of a deadlock that is none");
  });
}

// A task and an irq that both mask irqs while they have it.
template <class L>
void irq_comes(Sim& sim) {
  L& lock = boot<L>(sim);
  const auto section = [&]() NESTLOCK_NO_TSA {
    const bool masked = L::Port::irq_save();
    const LockResult r = lock.lock(kLong);
    sim.check(static_cast<bool>(r), "a deadlock with a holder that masks irqs");
    if constexpr (requires { lock.unlock_irq(masked); })
      return lock.unlock_irq(masked);
    else
      lock.unlock();
    L::Port::irq_restore(masked);
  };
  sim.task(0, section);
  sim.irq(0, section);
}

// A queue of waiters, here of one: who sees a deadlock takes itself out of it; if one has come behind
// it, that one has to be told. The flaw: a word in which the lock is held, too, is taken for a sign that
// one has, and its name is waited for.
template <bool kFlawed>
class QueueLock {
 public:
  using Port = SimPort<configs::smp>;
  struct Tables {
    SimAtomic<const QueueLock*> wants[2]{};
  };
  static inline Tables* tables = nullptr;

  LockResult lock(Spins) {
    const unsigned me = Port::cpu_id() + 1;
    unsigned w = 0;
    if (!word_.compare_exchange_strong(w, kHeld)) {
      word_.fetch_or(me);
      tables->wants[me - 1].store(this);
      for (;;) {
        w = me;
        if (word_.load() == me && word_.compare_exchange_strong(w, kHeld)) break;
        if (const QueueLock* const l = tables->wants[2 - me].load(); l && l->owner_ == me) {
          leave(me);
          return LockResult(Refusal::deadlock);
        }
        Port::pause();
      }
      tables->wants[me - 1].store(nullptr);
    }
    owner_ = me;
    return LockResult(Refusal::none);
  }
  void unlock() {
    owner_ = 0;
    word_.fetch_and(~kHeld);
  }

 private:
  static constexpr unsigned kHeld = 256;

  void leave(unsigned me) {
    tables->wants[me - 1].store(nullptr);
    if (!kFlawed) return void(word_.fetch_and(~me));
    if (unsigned alone = me; word_.compare_exchange_strong(alone, 0)) return;
    while (next_.load() == 0) Port::pause();
  }

  SimAtomic<unsigned> word_{0}, next_{0};
  unsigned owner_ = 0;
};

template <class L>
void cross(Sim& sim) {
  L* const locks[] = {&boot<L>(sim), &boot<L>(sim)};
  for (unsigned cpu : {0u, 1u})
    sim.task(cpu, [=]() NESTLOCK_NO_TSA {
      if (!locks[cpu]->lock(kLong)) return;
      if (locks[1 - cpu]->lock(kLong)) locks[1 - cpu]->unlock();
      locks[cpu]->unlock();
    });
}

// What the flawed do not stand, ours does, and so does a model without that flaw.
void stands(const Scenario& set_up) {
  const ExploreResult r = explore(set_up, {.interruptions = 2});
  EXPECT_TRUE(r.ok() && r.complete) << r.text();
}

TEST(ResilientHistoric, AnEntryBehindTheWordIsCaught) {
  expect_caught("rqspinlock's entry behind its word", configs::smp, "nobody can go on",
                nmi_comes<TableLock<Flaw::entry_after_word>, From::start>);
  stands(nmi_comes<TableLock<Flaw::entry_before_word>, From::end>);
  stands(nmi_comes<Waiting<configs::smp>, From::start>);
}

TEST(ResilientHistoric, AnEntryThatOutlastsTheReleaseIsCaught) {
  expect_caught("rqspinlock's entry outlasts its release", configs::smp,
                "told of a deadlock that is none",
                nmi_comes<TableLock<Flaw::entry_before_word>, From::section_left>);
  stands(nmi_comes<Waiting<configs::smp>, From::section_left>);
}

TEST(ResilientHistoric, AnEntryThatIsMadeTwiceIsCaught) {
  expect_caught("rqspinlock's second entry stays", configs::smp, "told of a deadlock that is none",
                nmi_comes<TableLock<Flaw::entry_twice>, From::end>);
  stands(nmi_comes<Waiting<configs::smp>, From::end>);
}

TEST(ResilientHistoric, IrqsThatComeBackBeforeTheUnlockAreCaught) {
  expect_caught("rqspinlock's irqs come back too soon", configs::smp,
                "a deadlock with a holder that masks irqs",
                irq_comes<TableLock<Flaw::irqs_before_unlock>>);
  stands(irq_comes<TableLock<Flaw::entry_before_word>>);
  stands(irq_comes<Waiting<configs::smp>>);
}

TEST(ResilientHistoric, AWaiterThatCannotLeaveIsCaught) {
  expect_caught("rqspinlock's leaving waiter is stuck", configs::smp, "nobody can go on",
                cross<QueueLock<true>>);
  stands(cross<QueueLock<false>>);
  stands(cross<Waiting<configs::smp>>);
}

}  // namespace
}  // namespace nestlock::testing
