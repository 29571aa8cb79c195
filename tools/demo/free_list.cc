// What a lock that does not tell the truth costs: a free list behind each lock, interrupted after
// each instruction by a probe that takes a node, too, and keeps it. (A balanced pair, take and give
// back, would hide every error.)
#include <algorithm>
#include <atomic>

#include "section.h"
#include "subject.h"
#include "tools/shared/interrupts.h"

namespace nestlock::demo {
namespace {

constexpr auto kRelaxed = std::memory_order_relaxed;

// Relaxed atomics, so that even behind a lock that lets two in the program is defined.
struct Node {
  std::atomic<Node*> next{nullptr};
};

class FreeList {
 public:
  static constexpr unsigned kNodes = 4;

  void refill() {
    head_.store(nullptr, kRelaxed);
    for (Node& n : pool_) n.next.store(head_.load(kRelaxed), kRelaxed), head_.store(&n, kRelaxed);
  }
  Node* take() {
    Node* const n = head_.load(kRelaxed);
    if (n) head_.store(n->next.load(kRelaxed), kRelaxed);
    return n;
  }
  // Whether each node is on the list or is `a` or `b`, and in one place only.
  bool complete(const Node* a, const Node* b) const {
    unsigned on_list = 0, owned = (a != nullptr) + (b != nullptr);
    for (const Node* n = head_.load(kRelaxed); n; n = n->next.load(kRelaxed))
      if (n == a || n == b || ++on_list > kNodes) return false;
    return on_list + owned == kNodes;
  }

 private:
  std::atomic<Node*> head_{nullptr};
  Node pool_[kNodes];
};

struct Measured {
  std::uint64_t instructions = 0, twice = 0, damaged = 0, served = 0, refused = 0, empty_handed = 0;
  Findings findings;
  const char* trouble = nullptr;
};

Measured measure(const Subject& s) {
  FreeList list;
  Node *mine = nullptr, *kept = nullptr;
  Measured m;
  const Probed p = probe_each(
      [&] { list.refill(), mine = kept = nullptr; }, [&] { s.hold([&] { mine = list.take(); }); },
      [&] { ++(s.try_hold([&] { kept = list.take(); }) ? m.served : m.refused); },
      [&] {
        m.empty_handed += mine == nullptr;
        if (mine && mine == kept)
          ++m.twice;
        else
          m.damaged += !list.complete(mine, kept);
      });
  m.instructions = p.instructions;
  m.trouble = p.trouble;
  return m;
}

// Why it is not as promised; empty if it is.
std::string verdict(const Measured& m, bool blind) {
  if (m.trouble) return m.trouble;
  if (m.instructions == 0) return "no instruction was interrupted";
  if (m.served + m.refused != m.instructions) return "the probe did not run at each instruction";
  if (m.empty_handed) return "the interrupted code got no node";
  if (blind) return m.twice ? "" : "the historic bug was not seen";
  if (m.twice) return "a node was handed out twice";
  if (m.damaged) return "the list is damaged";
  if (m.served == 0) return "the probe was never served";
  if (m.refused == 0) return "the probe never found the lock held";
  if (m.findings.others) return std::string("reported: ") + name_of(m.findings.other);
  return {};
}

struct Row {
  const Subject* first;
  std::vector<Config> configs;
  Measured measured;
  bool ok;
};

bool alike(const Row& a, const Row& b) {
  return a.first->type == b.first->type && a.ok == b.ok &&
         (a.measured.twice != 0) == (b.measured.twice != 0);
}

Cell cell_of(const Subject& s, const Measured& m) {
  Cell c;
  c.name = std::string(name_of(s).text) + ": free list";
  c.value = std::to_string(m.twice) + " of " + std::to_string(m.instructions) + " handed out twice";
  c.bug = is_blind(s);
  c.promised = c.bug ? "handed out twice: the historic bug" : "never handed out twice";
  c.why = verdict(m, c.bug);
  c.ok = c.why.empty();
  c.figures = {{"instructions", m.instructions},
               {"handed_out_twice", m.twice},
               {"damaged", m.damaged},
               {"served", m.served},
               {"refused", m.refused}};
  return c;
}

Text number(std::uint64_t n, Ink ink = Ink::plain) { return {std::to_string(n), ink, true}; }

}  // namespace

Section free_list(const Options& options) {
  Section out;
  out.name = "free_list";
  out.heading = {"What it costs: a free list of 4 nodes behind each lock", "",
                 "The code takes a node; after each of its instructions in turn a probe takes one, "
                 "too, and keeps it."};
  if (const char* const why = why_no_probes()) {
    out.not_tried = why;
    return out;
  }
  std::vector<Row> rows;
  for (const Subject& s : subjects()) {
    if (!options.wanted(s.config)) continue;
    const Name name = name_of(s);
    now_trying(name.text);
    Row row{&s, {s.config}, measure(s), false};
    row.measured.findings = findings();
    out.cells.push_back(cell_of(s, row.measured));
    row.ok = out.cells.back().ok;
    const auto same = std::find_if(
        rows.begin(), rows.end(), [&](const Row& r) { return !options.all_rows && alike(r, row); });
    if (same == rows.end()) {
      rows.push_back(row);
      continue;
    }
    same->configs.push_back(s.config);
    Measured &a = same->measured, &b = row.measured;
    a.instructions += b.instructions, a.twice += b.twice, a.damaged += b.damaged;
    a.served += b.served, a.refused += b.refused;
  }

  Table& t = out.table;
  t.row({{"lock", Ink::bold},
         {"configurations", Ink::bold},
         {"instructions", Ink::bold, true},
         {"handed out twice", Ink::bold, true},
         {"served", Ink::bold, true},
         {"refused", Ink::bold, true}});
  for (const Row& r : rows) {
    const Measured& m = r.measured;
    const Ink ink = !r.ok || m.twice                    ? Ink::red
                    : contexts::promised(r.first->type) ? Ink::green
                                                        : Ink::plain;
    t.row({{name_of(r.first->type)},
           {names_of(r.configs)},
           number(m.instructions),
           number(m.twice, ink),
           number(m.served),
           number(m.refused),
           {m.twice ? "<- two owners" : "", Ink::red}});
  }
  return out;
}

}  // namespace nestlock::demo
