// The table of nested_try: configurations of a lock that answer alike in one row.
#include <algorithm>

#include "nested_try.h"

namespace nestlock::demo {
namespace {

constexpr std::size_t kWidest = 20;  // of the locks' names and a little more

struct Row {
  LockType type;
  std::vector<const Subject*> subjects;
  Entry entry[std::size(kColumns)];
};

std::string in_context(const Entry& e, const std::string& word) {
  return e.promise.allowed ? word : "(" + word + ")";
}
std::string held_word(const Entry& e) {
  const Answers& a = e.asked.held;
  if (a.granted != 0) return in_context(e, a.granted == a.asked ? "TAKEN" : "MIXED");
  return in_context(e, e.promise.reports_held ? "no!" : "no");
}
std::string free_word(const Entry& e) {
  const Answers& a = e.asked.free;
  return in_context(e, a.granted == 0 ? "no" : a.granted == a.asked ? "yes" : "MIXED");
}

bool alike(const Row& a, const Row& b) {
  return a.type == b.type && std::equal(std::begin(a.entry), std::end(a.entry), b.entry,
                                        [](const Entry& x, const Entry& y) {
                                          return held_word(x) == held_word(y) &&
                                                 free_word(x) == free_word(y) && x.ok == y.ok;
                                        });
}

void merge(Row& into, const Row& more) {
  into.subjects.insert(into.subjects.end(), more.subjects.begin(), more.subjects.end());
  for (std::size_t i = 0; i < std::size(kColumns); ++i) {
    into.entry[i].asked.held.add(more.entry[i].asked.held);
    into.entry[i].asked.free.add(more.entry[i].asked.free);
  }
}

// Of builds without debug; with debug only where there is nothing else in the row.
std::string bytes_of(const Row& row) {
  const bool release = std::any_of(row.subjects.begin(), row.subjects.end(),
                                   [](const Subject* s) { return !s->config.debug; });
  std::size_t low = ~std::size_t{0}, high = 0;
  for (const Subject* s : row.subjects) {
    if (release && s->config.debug) continue;
    low = std::min(low, s->bytes), high = std::max(high, s->bytes);
  }
  std::string text = low == high ? "" : std::to_string(low) + "-";
  return text + std::to_string(high);
}

const char* remark(LockType t) {
  constexpr const char* kRemarks[] = {
      "no promise; on one CPU it has no state: the historic bug",
      "no promise; the same bug, and on _rt it sleeps",
      "promises the truth: on one CPU by one byte and no atomic instruction",
      "promises the truth: on one CPU by one 4-byte word for all locks of a class",
      "has no try_lock(): it does not compile",
      "promises the truth: per-CPU, by one byte"};
  return kRemarks[static_cast<unsigned>(t)];
}

Ink ink_of(const Row& row, const Entry& e) {
  if (!e.ok || e.promise.blind()) return Ink::red;
  return contexts::promised(row.type) ? Ink::green : Ink::plain;
}

// "no 34/34": at how many instructions that was the answer.
std::string at(const std::string& word, const Answers& a) {
  return word + " " + std::to_string(a.granted ? a.granted : a.asked) + "/" +
         std::to_string(a.asked);
}

void print_row(Table& t, const Row& row) {
  std::vector<Config> configs(row.subjects.size());
  std::transform(row.subjects.begin(), row.subjects.end(), configs.begin(),
                 [](const Subject* s) { return s->config; });
  std::vector<Text> cells{{"  " + names_of(configs)}, {bytes_of(row), Ink::plain, true}};
  for (std::size_t i = 0; i < kProbe; ++i) {
    const Entry& e = row.entry[i];
    cells.push_back({held_word(e), ink_of(row, e)});
    cells.push_back({free_word(e), e.ok ? Ink::plain : Ink::red});
  }
  const Entry& e = row.entry[kProbe];
  if (why_no_probes()) {
    cells.push_back({"not supported", Ink::dim});
  } else {
    cells.push_back({at(held_word(e), e.asked.held), ink_of(row, e)});
    cells.push_back({at(free_word(e), e.asked.free), e.ok ? Ink::plain : Ink::red});
  }
  t.row(std::move(cells));
}

Table print(const std::vector<Row>& rows) {
  Table t(kWidest);
  t.line({{},
          {},
          {"softirq", Ink::bold},
          {},
          {"irq", Ink::bold},
          {},
          {"NMI", Ink::bold},
          {},
          {"probe at each instruction", Ink::bold}});
  t.row({{"lock"},
         {"bytes", Ink::plain, true},
         {"HELD"},
         {"free"},
         {"HELD"},
         {"free"},
         {"HELD"},
         {"free"},
         {"HELD"},
         {"free"}});
  const auto title = [&](LockType type) {
    t.line({{name_of(type), Ink::bold}, {remark(type), Ink::dim}});
  };
  for (std::size_t i = 0; i < rows.size(); ++i) {
    if (i == 0 || rows[i].type != rows[i - 1].type) title(rows[i].type);
    print_row(t, rows[i]);
  }
  title(LockType::local);
  return t;
}

// What the words of this table mean.
std::vector<std::string> legend(const std::vector<Row>& rows) {
  const auto any = [&](auto says) {
    return std::any_of(rows.begin(), rows.end(), [&](const Row& r) {
      return std::any_of(std::begin(r.entry), std::end(r.entry), says);
    });
  };
  std::vector<std::string> lines;
  if (any([](const Entry& e) { return e.asked.held.granted != 0; }))
    lines.push_back("TAKEN  the handler got a lock that the interrupted code holds: two owners");
  if (any([](const Entry& e) { return e.promise.reports_held; }))
    lines.push_back(
        "no!    refused; the debug build reports the try, too, for without debug it is TAKEN");
  if (any([](const Entry& e) { return e.promise.free == contexts::Answer::refused; })) {
    lines.push_back(
        "no     where it is free: the gate of _rt, where no irq or NMI may own a lock that sleeps");
    lines.push_back(
        "(no)   the same for a lock that does not promise it: a misuse, reported in debug builds");
  }
  if (const char* const why = why_no_probes()) {
    lines.push_back(std::string("probe  ") + why);
  } else {
    lines.push_back(
        "n/m    at n of m machine instructions around lock() ... unlock(), by a probe: a handler "
        "that");
    lines.push_back(
        "       nobody registered. Inside lock() and unlock() either answer is right: not counted");
  }
  lines.push_back("bytes  of a lock without debug; in rows of debug builds alone, with");
  return lines;
}

}  // namespace

Section nested_try(const Options& options) {
  Section out;
  out.name = "nested_try";
  out.not_tried = why_no_probes() ? why_no_probes() : "";
  std::vector<Row> rows;
  for (const Subject& s : subjects()) {
    if (!options.wanted(s.config)) continue;
    Row row{s.type, {&s}, {}};
    for (std::size_t i = 0; i < std::size(kColumns); ++i) {
      if (i == kProbe && why_no_probes()) continue;
      row.entry[i] = try_nested(s, i);
      out.cells.push_back(cell_of(s, i, row.entry[i]));
    }
    const auto same = std::find_if(
        rows.begin(), rows.end(), [&](const Row& r) { return !options.all_rows && alike(r, row); });
    if (same == rows.end())
      rows.push_back(row);
    else
      merge(*same, row);
  }
  const bool compiles = local_lock_has_try_lock();
  out.cells.push_back({.name = "LocalLock: try_lock()",
                       .value = compiles ? "compiles" : "does not compile",
                       .promised = "does not compile",
                       .ok = !compiles,
                       .why = compiles ? "it has a try_lock()" : ""});

  out.heading = {
      "Who gets a lock that is already held?", "",
      "Code that takes a lock is interrupted on its own CPU, and the handler calls "
      "try_lock() on that",
      "very lock: while the code HOLDS it, and while it is free. Does the handler get it?"};
  out.table = print(rows);
  out.legend = legend(rows);
  return out;
}

}  // namespace nestlock::demo
