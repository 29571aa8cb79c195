// The rows are repeated in random order and compared by the ratios of their medians: absolute
// times drift with the machine, ratios within a run do not.
#include "run.h"

#include <benchmark/benchmark.h>
#include <gnu/libc-version.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <iostream>
#include <string_view>
#include <thread>

#include "cpus.h"
#include "rows.h"

namespace bench {
namespace {

#ifdef __clang__
constexpr const char* kCompiler = __VERSION__;
#else
constexpr const char* kCompiler = "GCC " __VERSION__;
#endif

constexpr const char* kUsage =
    R"([--parked_thread=false] [--round_ms=N] [--json] [GOOGLE BENCHMARK'S FLAGS]

  --parked_thread=false  time in a process of one thread, where glibc leaves out its locked
                         instructions; without the rows of several threads
  --round_ms=N           length of a round of several threads, default 200
  --other_load=X         such a round is thrown away if other programs used more than X processors
                         meanwhile, default 0.1
  --figures=FILE         every single figure as a line of CSV, besides the tables
  --json                 the same as --benchmark_format=json: all repetitions, no tables

Useful: --benchmark_filter=REGEX --benchmark_repetitions=N --benchmark_list_tests
        --benchmark_out=FILE (JSON, besides the tables)
)";

struct Options : RunOptions {
  bool tables = true;
  std::string figures;
  std::vector<std::string> rest;  // Google Benchmark's
};

bool starts_with(std::string_view text, std::string_view start, std::string_view& rest) {
  if (text.substr(0, start.size()) != start) return false;
  rest = text.substr(start.size());
  return true;
}

Options parse(int argc, char** argv) {
  // Defaults; a later flag of the same name wins.
  Options o;
  o.rest = {argv[0], "--benchmark_enable_random_interleaving=true", "--benchmark_repetitions=21",
            "--benchmark_min_time=0.005"};
  for (int i = 1; i < argc; ++i) {
    std::string_view value;
    if (starts_with(argv[i], "--parked_thread=", value)) {
      o.parked_thread = value != "false" && value != "0";
    } else if (starts_with(argv[i], "--round_ms=", value)) {
      o.round_ms = std::max(1, std::atoi(value.data()));
    } else if (starts_with(argv[i], "--other_load=", value)) {
      o.other_load = std::atof(value.data());
    } else if (starts_with(argv[i], "--figures=", value)) {
      o.figures = value;
    } else if (std::string_view(argv[i]) == "--json") {
      o.rest.emplace_back("--benchmark_format=json");
      o.tables = false;
    } else if (std::string_view(argv[i]) == "--help") {
      const std::string_view path = argv[0];
      std::cout << "usage: " << path.substr(path.rfind('/') + 1) << " " << kUsage;
      std::exit(0);
    } else {
      if (starts_with(argv[i], "--benchmark_format=", value)) o.tables = value == "console";
      o.rest.emplace_back(argv[i]);
    }
  }
  return o;
}

void print_context(const Options& o, const std::string& more) {
  std::cout << "compiler " << kCompiler << ", glibc " << gnu_get_libc_version() << ", "
            << CPU_COUNT(&allowed_cpus) << " CPUs\n"
            << more << "\n"
            << (o.parked_thread ? "a second, parked thread exists\n"
                                : "a process of one thread: glibc leaves out its locking\n");
#ifndef __OPTIMIZE__
  std::cout << "NOT OPTIMISED: these figures mean nothing\n";
#endif
}

}  // namespace

int run(int argc, char** argv, const Program& program) {
  Options o = parse(argc, argv);
  program.add_rows(o);

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
  print_context(o, program.context);
  RatioTable tables(program.goals, o.figures);
  benchmark::RunSpecifiedBenchmarks(&tables);
  return 0;
}

}  // namespace bench
