// Nestlock's locks beside their peers and beside what no lock can beat, in one run.
//
// The rows are repeated in random order and compared by the ratios of their medians: absolute
// times drift with the machine, ratios within a run do not.
#include <benchmark/benchmark.h>
#include <gnu/libc-version.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <iostream>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "absl/base/config.h"
#include "absl/synchronization/mutex.h"
#include "cpus.h"
#include "ratio_table.h"
#include "rows.h"

namespace bench {
namespace {

#ifdef __clang__
constexpr const char* kCompiler = __VERSION__;
#else
constexpr const char* kCompiler = "GCC " __VERSION__;
#endif

constexpr const char* kUsage =
    R"(usage: lock_bench [--parked_thread=false] [--round_ms=N] [--json] [GOOGLE BENCHMARK'S FLAGS]

  --parked_thread=false  time in a process of one thread, where glibc's mutexes leave out their
                         locked instructions; without the contended rows
  --round_ms=N           length of a contended round, default 200
  --json                 the same as --benchmark_format=json: all repetitions, no tables

Useful: --benchmark_filter=REGEX --benchmark_repetitions=N --benchmark_list_tests
        --benchmark_out=FILE (JSON, besides the tables)
)";

struct Options {
  bool parked_thread = true;
  bool tables = true;
  int round_ms = 200;
  std::vector<std::string> rest;  // Google Benchmark's
};

bool starts_with(std::string_view text, std::string_view start, std::string_view& rest) {
  if (text.substr(0, start.size()) != start) return false;
  rest = text.substr(start.size());
  return true;
}

Options parse(int argc, char** argv) {
  // Defaults; a later flag of the same name wins.
  Options o{.rest = {argv[0], "--benchmark_enable_random_interleaving=true",
                     "--benchmark_repetitions=21", "--benchmark_min_time=0.005"}};
  for (int i = 1; i < argc; ++i) {
    std::string_view value;
    if (starts_with(argv[i], "--parked_thread=", value)) {
      o.parked_thread = value != "false" && value != "0";
    } else if (starts_with(argv[i], "--round_ms=", value)) {
      o.round_ms = std::max(1, std::atoi(value.data()));
    } else if (std::string_view(argv[i]) == "--json") {
      o.rest.emplace_back("--benchmark_format=json");
      o.tables = false;
    } else if (std::string_view(argv[i]) == "--help") {
      std::cout << kUsage;
      std::exit(0);
    } else {
      if (starts_with(argv[i], "--benchmark_format=", value)) o.tables = value == "console";
      o.rest.emplace_back(argv[i]);
    }
  }
  return o;
}

void print_context(const Options& o) {
  std::cout << "compiler " << kCompiler << ", glibc " << gnu_get_libc_version() << ", Abseil "
#ifdef ABSL_LTS_RELEASE_VERSION
            << ABSL_LTS_RELEASE_VERSION << "." << ABSL_LTS_RELEASE_PATCH_LEVEL
#else
            << "(no release)"
#endif
            << ", " << CPU_COUNT(&allowed_cpus) << " CPUs\n"
            << "absl::Mutex: deadlock detection off (kIgnore)\n"
            << (o.parked_thread ? "a second, parked thread exists\n"
                                : "a process of one thread: glibc leaves out its locking\n");
#ifndef __OPTIMIZE__
  std::cout << "NOT OPTIMISED: these figures mean nothing\n";
#endif
}

int run(int argc, char** argv) {
  Options o = parse(argc, argv);
  // Also without NDEBUG, when its default is to check for deadlocks.
  absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore);

  add_limits();
  add_nestlock();
  add_peers();
  if (o.parked_thread) add_contended(o.round_ms);

  std::vector<char*> args;
  for (std::string& a : o.rest) args.push_back(a.data());
  int count = static_cast<int>(args.size());
  benchmark::Initialize(&count, args.data());
  if (benchmark::ReportUnrecognizedArguments(count, args.data())) return 2;

  pin_to_nth_cpu(static_cast<unsigned>(CPU_COUNT(&allowed_cpus)) - 1);
  if (o.parked_thread)
    std::thread([] {
      for (;;) pause();
    }).detach();

  if (!o.tables) {
    benchmark::RunSpecifiedBenchmarks();
    return 0;
  }
  print_context(o);
  RatioTable tables({
      {"nestlock/irq_save+irq_restore/up", 0.10, "limit/load+2 stores"},
      {"nestlock/irq_save+irq_restore/smp", 0.10, "limit/load+2 stores"},
      {"nestlock/TrySpinLock try_lock/up", 0.15, "limit/count, load+2 stores"},
  });
  benchmark::RunSpecifiedBenchmarks(&tables);
  return 0;
}

}  // namespace
}  // namespace bench

int main(int argc, char** argv) { return bench::run(argc, argv); }
