// The rows of the benchmark: how one is named, timed and shown.
//
// A row's name is TABLE/ROW or TABLE/ROW/COLUMN, and the tables at the end are made from the names:
//
//   limit/xchg+store                      what no lock can beat
//   nestlock/TrySpinLock try_lock/up      a column for each configuration
//   peer/std::mutex lock
//   malloc/jemalloc/pair 64
//   contended 8T 100ns/std::mutex         made by contended.cc
#pragma once

#include <benchmark/benchmark.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "run.h"

namespace bench {

inline constexpr const char* kLimit = "limit";
inline constexpr const char* kNestlock = "nestlock";
inline constexpr const char* kPeer = "peer";
inline constexpr const char* kContended = "contended";
// A row whose peer is not installed, and the same of one that no package has.
inline constexpr const char* kNotHere = "not here; ./nest setup --peers installs it";
inline constexpr const char* kNotPackaged = "not here, and no package of Debian has it";
inline constexpr const char* kBusyMachine = "other programs were running: thrown away";
inline constexpr const char* kReference = "limit/xchg+store";  // every ratio's denominator

// The rows' names in the order of the tables; the order of running is random.
inline std::vector<std::string> rows;

template <class Body>
benchmark::internal::Benchmark* add_row(const std::string& name, Body body) {
  if (std::find(rows.begin(), rows.end(), name) != rows.end()) {
    std::fprintf(stderr, "two rows are called '%s': give your peer another kName\n", name.c_str());
    std::exit(2);
  }
  rows.push_back(name);
  return benchmark::RegisterBenchmark(name.c_str(), body);
}

// The empty section under a lock: the compiler may move nothing over it. (Not Google Benchmark's
// ClobberMemory(), which is a fence in some versions, and then an empty loop vanishes.)
inline void section() { asm volatile("" ::: "memory"); }

// Adds a row that times `pair`, an empty lambda that takes something and gives it back, with a
// section() in between.
template <class Pair>
void add_pair(const std::string& name, Pair pair) {
  add_row(name, [pair](benchmark::State& state) {
    for (auto _ : state) {
      pair();
      section();
    }
  });
}

// A row of a peer that is not installed: shown, and no failure.
inline void add_absent(const std::string& name, const char* why = kNotHere) {
  add_row(name, [why](benchmark::State& state) {
    state.SkipWithError(why);
    for (auto _ : state) {
    }
  });
}

// A try_lock() must succeed here, or the row means nothing.
[[noreturn, gnu::cold, gnu::noinline]] inline void refused() { std::abort(); }

// The files' parts of the list.
void add_limits();
void add_nestlock();
void add_peers();
void add_contended(const RunOptions& options);
void add_slab(const RunOptions& options);
void add_pages(const RunOptions& options);
void add_drains(const RunOptions& options);

}  // namespace bench
