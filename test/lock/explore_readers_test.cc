// What readers see of a writer at each of its steps, on the simulator, and after each of its machine
// instructions: SeqLock and SeqLatch.
#include <cstdint>
#include <initializer_list>
#include <string>

#include "gtest/gtest.h"
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
using test_support::show;
using test_support::swept;

void expect_met(const ExploreResult& r, std::initializer_list<const char*> moments) {
  for (const char* const moment : moments)
    EXPECT_TRUE(r.counts.contains(moment)) << "never " << moment << ": " << r.text();
}

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

}  // namespace
}  // namespace nestlock::testing
