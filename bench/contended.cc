// Throughput and fairness of a lock that several threads fight for.
//
// A repetition is one round: the threads run for a fixed time, pinned round robin, each taking the
// lock, working under it, giving it back and working 100 ns without it. The row's time is that of
// one acquisition; `fairness` is the luckiest thread's count over the unluckiest one's; `passed` is
// how many sections others had at most while one waited, by a sample of the acquisitions. A round
// beside which other programs used a processor for more than RunOptions::other_load of its time is
// thrown away and done again, a few times; then the row fails.
#include <sched.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
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

// Processor time of the whole machine so far, in seconds; 0 where nothing tells.
double machine_seconds() {
  double busy[8] = {};
  std::FILE* const f = std::fopen("/proc/stat", "re");
  if (!f) return 0;
  const int n = std::fscanf(f, "cpu %lf %lf %lf %lf %lf %lf %lf %lf", &busy[0], &busy[1], &busy[2],
                            &busy[3], &busy[4], &busy[5], &busy[6], &busy[7]);
  std::fclose(f);  // user nice system IDLE IOWAIT irq softirq steal
  if (n != 8) return 0;
  return (busy[0] + busy[1] + busy[2] + busy[5] + busy[6] + busy[7]) /
         static_cast<double>(sysconf(_SC_CLK_TCK));
}
double own_seconds() {
  rusage u{};
  getrusage(RUSAGE_SELF, &u);
  const auto seconds = [](timeval t) {
    return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) / 1e6;
  };
  return seconds(u.ru_utime) + seconds(u.ru_stime);
}

struct Round {
  std::vector<std::uint64_t> acquired, passed;
  Ns time;
  double other = 0;        // processors that other programs used
  bool exclusive = false;  // the counter under the lock agrees
};

template <class Lock>
Round run_round(unsigned threads, double section_ns, std::chrono::milliseconds length) {
  static constinit std::uint64_t under_lock = 0;
  const long inside = turns_of(section_ns), outside = turns_of(kThinkNs);
  alignas(128) std::atomic<unsigned> ready{0};
  std::atomic<bool> go{false}, stop{false};
  Round round;
  round.acquired.resize(threads), round.passed.resize(threads);
  const std::atomic_ref<std::uint64_t> sections(under_lock);
  under_lock = 0;

  std::vector<std::thread> running;
  for (unsigned t = 0; t < threads; ++t) {
    running.emplace_back([&, t] {
      pin_to_nth_cpu(t);
      ready.fetch_add(1);
      while (!go.load()) sched_yield();
      std::uint64_t n = 0, passed = 0;
      for (; !stop.load(std::memory_order_relaxed); ++n) {
        const bool sampled = n % 64 == 0;  // seldom, for it fetches the counter's line
        const std::uint64_t before = sampled ? sections.load(std::memory_order_relaxed) : 0;
        the<Lock>.lock.lock();
        const std::uint64_t now = sections.load(std::memory_order_relaxed);
        if (sampled) passed = std::max(passed, now - before);
        sections.store(now + 1, std::memory_order_relaxed);
        work(inside);
        the<Lock>.lock.unlock();
        work(outside);
      }
      round.acquired[t] = n, round.passed[t] = passed;
    });
  }
  while (ready.load() != threads) sched_yield();
  const double others = machine_seconds() - own_seconds();
  const auto start = Clock::now();
  go.store(true);
  std::this_thread::sleep_for(length);
  stop.store(true);
  round.time = Clock::now() - start;
  round.other = (machine_seconds() - own_seconds() - others) / (round.time.count() / 1e9);
  for (std::thread& t : running) t.join();

  std::uint64_t sum = 0;
  for (const std::uint64_t n : round.acquired) sum += n;
  round.exclusive = sum == under_lock;
  return round;
}

constexpr int kTries = 5;

template <class Lock>
void add(const char* lock, unsigned threads, int section_ns, const RunOptions& options) {
  const std::string name = std::string(kContended) + " " + std::to_string(threads) + "T " +
                           std::to_string(section_ns) + "ns/" + lock;
  add_row(name,
          [=](benchmark::State& state) {
            for (auto _ : state) {
              Round round;
              for (int i = 0; i < kTries; ++i) {
                round = run_round<Lock>(threads, section_ns,
                                        std::chrono::milliseconds(options.round_ms));
                if (!round.exclusive || round.other <= options.other_load) break;
              }
              if (!round.exclusive) {
                state.SkipWithError("two threads were in the section at once");
                break;
              }
              if (round.other > options.other_load) {
                state.SkipWithError(kBusyMachine);
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
              state.counters["passed"] =
                  static_cast<double>(*std::max_element(round.passed.begin(), round.passed.end()));
              state.counters["other"] = round.other;
            }
          })
      ->Iterations(1)
      ->UseManualTime();
}

template <nestlock::Config kC>
using K = nestlock::KernelOf<kC, nestlock::HostedPort<kC>>;

}  // namespace

void add_contended(const RunOptions& options) {
  using namespace nestlock;
  struct Load {
    unsigned threads;
    int section_ns;
  };
  for (const auto [threads, ns] : {Load{2, 0}, Load{2, 100}, Load{3, 100}, Load{4, 100}, Load{8, 0},
                                   Load{8, 100}, Load{8, 1000}, Load{64, 100}}) {
    add<PlainMutex>("pthread_mutex", threads, ns, options);
    add<std::mutex>("std::mutex", threads, ns, options);
    add<PthreadSpin>("pthread_spin", threads, ns, options);
    add<PiMutex>("pthread_mutex PRIO_INHERIT", threads, ns, options);
    add<AbslMutex>("absl::Mutex", threads, ns, options);
    add<BasicSpinLock<K<configs::smp>>>("SpinLock smp", threads, ns, options);
    add<BasicTrySpinLock<K<configs::smp>>>("TrySpinLock smp", threads, ns, options);
    add<BasicSpinLock<K<configs::smp_rt>>>("SpinLock smp_rt", threads, ns, options);
    add<BasicTrySpinLock<K<configs::smp_rt>>>("TrySpinLock smp_rt", threads, ns, options);
  }
}

}  // namespace bench
