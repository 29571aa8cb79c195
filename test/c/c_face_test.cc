// The C face does what the C++ library does, seen from C: calls.c is a C99 program's worth of
// calls.
#include <cstring>
#include <string>
#include <thread>

#include "calls.h"
#include "gtest/gtest.h"
#include "nestlock/nestlock.h"

namespace nestlock {
namespace {

constexpr bool kRt = kBuiltConfig.preempt_rt;

void passes(const char* wrong) { EXPECT_EQ(wrong, nullptr) << wrong; }

// ---- layout ----

template <class Cxx>
void same_layout(const layout& c) {
  EXPECT_EQ(c.size, sizeof(Cxx));
  EXPECT_EQ(c.alignment, alignof(Cxx));
}

TEST(CFace, SizesAndAlignmentsAreThoseOfCxx) {
  same_layout<RawSpinLock>(layouts[0]);
  same_layout<SpinLock>(layouts[1]);
  same_layout<TrySpinLock>(layouts[2]);
  same_layout<LocalLock>(layouts[3]);
  same_layout<LocalTryLock>(layouts[4]);
  if (!kBuiltConfig.smp && !kRt && !kBuiltConfig.debug) {
    for (const layout& l : layouts) EXPECT_EQ(l.size, 1u);
  }
}

// ---- initialisers ----

// The bytes of a lock, without the place where it was initialised; checks that the place is `line`.
template <class C>
std::string bytes_but_place(const void* lock, unsigned line, const char* file) {
  C copy;
  std::memcpy(&copy, lock, sizeof copy);
  if constexpr (requires { copy.record; }) {
    EXPECT_EQ(copy.record.born_line, line);
    EXPECT_NE(std::strstr(copy.record.born_file, file), nullptr) << copy.record.born_file;
    copy.record.born_line = 0;
    copy.record.born_file = nullptr;
  }
  return std::string(reinterpret_cast<const char*>(&copy), sizeof copy);
}

// A call constructs in place, and leaves in the padding what it likes: only the members are copied.
template <class C>
void copy_members(const C& from, C* to) {
  std::memset(to, 0, sizeof *to);
  to->word = from.word;
  if constexpr (requires { to->record; }) {
    to->record.magic = from.record.magic;
    to->record.context = from.record.context;
    to->record.cpu = from.record.cpu;
    to->record.taken_line = from.record.taken_line;
    to->record.taken_file = from.record.taken_file;
    to->record.owner = from.record.owner;
    to->record.born_file = from.record.born_file;
    to->record.born_line = from.record.born_line;
  }
}

// A line each, as in calls.c.
constexpr unsigned kLine = __LINE__ + 1;
constinit RawSpinLock cxx_raw_spin;
constinit SpinLock cxx_spin;
constinit TrySpinLock cxx_tryspin;
constinit LocalLock cxx_local;
constinit LocalTryLock cxx_trylocal;

template <class C, class Cxx>
void same_bytes(const C& initialised, const C& called, unsigned called_line, const Cxx& cxx,
                unsigned nth) {
  const std::string expected = bytes_but_place<C>(&cxx, kLine + nth, "c_face_test.cc");
  EXPECT_EQ(bytes_but_place<C>(&initialised, static_line + nth, "calls.c"), expected);
  C members;
  copy_members(called, &members);
  EXPECT_EQ(bytes_but_place<C>(&members, called_line + nth, "calls.c"), expected);
}

TEST(CFace, InitialisersMakeTheBytesOfCxxConstructors) {
  static made all;  // zeroed, so that what a lock leaves as it was inside its words is equal, too
  const unsigned line = make_all(&all);
  same_bytes(static_raw_spin, all.raw_spin, line, cxx_raw_spin, 0);
  same_bytes(static_spin, all.spin, line, cxx_spin, 1);
  same_bytes(static_tryspin, all.tryspin, line, cxx_tryspin, 2);
  same_bytes(static_local, all.local, line, cxx_local, 3);
  same_bytes(static_trylocal, all.trylocal, line, cxx_trylocal, 4);
}

// ---- calls ----

TEST(CFace, Contexts) { passes(check_contexts()); }
TEST(CFace, RawSpin) { passes(check_raw_spin()); }
TEST(CFace, Spin) { passes(check_spin()); }
TEST(CFace, Tryspin) { passes(check_tryspin()); }
TEST(CFace, Local) { passes(check_local()); }
TEST(CFace, Trylocal) { passes(check_trylocal()); }
TEST(CFace, Pages) { passes(check_pages()); }
TEST(CFace, Kmalloc) { passes(check_kmalloc()); }
TEST(CFace, Caches) { passes(check_caches()); }
TEST(CFace, BadSignals) { passes(check_bad_signals()); }
TEST(CFace, Softirq) { passes(check_softirq()); }
TEST(CFace, MaskedArrival) { passes(check_masked_arrival()); }
TEST(CFace, HandlerTriesAndAllocates) { passes(check_handler(false, kRt)); }
TEST(CFace, NmiTriesAndAllocates) { passes(check_handler(true, kRt)); }

// A thread with another CPU takes another element.
TEST(CFace, LocalLocksOfAnotherCpu) {
  if (!kBuiltConfig.smp) GTEST_SKIP() << "one CPU";
  const unsigned here = nestlock_smp_processor_id();
  std::thread([here] {
    EXPECT_NE(nestlock_smp_processor_id(), here);
    passes(check_local());
    passes(check_trylocal());
  }).join();
}

// A lock is the same object in both languages: what C holds C++ is refused.
TEST(CFace, LockIsSharedWithCxx) {
  static nestlock_spin_trylock_t lock = NESTLOCK_SPIN_TRYLOCK_INIT;
  auto& cxx = *static_cast<TrySpinLock*>(static_cast<void*>(&lock));
  nestlock_tryspin_lock(&lock);
  EXPECT_FALSE(cxx.try_lock());
  nestlock_tryspin_unlock(&lock);
  ASSERT_TRUE(cxx.try_lock());
  EXPECT_FALSE(nestlock_tryspin_trylock(&lock));
  cxx.unlock();
}

// ---- reports ----

std::string reported;
void keep(const char* text, bool) { reported += text; }

template <class F>
void reports(F misuse, const char* what) {
  reported.clear();
  nestlock_set_report_sink(keep);
  const unsigned line = misuse();
  nestlock_set_report_sink(nullptr);
  EXPECT_NE(reported.find(what), std::string::npos) << reported;
  EXPECT_NE(reported.find("calls.c:" + std::to_string(line) + ","), std::string::npos) << reported;
}

TEST(CFace, AReportNamesTheLineOfTheCallInC) {
  if (!kBuiltConfig.debug) GTEST_SKIP() << "only debug configurations keep places";
  reports(unlock_a_free_lock, "lock is not held");
  reports(free_twice, "freed twice");
}

}  // namespace
}  // namespace nestlock
