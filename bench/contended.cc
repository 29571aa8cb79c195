// Throughput and fairness of a lock that several threads fight for.
//
// A repetition is one round: the threads run for a fixed time, pinned round robin, each taking the
// lock, working under it, giving it back and working 100 ns without it. The row's time is that of
// one acquisition; `fairness` is the luckiest thread's count over the unluckiest one's. Of every 16th
// acquisition: how long it took (with the clock's own 20 to 30 ns), and `passed`, how many sections others
// had meanwhile. Of all together: processor time, and how often a thread slept or was preempted, for each
// acquisition. A round beside which other programs used a processor for more than RunOptions::other_load
// of its time is thrown away and done again, a few times; then the row fails.
#include <sched.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <string>
#include <thread>
#include <vector>

#include "cpus.h"
#include "nestlock/nestlock.h"
#include "nestlock/pi_mutex.h"
#include "nestlock/resilient_spinlock.h"
#include "peers.h"
#include "rows.h"

namespace bench {
namespace {

using Clock = std::chrono::steady_clock;
using Ns = std::chrono::duration<double, std::nano>;

// One copy for all rows, at the start of a line: inlined, the loop's place in the code made a row's 100 ns
// up to 80 ns longer than another's.
[[gnu::noinline, gnu::aligned(64)]] void work(long turns) {
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

struct Load {
  unsigned threads;
  int section_ns;
  bool one_cpu = false;  // all threads share one processor
};

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
std::string name_of(const Load& load) {
  return std::string(kContended) + " " + std::to_string(load.threads) + "T " +
         std::to_string(load.section_ns) + "ns" + (load.one_cpu ? " on one CPU" : "");
}

struct Own {
  double seconds, sleeps, preemptions;
};
Own own_so_far() {
  rusage u{};
  getrusage(RUSAGE_SELF, &u);
  const auto seconds = [](timeval t) {
    return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) / 1e6;
  };
  return {seconds(u.ru_utime) + seconds(u.ru_stime), static_cast<double>(u.ru_nvcsw),
          static_cast<double>(u.ru_nivcsw)};
}

struct Round {
  std::vector<std::uint64_t> acquired, passed;
  std::vector<float> waits;  // ns
  Own own{};                 // of the round
  Ns time;
  double other = 0;        // processors that other programs used
  bool exclusive = false;  // the counter under the lock agrees
};

template <class Lock>
Round run_round(const Load& load, std::chrono::milliseconds length) {
  const unsigned threads = load.threads;
  static constinit std::uint64_t under_lock = 0;
  const long inside = turns_of(load.section_ns), outside = turns_of(kThinkNs);
  alignas(128) std::atomic<unsigned> ready{0};
  std::atomic<bool> go{false}, stop{false};
  Round round;
  round.acquired.resize(threads), round.passed.resize(threads);
  std::vector<std::vector<float>> waits(threads);
  const std::atomic_ref<std::uint64_t> sections(under_lock);
  under_lock = 0;

  std::vector<std::thread> running;
  for (unsigned t = 0; t < threads; ++t) {
    running.emplace_back([&, t] {
      pin_to_nth_cpu(load.one_cpu ? 0 : t);
      waits[t].reserve(1 << 20);
      ready.fetch_add(1);
      while (!go.load()) sched_yield();
      std::uint64_t n = 0, passed = 0;
      for (; !stop.load(std::memory_order_relaxed); ++n) {
        const bool sampled = n % 16 == 0;  // seldom, for it fetches the counter's line
        const std::uint64_t before = sampled ? sections.load(std::memory_order_relaxed) : 0;
        const Clock::time_point asked = sampled ? Clock::now() : Clock::time_point();
        the<Lock>.lock.lock();
        const std::uint64_t now = sections.load(std::memory_order_relaxed);
        if (sampled) {
          passed = std::max(passed, now - before);
          if (waits[t].size() < waits[t].capacity())
            waits[t].push_back(static_cast<float>(Ns(Clock::now() - asked).count()));
        }
        sections.store(now + 1, std::memory_order_relaxed);
        work(inside);
        the<Lock>.lock.unlock();
        work(outside);
      }
      round.acquired[t] = n, round.passed[t] = passed;
    });
  }
  while (ready.load() != threads) sched_yield();
  const Own own = own_so_far();
  const double others = machine_seconds() - own.seconds;
  const auto start = Clock::now();
  go.store(true);
  std::this_thread::sleep_for(length);
  stop.store(true);
  round.time = Clock::now() - start;
  const Own now = own_so_far();
  round.other = (machine_seconds() - now.seconds - others) / (round.time.count() / 1e9);
  round.own = {now.seconds - own.seconds, now.sleeps - own.sleeps,
               now.preemptions - own.preemptions};
  for (std::thread& t : running) t.join();
  for (const auto& w : waits) round.waits.insert(round.waits.end(), w.begin(), w.end());

  std::uint64_t sum = 0;
  for (const std::uint64_t n : round.acquired) sum += n;
  round.exclusive = sum == under_lock;
  return round;
}

// Of the waits, which it reorders.
double quantile(std::vector<float>& v, double q) {
  if (v.empty()) return 0;
  const auto at = v.begin() + static_cast<std::ptrdiff_t>(q * static_cast<double>(v.size() - 1));
  std::nth_element(v.begin(), at, v.end());
  return static_cast<double>(*at);
}

constexpr int kTries = 5, kRepetitions = 7;

template <class Lock>
void add(const char* lock, const Load& load, const RunOptions& options) {
  const std::string name = name_of(load) + "/" + lock;
  add_row(name,
          [=](benchmark::State& state) {
            for (auto _ : state) {
              Round round;
              for (int i = 0; i < kTries; ++i) {
                round = run_round<Lock>(load, std::chrono::milliseconds(options.round_ms));
                if (!round.exclusive || round.other <= options.other_load) break;
              }
              if (!round.exclusive) {
                state.SkipWithError("two threads were in the section at once");
                break;
              }
              if (round.other > options.other_load) {
                // Not SkipWithError(): Google Benchmark reads what a first repetition that failed has not.
                state.counters[kBusyMachine] = 1;
                state.SetIterationTime(1);
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
              const double each = 1 / static_cast<double>(std::max(sum, 1ul));
              state.counters["cpu_ns"] = round.own.seconds * 1e9 * each;
              state.counters["sleeps"] = round.own.sleeps * each;
              state.counters["preemptions"] = round.own.preemptions * each;
              state.counters["wait_p50"] = quantile(round.waits, 0.5);
              state.counters["wait_p99"] = quantile(round.waits, 0.99);
              state.counters["wait_p99.9"] = quantile(round.waits, 0.999);
              state.counters["wait_max"] = quantile(round.waits, 1);
            }
          })
      ->Iterations(1)
      ->Repetitions(kRepetitions)
      ->UseManualTime();
}

template <nestlock::Config kC>
using K = nestlock::KernelOf<kC, nestlock::HostedPort<kC>>;

template <class Kernel>
struct Resilient {
  nestlock::BasicResilientSpinLock<Kernel> inner;
  void lock() {
    if (!inner.lock(std::chrono::minutes(1))) refused();
  }
  void unlock() { inner.unlock(); }
};

// Spinning FIFO locks wait for threads that do not run: with more threads than processors a round would
// not end in time.
void add_concurrency_kit(const Load& load, [[maybe_unused]] const RunOptions& options) {
#if NESTLOCK_BENCH_CK
  add<CkFas>("ck fas", load, options);
  if (load.threads > 2 || load.one_cpu) return;
  add<CkTicket>("ck ticket", load, options);
  add<CkMcs>("ck mcs", load, options);
  add<CkClh>("ck clh", load, options);
#else
  for (const char* const lock : {"ck fas", "ck ticket", "ck mcs", "ck clh"})
    add_absent(name_of(load) + "/" + lock);
#endif
}

}  // namespace

void add_contended(const RunOptions& options) {
  using namespace nestlock;
  constexpr Load kLoads[] = {
      {1, 100},  {2, 0},     {2, 100},     {2, 1000},      {3, 0},         {3, 100},  {3, 1000},
      {4, 0},    {4, 100},   {4, 1000},    {8, 0},         {8, 100},       {8, 1000}, {64, 0},
      {64, 100}, {64, 1000}, {2, 0, true}, {2, 100, true}, {8, 100, true},
  };
  for (const Load& load : kLoads) {
    add<PlainMutex>("pthread_mutex", load, options);
    add<AdaptiveMutex>("pthread_mutex ADAPTIVE", load, options);
    add<PiMutex>("pthread_mutex PRIO_INHERIT", load, options);
    add<std::mutex>("std::mutex", load, options);
    add<PthreadSpin>("pthread_spin", load, options);
    add<AbslMutex>("absl::Mutex", load, options);
    add<AbslSpin>("absl SpinLock", load, options);
    add_concurrency_kit(load, options);
#if NESTLOCK_BENCH_USERS_PEER
    add<UsersPeer<ComparedLock>>(users_peer_name().c_str(), load, options);
#endif
    add<BasicSpinLock<K<configs::smp>>>("SpinLock smp", load, options);
    add<BasicTrySpinLock<K<configs::smp>>>("TrySpinLock smp", load, options);
    add<Resilient<K<configs::smp>>>("ResilientSpinLock smp", load, options);
    add<BasicSpinLock<K<configs::smp_rt>>>("SpinLock smp_rt", load, options);
    add<BasicTrySpinLock<K<configs::smp_rt>>>("TrySpinLock smp_rt", load, options);
    add<nestlock::PiMutex>("PiMutex", load, options);
  }
}

}  // namespace bench
