// What readers see of a writer at each of its steps, on the simulator, and after each of its machine
// instructions: SeqLock, SeqLatch, RwSpinLock's readers.
#include <cstdint>
#include <string>

#include "gtest/gtest.h"
#include "nestlock/lock/guard.h"
#include "nestlock/lock/rw_spinlock.h"
#include "nestlock/lock/seqlock.h"
#include "nestlock/port/hosted.h"
#include "nestlock/testing/explorer.h"
#include "nestlock/testing/instruction_sweep.h"
#include "nestlock/testing/sim_port.h"
#include "test/support/exploring.h"
#include "test/support/verify_line.h"

namespace nestlock::testing {
namespace {

using test_support::expect_caught;
using test_support::expect_met;
using test_support::show;
using test_support::swept;

struct Pair {
  std::uintptr_t a = 0, b = 0;
};

// ---- SeqLock and SeqLatch, every schedule -------------------------------------------------------

template <class Seq>
void reads_once(Sim& sim, Seq& seq, const char* granted, const char* refused) {
  Pair p{7, 7};
  // The count, two words, the count again, and nothing more.
  const bool got = sim.within(4, [&] { return seq.try_read(p); });
  sim.check(p.a == p.b, "a torn value");
  sim.check(got == (p.a != 7), "what is refused is left alone");
  sim.count(got ? granted : refused);
}

// A writer, a reader on another CPU where there is one, and an nmi that reads and tries to write.
template <class Seq>
ExploreResult read_at_each_step(const char* name, bool two_cpus, const ExploreOptions& options) {
  using K = typename Seq::Kernel;
  const auto r = show(
      name, K::kConfig, two_cpus ? "writer, reader on 2nd CPU, nmi" : "writer, nmi",
      [two_cpus](Sim& sim) {
        auto& seq = sim.make<Seq>();
        sim.task(0, [&] {
          seq.write({1, 1});
          seq.write({2, 2});
        });
        if (two_cpus)
          sim.task(1, [&] {
            reads_once(sim, seq, "granted", "refused");
            const Pair p = seq.read();
            sim.check(p.a == p.b, "a torn value");
          });
        sim.nmi(0, [&] {
          reads_once(sim, seq, "nmi granted", "nmi refused");
          const bool wrote = seq.try_write({3, 3});
          sim.count(wrote ? "nmi wrote" : "nmi did not write");
          Pair p;
          sim.check(!wrote || (seq.try_read(p) && p.a == 3), "what it wrote is there");
        });
        sim.at_end([&] {
          Pair p;
          sim.check(seq.try_read(p) && p.a == p.b && p.a >= 2, "the last write is there");
        });
      },
      options);
  EXPECT_TRUE(r.ok()) << r.text();
  return r;
}

// On one CPU nobody but an nmi comes between: it is refused by a SeqLock, by a SeqLatch never.
template <Config kC>
void nmi_on_a_writer() {
  using K = SimKernel<kC>;
  const auto lock = read_at_each_step<BasicSeqLock<K, Pair>>("SeqLock", false, {});
  EXPECT_TRUE(lock.complete);
  expect_met(lock, {"nmi granted", "nmi refused", "nmi did not write"});
  const auto latch = read_at_each_step<BasicSeqLatch<K, Pair>>("SeqLatch", false, {});
  EXPECT_TRUE(latch.complete);
  expect_met(latch, {"nmi granted", "nmi did not write"});
  EXPECT_FALSE(latch.counts.contains("nmi refused")) << latch.text();
  if (kC.preempt_rt) return;
  expect_met(lock, {"nmi wrote"});
  expect_met(latch, {"nmi wrote"});
}

TEST(Sequence, AnNmiOnAWriterReadsAWholeValueOrIsRefused) {
  nmi_on_a_writer<configs::up>();
  nmi_on_a_writer<configs::up_debug>();
  nmi_on_a_writer<configs::up_rt>();
  nmi_on_a_writer<configs::smp>();
  nmi_on_a_writer<configs::smp_rt>();
}

TEST(Sequence, AReaderOnAnotherCpuReadsAWholeValueOrIsRefused) {
  using K = SimKernel<configs::smp>;
  const ExploreOptions bounded{.interruptions = 2};
  const auto lock = read_at_each_step<BasicSeqLock<K, Pair>>("SeqLock", true, bounded);
  EXPECT_TRUE(lock.complete);
  expect_met(lock, {"granted", "refused"});
  const auto latch = read_at_each_step<BasicSeqLatch<K, Pair>>("SeqLatch", true, bounded);
  EXPECT_TRUE(latch.complete);
  expect_met(latch, {"granted", "refused"});
}

// A reader that does not look at the counter again.
TEST(Sequence, AReaderThatLooksOnceIsCaught) {
  using K = SimKernel<configs::up>;
  expect_caught("a sequence reader that looks once", configs::up, "torn", [](Sim& sim) {
    struct State {
      BasicSeqCount<K> count;
      SimAtomic<unsigned> a{0}, b{0};
    };
    auto& s = sim.make<State>();
    sim.task(0, [&] {
      if (s.count.writing(s.count.now())) return;
      const unsigned a = s.a.load(), b = s.b.load();
      sim.check(a == b, "a torn value");
    });
    sim.nmi(0, [&] {
      s.count.begin_write();
      s.a.store(1), s.b.store(1);
      s.count.end_write();
    });
  });
}

// ---- SeqLock and SeqLatch, every instruction ----------------------------------------------------

template <Config kC, unsigned kCopies>
void nmi_after_each_instruction(const char* name) {
  using K = KernelOf<kC, HostedPort<kC>>;
  BasicSeqValue<K, Pair, kCopies> seq;
  std::uint64_t granted = 0, refused = 0, wrote = 0, did_not_write = 0;
  bool torn = false;
  static const CodeRanges program = CodeRanges::whole_program();
  const SweepResult r =
      sweep_each([&] { seq.write({1, 1}), torn = false; }, [&] { seq.write({2, 2}); },
                 [&] {
                   Pair p{7, 7};
                   const bool got = seq.try_read(p);
                   torn |= got ? p.a != p.b || p.a > 3 : p.a != 7 || p.b != 7;
                   ++(got ? granted : refused);
                   ++(seq.try_write({3, 3}) ? wrote : did_not_write);
                 },
                 [&] {
                   Pair p;
                   return !torn && seq.try_read(p) && p.a == p.b && p.a >= 2;
                 },
                 {.ranges = program});
  if (!r.supported) GTEST_SKIP() << r.text();
  EXPECT_TRUE(r.ok()) << r.text();
  swept(name, name_of(kC), "try_read in write", r, true).put("hits", did_not_write);
  EXPECT_GT(granted, 0u);
  EXPECT_GT(wrote, 0u) << "no interruption found the lock free";
  EXPECT_GT(did_not_write, 0u) << "no interruption found the lock held";
  EXPECT_EQ(refused != 0, kCopies == 1) << refused;
}

TEST(SequenceSweep, AWholeValueOrARefusalAfterEachInstructionOfAWriter) {
  nmi_after_each_instruction<configs::up, 1>("SeqLock");
  nmi_after_each_instruction<configs::up, 2>("SeqLatch");
  nmi_after_each_instruction<configs::smp, 1>("SeqLock");
  nmi_after_each_instruction<configs::smp, 2>("SeqLatch");
  nmi_after_each_instruction<configs::smp_rt, 2>("SeqLatch");
}

// ---- RwSpinLock's readers -----------------------------------------------------------------------

// Who is in, and who may be: between the call and its answer both are possible.
template <class L>
struct RwScene {
  explicit RwScene(Sim& s) : sim(s) {}

  void enter_shared() {
    sim.check(writers == 0, "a reader beside a writer");
    ++readers;
  }
  void enter() { sim.check(writers++ == 0 && readers == 0, "a writer is not alone"); }
  void reads() {
    SharedGuard g(lock);
    enter_shared();
    step();
    --readers;
  }
  void writes() {
    ++may_write, ++writes_begun;
    {
      Guard g(lock);
      enter();
      step();
      --writers;
    }
    --may_write;
  }
  // A refusal when nobody has, or may have had, the lock for writing is a lie.
  void tries_to_read() NESTLOCK_NO_TSA {
    const bool in_use = may_write != 0;
    const unsigned begun = writes_begun;
    const bool got = lock.try_lock_shared();
    sim.check(got || in_use || writes_begun != begun, "refused a reader, and nobody wrote");
    sim.count(got ? "reader granted" : "reader refused");
    if (!got) return;
    if (readers) sim.count("reader beside a reader");
    enter_shared();
    sim.check(!lock.try_lock(), "a writer beside this reader");
    step();
    --readers;
    lock.unlock_shared();
  }

  Sim& sim;
  L lock;
  unsigned readers = 0, writers = 0, may_write = 0, writes_begun = 0;
};

// On one CPU: a task that reads, then writes, and an nmi that tries to read.
template <Config kC>
void rw_on_one_cpu() {
  using L = BasicRwSpinLock<SimKernel<kC>>;
  const auto r = show("RwSpinLock", kC, "reader then writer, nmi that reads", [](Sim& sim) {
    auto& scene = sim.make<RwScene<L>>(sim);
    sim.task(0, [&] {
      scene.reads();
      scene.writes();
    });
    sim.nmi(0, [&] { scene.tries_to_read(); });
    sim.at_end([&] { sim.check(!scene.lock.is_locked(), "it is free"); });
  });
  EXPECT_TRUE(r.ok() && r.complete) << r.text();
  expect_met(r, {"reader granted", "reader refused", "reader beside a reader"});
}

TEST(RwSpinLock, AnNmiOnAReaderOrAWriterIsToldTheTruth) {
  rw_on_one_cpu<configs::up>();
  rw_on_one_cpu<configs::up_debug>();
  rw_on_one_cpu<configs::up_rt>();
  rw_on_one_cpu<configs::smp>();
  rw_on_one_cpu<configs::smp_rt>();
}

// A writer and readers on `cpus` CPUs, and an nmi on top of one of each.
ExploreResult rw_between_cpus(unsigned cpus, const ExploreOptions& options) {
  using L = BasicRwSpinLock<SimKernel<configs::smp>>;
  const auto r = show(
      "RwSpinLock", configs::smp, std::to_string(cpus) + " CPUs, a writer, 2 nmis that read",
      [cpus](Sim& sim) {
        auto& scene = sim.make<RwScene<L>>(sim);
        sim.task(0, [&] { scene.writes(); });
        for (unsigned cpu = 1; cpu < cpus; ++cpu) sim.task(cpu, [&] { scene.reads(); });
        for (unsigned cpu : {0u, 1u}) sim.nmi(cpu, [&] { scene.tries_to_read(); });
        sim.at_end([&] { sim.check(!scene.lock.is_locked(), "it is free"); });
      },
      options);
  EXPECT_TRUE(r.ok()) << r.text();
  expect_met(r, {"reader granted", "reader refused", "reader beside a reader"});
  return r;
}

TEST(RwSpinLock, BetweenCpus) {
  EXPECT_TRUE(rw_between_cpus(2, {.interruptions = 3}).complete);
  rw_between_cpus(3, {.random = 5'000});
}

// After each instruction of a reader, then of a writer: the interruption tries both sides.
template <Config kC>
void rw_after_each_instruction() NESTLOCK_NO_TSA {
  BasicRwSpinLock<KernelOf<kC, HostedPort<kC>>> lock;
  std::uint64_t read = 0, read_refused = 0, wrote = 0, write_refused = 0;
  unsigned inside = 0;  // 1: reads, 2: writes
  bool wrong = false;
  static const CodeRanges program = CodeRanges::whole_program();
  const SweepResult r = sweep_each(
      [&] { wrong = false, inside = 0; },
      [&]() NESTLOCK_NO_TSA {
        lock.lock_shared();
        inside = 1;
        asm volatile("" ::: "memory");
        inside = 0;
        lock.unlock_shared();
        lock.lock();
        inside = 2;
        asm volatile("" ::: "memory");
        inside = 0;
        lock.unlock();
      },
      [&]() NESTLOCK_NO_TSA {
        const bool shared = lock.try_lock_shared();
        ++(shared ? read : read_refused);
        if (shared) lock.unlock_shared();
        const bool alone = lock.try_lock();
        ++(alone ? wrote : write_refused);
        if (alone) lock.unlock();
        wrong |= (inside == 1 && !shared) || (inside == 2 && shared) || (inside && alone);
      },
      [&] { return !wrong && !lock.is_locked(); }, {.ranges = program});
  if (!r.supported) GTEST_SKIP() << r.text();
  EXPECT_TRUE(r.ok()) << r.text();
  swept("RwSpinLock", name_of(kC), "both tries in a reader and a writer", r, true)
      .put("hits", read_refused + write_refused);
  EXPECT_GT(wrote, 0u);
  EXPECT_GT(read, wrote) << "granted beside a reader, too";
  EXPECT_GT(read_refused, 0u);
}

TEST(RwSpinLock, TheTruthAfterEachInstructionOfAReaderAndAWriter) {
  rw_after_each_instruction<configs::up>();
  rw_after_each_instruction<configs::smp>();
  rw_after_each_instruction<configs::smp_rt_debug>();
}

}  // namespace
}  // namespace nestlock::testing
