#include "ratio_table.h"

#include <algorithm>
#include <iomanip>
#include <ostream>
#include <sstream>
#include <utility>

#include "rows.h"

namespace bench {
namespace {

double quantile(std::vector<double> v, double q) {
  if (v.empty()) return 0;
  std::sort(v.begin(), v.end());
  const double at = q * static_cast<double>(v.size() - 1);
  const auto below = static_cast<std::size_t>(at);
  const auto above = std::min(below + 1, v.size() - 1);
  return v[below] + (v[above] - v[below]) * (at - static_cast<double>(below));
}
double median(const std::vector<double>& v) { return quantile(v, 0.5); }

std::string fixed(double x, int digits = 2) {
  std::ostringstream out;
  out << std::fixed << std::setprecision(digits) << x;
  return out.str();
}

// TABLE/ROW/COLUMN, of which the last may be missing.
struct Name {
  std::string table, row, column;
  explicit Name(const std::string& name) {
    std::istringstream in(name);
    std::getline(in, table, '/'), std::getline(in, row, '/'), std::getline(in, column, '/');
  }
};

void add_once(std::vector<std::string>& list, const std::string& what) {
  if (std::find(list.begin(), list.end(), what) == list.end()) list.push_back(what);
}

}  // namespace

void RatioTable::ReportRuns(const std::vector<Run>& runs) {
  for (const Run& run : runs) {
    if (run.run_type != Run::RT_Iteration) continue;
    const std::string& row = run.run_name.function_name;
    Samples& s = samples_[row];
    if (run.error_occurred && run.error_message == kBusyMachine) {
      ++s.thrown;
      continue;
    }
    if (run.error_occurred) {
      s.error = run.error_message;
      continue;
    }
    const auto keep = [&run](const char* name, std::vector<double>& in) {
      const auto found = run.counters.find(name);
      if (found != run.counters.end()) in.push_back(found->second.value);
    };
    keep("fairness", s.fairness), keep("passed", s.passed), keep("other", s.other);
    // CPU time is not disturbed by who else runs here; several threads measure their own.
    s.ns.push_back(run.run_name.time_type.empty() ? run.GetAdjustedCPUTime()
                                                  : run.GetAdjustedRealTime());
  }
}

void RatioTable::Finalize() {
  print_pairs();
  std::vector<std::string> tables;
  for (const std::string& full : rows)
    if (const Name name(full); !name.column.empty()) add_once(tables, name.table);
  for (const std::string& table : tables) print_grid(table);
  print_contended();
  print_goals();
  print_errors();
}

// Every uncontended row: its median, its spread and its ratio to the reference.
void RatioTable::print_pairs() {
  const double reference = median_of(kReference);
  bool first = true;
  for (const std::string& name : rows) {
    const Samples* s = find(name);
    if (!s || !s->fairness.empty()) continue;
    if (std::exchange(first, false))
      out() << "\nTaking and giving back, uncontended, one thread:\n"
               "median of the repetitions, and its ratio to the xchg pair's\n\n"
               "| row | ns | p10..p90 | x xchg pair |\n|---|--:|--:|--:|\n";
    out() << "| " << name << " | " << fixed(median(s->ns)) << " | " << fixed(quantile(s->ns, 0.1))
          << ".." << fixed(quantile(s->ns, 0.9)) << " | "
          << (reference > 0 ? fixed(median(s->ns) / reference) : "-") << " |\n";
  }
}

// The same ratios once more of the rows that have columns: configurations, or loads.
void RatioTable::print_grid(const std::string& table) {
  const double reference = median_of(kReference);
  std::vector<std::string> names, columns;
  for (const std::string& full : rows) {
    const Name name(full);
    if (name.table != table || samples_.find(full) == samples_.end()) continue;
    add_once(names, name.row);
    add_once(columns, name.column);
  }
  if (names.empty() || reference <= 0) return;

  out() << "\nRatios to the xchg pair:\n\n| " << table << " |";
  for (const std::string& c : columns) out() << " " << c << " |";
  out() << "\n|---|";
  for (std::size_t i = 0; i < columns.size(); ++i) out() << "--:|";
  out() << "\n";
  for (const std::string& row : names) {
    out() << "| " << row << " |";
    for (const std::string& c : columns) {
      const double ns = median_of(table + "/" + row + "/" + c);
      out() << " " << (ns > 0 ? fixed(ns / reference) : "-") << " |";
    }
    out() << "\n";
  }
}

void RatioTable::print_contended() {
  std::string table;
  double reference = 0;
  for (const std::string& full : rows) {
    const Samples* s = find(full);
    if (!s || s->fairness.empty()) continue;
    const Name name(full);
    if (name.table != table) {
      table = name.table;
      reference = median_of(table + "/pthread_mutex");
      out() << "\n"
            << table << " under the lock, 100 ns outside:\n\n"
            << "| lock | acquisitions/s | p10..p90 | x pthread_mutex | fairness max/min, median "
               "(worst) | passed at most | other load, worst |\n|---|--:|--:|--:|--:|--:|--:|\n";
    }
    const auto millions = [&](double q) { return fixed(1e3 / quantile(s->ns, q)); };
    out() << "| " << name.row << " | " << millions(0.5) << " M | " << millions(0.9) << ".."
          << millions(0.1) << " M | " << (reference > 0 ? fixed(reference / median(s->ns)) : "-")
          << " | " << fixed(median(s->fairness)) << " (" << fixed(quantile(s->fairness, 1))
          << ") | " << fixed(quantile(s->passed, 1), 0) << " | " << fixed(quantile(s->other, 1))
          << " |\n";
  }
}

void RatioTable::print_goals() {
  bool first = true;
  for (const Goal& goal : goals_) {
    const double reference = median_of(goal.of);
    if (!find(goal.row) || reference <= 0) continue;
    if (std::exchange(first, false)) out() << "\nGoals:\n\n";
    const double ratio = median_of(goal.row) / reference;
    out() << goal.row << ": " << fixed(ratio, 3) << " of " << goal.of << ", at most "
          << fixed(goal.at_most) << ": "
          << (ratio <= goal.at_most ? "reached" : "missed by " + fixed(ratio - goal.at_most, 3));
    if (goal.limit && find(goal.limit))
      out() << "; " << goal.limit << " is " << fixed(median_of(goal.limit) / reference, 3)
            << " here";
    out() << "\n";
  }
}

void RatioTable::print_errors() {
  std::vector<std::string> absent;
  for (const auto& [full, s] : samples_) {
    if (s.error == kNotHere)
      add_once(absent, Name(full).row);
    else if (!s.error.empty())
      out() << "\n" << full << ": ERROR: " << s.error << "\n";
  }
  for (const auto& [full, s] : samples_)
    if (s.thrown)
      out() << "\n" << full << ": " << s.thrown << " repetitions thrown away: other programs ran\n";
  for (const std::string& name : absent) out() << "\n" << name << ": " << kNotHere << "\n";
}

std::ostream& RatioTable::out() { return GetOutputStream(); }

const RatioTable::Samples* RatioTable::find(const std::string& name) const {
  const auto found = samples_.find(name);
  return found == samples_.end() || found->second.ns.empty() ? nullptr : &found->second;
}

double RatioTable::median_of(const std::string& name) const {
  const Samples* s = find(name);
  return s ? median(s->ns) : 0;
}

}  // namespace bench
