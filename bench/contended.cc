// Throughput and fairness of a lock that several threads fight for.
//
// A repetition is one round: the threads run for a fixed time, pinned round robin, each taking the
// lock, working under it, giving it back and working 100 ns without it. The row's time is that of
// one acquisition; `fairness` is the luckiest thread's count over the unluckiest one's.
#include <sched.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <thread>
#include <vector>

#include "cpus.h"
#include "nestlock/nestlock.h"
#include "peers.h"
#include "rows.h"

namespace bench {
namespace {

using Clock = std::chrono::steady_clock;
using Ns = std::chrono::duration<double, std::nano>;

void work(long turns) {
  for (long i = 0; i < turns; ++i) asm volatile("" : "+r"(i));
}

long turns_of(double ns) {
  static const double per_ns = [] {
    constexpr long kTurns = 200'000;
    Ns best = std::chrono::hours(1);
    for (int i = 0; i < 20; ++i) {
      const auto start = Clock::now();
      work(kTurns);
      best = std::min<Ns>(best, Clock::now() - start);
    }
    return kTurns / best.count();
  }();
  return static_cast<long>(ns * per_ns);
}

constexpr double kThinkNs = 100;

struct Round {
  std::vector<std::uint64_t> acquired;
  Ns time;
  bool exclusive;  // the counter under the lock agrees
};

template <class Lock>
Round run_round(unsigned threads, double section_ns, std::chrono::milliseconds length) {
  static constinit std::uint64_t under_lock = 0;
  const long inside = turns_of(section_ns), outside = turns_of(kThinkNs);
  alignas(128) std::atomic<unsigned> ready{0};
  std::atomic<bool> go{false}, stop{false};
  Round round{std::vector<std::uint64_t>(threads), {}, false};
  under_lock = 0;

  std::vector<std::thread> running;
  for (unsigned t = 0; t < threads; ++t) {
    running.emplace_back([&, t] {
      pin_to_nth_cpu(t);
      ready.fetch_add(1);
      while (!go.load()) sched_yield();
      std::uint64_t n = 0;
      for (; !stop.load(std::memory_order_relaxed); ++n) {
        the<Lock>.lock.lock();
        ++under_lock;
        work(inside);
        the<Lock>.lock.unlock();
        work(outside);
      }
      round.acquired[t] = n;
    });
  }
  while (ready.load() != threads) sched_yield();
  const auto start = Clock::now();
  go.store(true);
  std::this_thread::sleep_for(length);
  stop.store(true);
  round.time = Clock::now() - start;
  for (std::thread& t : running) t.join();

  std::uint64_t sum = 0;
  for (const std::uint64_t n : round.acquired) sum += n;
  round.exclusive = sum == under_lock;
  return round;
}

template <class Lock>
void add(const char* lock, unsigned threads, int section_ns, int round_ms) {
  const std::string name = std::string(kContended) + " " + std::to_string(threads) + "T " +
                           std::to_string(section_ns) + "ns/" + lock;
  add_row(name,
          [=](benchmark::State& state) {
            for (auto _ : state) {
              const Round round =
                  run_round<Lock>(threads, section_ns, std::chrono::milliseconds(round_ms));
              if (!round.exclusive) {
                state.SkipWithError("two threads were in the section at once");
                break;
              }
              std::uint64_t sum = 0;
              for (const std::uint64_t n : round.acquired) sum += n;
              const auto [least, most] =
                  std::minmax_element(round.acquired.begin(), round.acquired.end());
              state.SetIterationTime(round.time.count() / 1e9 /
                                     static_cast<double>(std::max(sum, 1ul)));
              state.counters["fairness"] =
                  static_cast<double>(*most) / static_cast<double>(std::max(*least, 1ul));
            }
          })
      ->Iterations(1)
      ->UseManualTime();
}

template <nestlock::Config kC>
using K = nestlock::KernelOf<kC, nestlock::HostedPort<kC>>;

}  // namespace

void add_contended(int round_ms) {
  using namespace nestlock;
  for (const unsigned threads : {2u, 8u}) {
    for (const int ns : {0, 100}) {
      add<PlainMutex>("pthread_mutex", threads, ns, round_ms);
      add<std::mutex>("std::mutex", threads, ns, round_ms);
      add<PthreadSpin>("pthread_spin", threads, ns, round_ms);
      add<PiMutex>("pthread_mutex PRIO_INHERIT", threads, ns, round_ms);
      add<AbslMutex>("absl::Mutex", threads, ns, round_ms);
      add<BasicSpinLock<K<configs::smp>>>("SpinLock smp", threads, ns, round_ms);
      add<BasicTrySpinLock<K<configs::smp>>>("TrySpinLock smp", threads, ns, round_ms);
      add<BasicSpinLock<K<configs::smp_rt>>>("SpinLock smp_rt", threads, ns, round_ms);
      add<BasicTrySpinLock<K<configs::smp_rt>>>("TrySpinLock smp_rt", threads, ns, round_ms);
    }
  }
}

}  // namespace bench
