#include "ratio_table.h"

#include <algorithm>
#include <cstdio>
#include <fstream>
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

// What the name of a contended table says, as contended.cc made it, for a reader.
std::string title_of(const std::string& table) {
  unsigned threads = 0, ns = 0;
  int end = 0;
  if (std::sscanf(table.c_str(), "contended %uT %uns%n", &threads, &ns, &end) != 2) return table;
  return "contended: " + std::to_string(threads) + (threads == 1 ? " thread" : " threads") +
         table.substr(static_cast<std::size_t>(end)) + "; " + std::to_string(ns) +
         " ns under the lock";
}

void add_once(std::vector<std::string>& list, const std::string& what) {
  if (std::find(list.begin(), list.end(), what) == list.end()) list.push_back(what);
}

}  // namespace

void RatioTable::ReportRuns(const std::vector<Run>& runs) {
  for (const Run& run : runs) {
    if (run.run_type != Run::RT_Iteration) continue;
    const std::string& row = run.run_name.function_name;
    Samples& s = samples_[row];
    if (run.counters.find(kBusyMachine) != run.counters.end()) {
      ++s.thrown;
      continue;
    }
    if (run.error_occurred) {
      s.error = run.error_message;
      continue;
    }
    for (const auto& [name, counter] : run.counters) s.counters[name].push_back(counter.value);
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
  write_figures();
}

// Every uncontended row: its median, its spread and its ratio to the reference.
void RatioTable::print_pairs() {
  const double reference = median_of(kReference);
  bool first = true;
  for (const std::string& name : rows) {
    const Samples* s = find(name);
    if (!s || s->contended()) continue;
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
    if (!s || !s->contended()) continue;
    const Name name(full);
    if (name.table != table) {
      table = name.table;
      reference = median_of(table + "/pthread_mutex");
      out() << "\n"
            << title_of(table) << ", 100 ns outside; waits in ns:\n\n"
            << "| lock | acquisitions/s | p10..p90 | x pthread_mutex | fairness max/min, median "
               "(worst) | passed at most | wait p50 | p99 | p99.9 | max, median (worst) | CPU ns | "
               "sleeps | "
               "other load, worst |\n|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|\n";
    }
    const auto millions = [&](double q) { return fixed(1e3 / quantile(s->ns, q)); };
    const auto whole = [&](const char* counter) { return fixed(median(s->of(counter)), 0); };
    out() << "| " << name.row << " | " << millions(0.5) << " M | " << millions(0.9) << ".."
          << millions(0.1) << " M | " << (reference > 0 ? fixed(reference / median(s->ns)) : "-")
          << " | " << fixed(median(s->of("fairness"))) << " ("
          << fixed(quantile(s->of("fairness"), 1)) << ") | "
          << fixed(quantile(s->of("passed"), 1), 0) << " | " << whole("wait_p50") << " | "
          << whole("wait_p99") << " | " << whole("wait_p99.9") << " | " << whole("wait_max") << " ("
          << fixed(quantile(s->of("wait_max"), 1), 0) << ") | " << whole("cpu_ns") << " | "
          << fixed(median(s->of("sleeps")), 4) << " | " << fixed(quantile(s->of("other"), 1))
          << " |\n";
  }
}

const std::vector<double>& RatioTable::Samples::of(const char* counter) const {
  static const std::vector<double> none;
  const auto found = counters.find(counter);
  return found == counters.end() ? none : found->second;
}

void RatioTable::write_figures() const {
  if (figures_.empty()) return;
  std::ofstream file(figures_);
  file << "group,name,round,kind,value\n";
  const auto cell = [](std::string text) {
    std::replace(text.begin(), text.end(), ',', ';');
    return text;
  };
  const auto write = [&](const std::string& group, const std::string& name, const char* kind,
                         const std::vector<double>& figures) {
    for (std::size_t i = 0; i < figures.size(); ++i)
      file << group << ',' << cell(name) << ',' << i + 1 << ',' << kind << ',' << figures[i]
           << '\n';
  };
  for (const std::string& full : rows) {
    const auto found = samples_.find(full);
    if (found == samples_.end()) continue;
    const Samples& s = found->second;
    const Name name(full);
    const bool contended = name.table.rfind(kContended, 0) == 0;
    const std::string group = contended ? title_of(name.table)
                              : name.column.empty()
                                  ? "uncontended: " + name.table
                                  : "uncontended: " + name.table + " " + name.column;
    const char* const first = contended ? "million acquisitions a second" : "a pair (ns)";
    if (!s.error.empty() || s.ns.empty()) {
      file << group << ',' << cell(name.row) << ",0," << first << ','
           << (s.error.empty() ? "thrown away for other load" : s.error) << '\n';
      continue;
    }
    if (!contended) {
      write(group, name.row, first, s.ns);
      continue;
    }
    std::vector<double> rate;
    for (const double ns : s.ns) rate.push_back(1e3 / ns);
    write(group, name.row, first, rate);
    write(group, name.row, "fairness (max/min)", s.of("fairness"));
    write(group, name.row, "passed by at most", s.of("passed"));
    write(group, name.row, "wait p50 (ns)", s.of("wait_p50"));
    write(group, name.row, "wait p99 (ns)", s.of("wait_p99"));
    write(group, name.row, "wait p99.9 (ns)", s.of("wait_p99.9"));
    write(group, name.row, "wait max (ns)", s.of("wait_max"));
    write(group, name.row, "processor time (ns)", s.of("cpu_ns"));
    write(group, name.row, "sleeps an acquisition", s.of("sleeps"));
    write(group, name.row, "preemptions an acquisition", s.of("preemptions"));
  }
  file.close();
  if (!file) out() << "\nERROR: " << figures_ << " could not be written\n";
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
  std::map<std::string, std::string> absent;  // and why
  for (const auto& [full, s] : samples_) {
    if (s.error == kNotHere || s.error == kNotPackaged)
      absent[Name(full).row] = s.error;
    else if (!s.error.empty())
      out() << "\n" << full << ": ERROR: " << s.error << "\n";
  }
  for (const auto& [full, s] : samples_)
    if (s.thrown)
      out() << "\n" << full << ": " << s.thrown << " repetitions thrown away: other programs ran\n";
  for (const auto& [name, why] : absent) out() << "\n" << name << ": " << why << "\n";
}

std::ostream& RatioTable::out() const { return GetOutputStream(); }

const RatioTable::Samples* RatioTable::find(const std::string& name) const {
  const auto found = samples_.find(name);
  return found == samples_.end() || found->second.ns.empty() ? nullptr : &found->second;
}

double RatioTable::median_of(const std::string& name) const {
  const Samples* s = find(name);
  return s ? median(s->ns) : 0;
}

}  // namespace bench
