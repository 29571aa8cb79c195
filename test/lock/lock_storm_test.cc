// Tries on one CPU in a storm of interrupts: the locks that promise tell the truth, both ways.
#include <time.h>

#include <algorithm>
#include <atomic>
#include <csignal>
#include <cstdint>

#include "gtest/gtest.h"
#include "test/lock/any_lock_testing.h"

namespace nestlock::test_support {
namespace {

class Promised : public AnyLockTest {};
INSTANTIATE_TEST_SUITE_P(All, Promised, ::testing::ValuesIn(locks_where([](const LockCalls& c) {
                           return contexts::promised(c.type);
                         })),
                         name_of_lock);

// Truth both ways while irqs and nmis arrive at any moment and try: the task's try of a lock that
// it does not hold is never refused, whatever they had in between; theirs is refused if and only if
// code below them holds the lock.
enum class At : std::uint8_t { outside, between, inside };
struct Storm {
  AnyLock* lock;
  std::atomic<At> at{At::outside};
  std::atomic<unsigned> granted[5]{}, refused_held[5]{}, refused_free[5]{}, lies{0};
};
Storm* storm = nullptr;

template <Where kWhere>
void try_in_storm() {
  Storm& s = *storm;
  constexpr unsigned w = static_cast<unsigned>(kWhere);
  const At at = s.at.exchange(At::between);
  if (s.lock->try_lock()) {
    if (at == At::inside) s.lies.fetch_add(1);
    s.granted[w].fetch_add(1);
    s.at.store(At::inside);
    s.at.store(At::between);
    s.lock->unlock();
  } else if (at == At::outside) {
    s.refused_free[w].fetch_add(1);
  } else if (at == At::inside) {
    s.refused_held[w].fetch_add(1);
  }
  s.at.store(at);
}

// A timer that sends `signo` to this thread, over and over. Under ThreadSanitizer the loop raises
// it itself: its atomics are locks of its own, which no handler may interrupt.
class Timer {
 public:
  Timer(int signo, long every_ns) {
    if (nestlock::internal::kWithTsan) return;
    sigevent event{};
    event.sigev_notify = SIGEV_THREAD_ID;
    event.sigev_signo = signo;
    event._sigev_un._tid = static_cast<pid_t>(hosted::thread_id());
    ok_ = timer_create(CLOCK_MONOTONIC, &event, &timer_) == 0;
    // Where a handler takes longer (an emulator), handlers would run and nothing else.
    timespec begin, end;
    constexpr int kSignals = 100;
    clock_gettime(CLOCK_MONOTONIC, &begin);
    for (int i = 0; i < kSignals; ++i) std::raise(signo);
    clock_gettime(CLOCK_MONOTONIC, &end);
    const long took = (end.tv_sec - begin.tv_sec) * 1'000'000'000 + end.tv_nsec - begin.tv_nsec;
    every_ns = std::clamp(4 * took / kSignals, every_ns, 100'000'000L);
    const itimerspec often{{0, every_ns}, {0, every_ns}};
    if (ok_) timer_settime(timer_, 0, &often, nullptr);
  }
  ~Timer() {
    if (ok_) timer_delete(timer_);
  }
  Timer(const Timer&) = delete;
  Timer& operator=(const Timer&) = delete;

 private:
  timer_t timer_{};
  bool ok_ = false;
};

TEST_P(Promised, TruthBothWaysInAStorm) {
  constexpr unsigned kIrq = static_cast<unsigned>(Where::hardirq),
                     kNmi = static_cast<unsigned>(Where::nmi);
  AnyLock lock(calls());
  Storm s{&lock};
  storm = &s;
  set_default(Where::hardirq, try_in_storm<Where::hardirq>);
  set_default(Where::nmi, try_in_storm<Where::nmi>);
  const auto raise_all = [] {
    if (!nestlock::internal::kWithTsan) return;
    std::raise(detail::kIrqSignal);
    std::raise(detail::kNmiSignal);
  };
  const auto enough = [&] {
    for (unsigned w : {kIrq, kNmi})
      if (s.refused_held[w] < 10 || (calls().sleeps ? s.refused_free : s.granted)[w] < 10)
        return false;
    return true;
  };
  unsigned own = 0, own_refused = 0;
  {
    const Timer irqs(detail::kIrqSignal, 41'000), nmis(detail::kNmiSignal, 53'000);
    while (!enough()) {  // however long the machine gives it no time; if for ever, a hang is seen
      for (unsigned i = 0; i < 50; ++i) {
        s.at.store(At::between);
        if (lock.try_lock()) {
          ++own;
          s.at.store(At::inside);
          raise_all();
          for (unsigned turn = 0; turn < 50; ++turn) hosted::pause();
          s.at.store(At::between);
          lock.unlock();
        } else {
          ++own_refused;
        }
        s.at.store(At::outside);
        raise_all();
        for (unsigned turn = 0; turn < 50; ++turn) hosted::pause();
      }
    }
  }
  set_default(Where::hardirq, nullptr);
  set_default(Where::nmi, nullptr);
  EXPECT_GT(own, 0u);
  EXPECT_EQ(own_refused, 0u) << "a free lock was refused";
  EXPECT_EQ(s.lies.load(), 0u) << "a held lock was granted";
  for (unsigned w : {kIrq, kNmi})
    EXPECT_EQ((calls().sleeps ? s.granted : s.refused_free)[w].load(), 0u);
}

}  // namespace
}  // namespace nestlock::test_support
