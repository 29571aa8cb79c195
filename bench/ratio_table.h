// The reporter: collects every repetition and prints tables of medians and ratios at the end.
#pragma once

#include <benchmark/benchmark.h>

#include <iosfwd>
#include <map>
#include <string>
#include <vector>

namespace bench {

// A goal is printed with what was measured. It is never asserted: the figure is the machine's. How
// far it can be reached at all shows the limit: the same loads and stores without a lock around.
struct Goal {
  const char* row;  // its full name
  double at_most;   // of ...
  const char* limit = nullptr;
  const char* of = "limit/xchg+store";  // ... this row
};

class RatioTable : public benchmark::BenchmarkReporter {
 public:
  // `figures`: a file for every single figure, in the form that tools/driver/report_page.awk reads; empty: none.
  explicit RatioTable(std::vector<Goal> goals, std::string figures = {})
      : goals_(std::move(goals)), figures_(std::move(figures)) {}

  bool ReportContext(const Context&) override { return true; }
  void ReportRuns(const std::vector<Run>& runs) override;
  void Finalize() override;

 private:
  struct Samples {
    std::vector<double> ns;
    std::map<std::string, std::vector<double>> counters;  // of rows with several threads
    std::string error;                                    // or why it is not here
    unsigned thrown = 0;  // repetitions, for the load of other programs

    const std::vector<double>& of(const char* counter) const;
    bool contended() const { return counters.count("fairness") != 0; }
  };

  void print_pairs();
  void print_grid(const std::string& table);
  void print_contended();
  void print_goals();
  void print_errors();
  void write_figures() const;
  std::ostream& out() const;
  const Samples* find(const std::string& name) const;  // null if it was not run
  double median_of(const std::string& name) const;     // 0 if it was not run

  std::vector<Goal> goals_;
  std::string figures_;
  std::map<std::string, Samples> samples_;
};

}  // namespace bench
