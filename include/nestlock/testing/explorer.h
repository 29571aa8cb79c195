// Explores what tasks and interrupts on simulated CPUs can do to each other: every interleaving of
// their steps, every moment an interrupt may arrive.
//
//   const auto r = testing::explore([](testing::Sim& sim) {
//     auto& lock = sim.make<BasicTrySpinLock<K>>();       // K = testing::SimKernel<configs::up>
//     auto& section = sim.make<testing::Exclusive>();
//     sim.task(0, [&] { lock.lock(); section.visit(); lock.unlock(); });
//     sim.nmi(0, [&] { if (lock.try_lock()) { section.visit(); lock.unlock(); } });
//   });
//   EXPECT_TRUE(r.ok()) << r.text();
//
// Each execution calls the set-up anew, which must do the same each time. Tasks share their CPU by
// preemption where pinning and masks allow; interrupts arrive once each, at any step at which
// their level and the masks allow it, run to their end on top of what they interrupt, and nest. A
// turn of a spin loop (Port::pause()) waits until something that the loop has read was written.
//
// Found are: a failed check(), two visitors of an Exclusive, a finding that the library reports,
// nobody who can go on (deadlock, a lost wake-up), no end after so many steps, of all or of a call
// (Sim::within()), and an end with counts or masks that are not as at the start. The text then
// holds a schedule with the fewest interruptions, to be given to Options::replay.
//
// Sequentially consistent: what a weaker memory order could add, it does not see. Plain variables
// are no steps; put a step() where their order matters.
//
// Algorithm: stateless search, depth first, with sleep sets (Godefroid 1996) unless the search is
// bounded; random schedules by priorities with change points (after Burckhardt et al., "A
// Randomized Scheduler with Probabilistic Guarantees of Finding Bugs", ASPLOS 2010).
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <functional>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "nestlock/testing/internal/sim_machine.h"

namespace nestlock::testing {

// What to explore.
struct ExploreOptions {
  static constexpr std::uint64_t kNoLimit = ~std::uint64_t{0};  // of `interruptions`
  std::uint64_t max_schedules = 1'000'000;  // then the search ends, and is not complete
  std::uint64_t max_steps = 10'000;         // of one execution; more is a failure
  std::uint64_t interruptions = kNoLimit;   // of a fibre that could have gone on; no reduction then
  unsigned migrations = 0;                  // of tasks to another CPU with tasks; no reduction then
  bool reduce = true;                       // skip schedules that differ in nothing that matters
  std::uint64_t random = 0;                 // so many random schedules instead of a search
  std::uint64_t seed = 1;                   // of the first of them
  std::string replay{};                     // one schedule, as a failure's text shows it
};

// What was seen.
struct ExploreResult {
  std::uint64_t schedules = 0;  // that differ
  std::uint64_t redundant = 0;  // begun, and found to differ in nothing from an earlier one
  std::uint64_t steps = 0;      // of all of them
  bool complete = false;        // every schedule within the bounds was seen
  std::string failure{};        // empty: none
  std::string schedule{};       // of the failure, for `replay`
  std::string trace{};          // of the failure, step by step
  std::map<std::string, std::uint64_t> counts{};  // Sim::count()
  // No failure, and something was seen; text() says it in a line, and what failed.
  bool ok() const { return failure.empty() && schedules != 0; }
  std::string text() const {
    std::string s = std::to_string(schedules) + " schedules" + (complete ? ", all" : "") + ", " +
                    std::to_string(redundant) + " redundant, " + std::to_string(steps) + " steps";
    for (const auto& [name, n] : counts) s += ", " + name + " " + std::to_string(n);
    if (!failure.empty()) s += "\nFAILED: " + failure + "\nreplay: " + schedule + "\n" + trace;
    return s;
  }
};

// A step of its own, for the order of plain variables.
inline void step() {
  auto* const m = internal::SimMachine::current();
  if (m && m->running()) m->local("steps");
}

// What only one may be in at a time.
class Exclusive {
 public:
  // Goes in and out; enter() alone stays in. Fails the execution if somebody is in already.
  void visit() {
    auto* const m = internal::SimMachine::current();
    enter();
    m->write(this, {}, "is in the section");
    leave();
  }
  void enter() {
    if (inside_) {
      auto* const m = internal::SimMachine::current();
      m->fail(m->running()->name + " is in a section with " + inside_->name);
    }
    inside_ = internal::SimMachine::current()->running();
    ++visits_;
  }
  void leave() { inside_ = nullptr; }
  unsigned visits() const { return visits_; }

 private:
  const internal::SimFibre* inside_ = nullptr;
  unsigned visits_ = 0;
};

// One execution's set-up.
class Sim {
 public:
  // A T that lives until the end of the execution.
  template <class T, class... Args>
  T& make(Args&&... args) {
    auto p = std::make_shared<T>(std::forward<Args>(args)...);
    made_.push_back(p);
    return *p;
  }
  // What runs on that CPU, each interrupted by those below it; and what runs when all have ended.
  void task(unsigned cpu, std::function<void()> body) { add(Level::task, cpu, body); }
  void softirq(unsigned cpu, std::function<void()> body) { add(Level::softirq, cpu, body); }
  void irq(unsigned cpu, std::function<void()> body) { add(Level::hardirq, cpu, body); }
  void nmi(unsigned cpu, std::function<void()> body) { add(Level::nmi, cpu, body); }
  void probe(unsigned cpu, std::function<void()> body) { add(Level::probe, cpu, body); }
  void at_end(std::function<void()> body) { at_end_.push_back(std::move(body)); }
  // For set-up and the end: as if on that CPU.
  template <class F>
  void as_on(unsigned cpu, F f) {
    internal::SimMachine::outside_cpu() = cpu;
    f();
    internal::SimMachine::outside_cpu() = 0;
  }
  // Fails the execution unless `is`.
  void check(bool is, const char* what) {
    if (!is) machine_.fail(std::string("check failed: ") + what);
  }
  // What f() returns, within n of its own steps, whatever others do; else fails the execution.
  auto within(unsigned n, auto f) { return machine_.within(n, std::move(f)); }
  // Counts over all executions: what a search never saw, it has not shown.
  void count(const char* what) { ++counts_[what]; }

 private:
  using Level = internal::SimLevel;
  friend class Explorer;
  Sim(internal::SimMachine& m, std::map<std::string, std::uint64_t>& counts)
      : machine_(m), counts_(counts) {}
  void add(Level level, unsigned cpu, std::function<void()>& body) {
    static constexpr const char* kNames[] = {"task", "softirq", "irq", "nmi", "probe"};
    const unsigned nr = numbers_[static_cast<unsigned>(level)]++;
    machine_.add(level, cpu, kNames[static_cast<unsigned>(level)] + (' ' + std::to_string(nr)),
                 std::move(body));
  }

  internal::SimMachine& machine_;
  std::map<std::string, std::uint64_t>& counts_;
  std::vector<std::shared_ptr<void>> made_;
  std::vector<std::function<void()>> at_end_;
  unsigned numbers_[5] = {};
};

class Explorer {
 public:
  // `set_up` is called for each execution, and makes the same each time.
  Explorer(std::function<void(Sim&)> set_up, ExploreOptions options)
      : set_up_(std::move(set_up)), options_(std::move(options)) {}
  ExploreResult run() {
    if (!options_.replay.empty()) {
      replay(options_.replay);
    } else if (options_.random != 0) {
      for (std::uint64_t i = 0; i < options_.random && result_.failure.empty(); ++i)
        random_schedule(options_.seed + i);
    } else {
      search(options_.interruptions);
    }
    if (!result_.failure.empty() && options_.replay.empty()) explain();
    return result_;
  }

 private:
  using Move = internal::SimMove;
  using Step = internal::SimStep;
  using Machine = internal::SimMachine;
  struct Node {
    std::vector<Move> moves;
    std::vector<Move> asleep;  // moves whose schedules an earlier one stands for
    Move chosen;
    Step step;  // of the chosen, in this execution: addresses differ between two
    std::uint64_t interruptions;
  };

  // ---- one execution ----

  void execute(const Machine::Chooser& choose) {
    Machine machine;
    Machine::current() = &machine;
    Sim sim(machine, result_.counts);
    set_up_(sim);
    if (!machine.failed()) machine.run(choose, options_.max_steps, options_.migrations);
    if (!machine.failed() && !machine.stopped())
      for (const auto& f : sim.at_end_) f();
    Machine::current() = nullptr;
    result_.steps += machine.steps();
    if (machine.failed()) {
      result_.failure = machine.failure();
      result_.schedule = schedule_of(machine.taken());
      result_.trace.clear();
      for (const auto& [m, s] : machine.taken()) {
        const auto& f = machine.fibres()[m.fibre];
        result_.trace += "  cpu " + std::to_string(m.cpu) + "  " + f.name + "  " + s.what +
                         (s.where.file ? std::string("  ") + base_of(s.where.file) + ":" +
                                             std::to_string(s.where.line)
                                       : "") +
                         "\n";
      }
    }
  }
  // "0@1x12 2@1x3": twelve steps of fibre 0 on CPU 1, then three of fibre 2.
  static std::string schedule_of(const std::vector<std::pair<Move, Step>>& taken) {
    std::string text;
    for (std::size_t i = 0; i < taken.size();) {
      const Move m = taken[i].first;
      const std::size_t first = i;
      while (i < taken.size() && taken[i].first == m) ++i;
      text += (first ? " " : "") + std::to_string(m.fibre) + "@" + std::to_string(m.cpu) + "x" +
              std::to_string(i - first);
    }
    return text;
  }
  static std::string base_of(const std::string& path) { return path.substr(path.rfind('/') + 1); }

  // ---- depth first ----

  void search(std::uint64_t interruptions) {
    const bool reduce =
        options_.reduce && interruptions == ExploreOptions::kNoLimit && options_.migrations == 0;
    path_.clear();
    do {
      std::size_t depth = 0;
      bool redundant = false;
      execute([&](const Machine& m, const std::vector<Move>& moves) {
        if (depth == path_.size()) {
          Node node{.moves = moves, .asleep = {}, .chosen = {}, .step = {}, .interruptions = 0};
          if (depth != 0) {
            const Node& before = path_[depth - 1];
            node.interruptions = before.interruptions + interrupts(before);
            if (reduce)
              for (const Move a : before.asleep)  // it has not moved since: its step is the same
                if (independent(a, m.fibres()[a.fibre].next, before)) node.asleep.push_back(a);
          }
          if (!next_move(node, m, interruptions)) return redundant = true, Machine::kStop;
          path_.push_back(std::move(node));
        }
        Node& node = path_[depth++];
        if (node.moves != moves)
          return result_.failure = "the set-up does not do the same each time", Machine::kStop;
        node.step = m.fibres()[node.chosen.fibre].next;
        return node.chosen;
      });
      (redundant ? result_.redundant : result_.schedules) += 1;
      if (!result_.failure.empty()) return;
      if (!back_up(interruptions)) {
        result_.complete = true;
        return;
      }
    } while (result_.schedules + result_.redundant < options_.max_schedules);
  }

  static bool independent(Move a, const Step& step, const Node& taken) {
    return a.cpu != taken.chosen.cpu && !internal::depend(step, taken.step);
  }

  // 1 if the move of `before`, the last on the path, kept a fibre from going on that could have.
  std::uint64_t interrupts(const Node& before) const {
    if (path_.size() < 2 || before.chosen.fibre == path_[path_.size() - 2].chosen.fibre) return 0;
    const Move last = path_[path_.size() - 2].chosen;
    return std::find(before.moves.begin(), before.moves.end(), last) != before.moves.end();
  }

  bool allowed(const Node& node, std::size_t depth, Move m, std::uint64_t interruptions) const {
    if (std::find(node.asleep.begin(), node.asleep.end(), m) != node.asleep.end()) return false;
    if (depth == 0 || node.interruptions < interruptions) return true;
    const Move last = path_[depth - 1].chosen;  // no more of them: whoever can go on does
    return m.fibre == last.fibre ||
           std::find(node.moves.begin(), node.moves.end(), last) == node.moves.end();
  }

  bool next_move(Node& node, const Machine& m, std::uint64_t interruptions) const {
    for (const Move move : node.moves)
      if (allowed(node, path_.size(), move, interruptions)) {
        node.chosen = move;
        node.step = m.fibres()[move.fibre].next;
        return true;
      }
    return false;
  }

  bool back_up(std::uint64_t interruptions) {
    while (!path_.empty()) {
      Node node = std::move(path_.back());
      path_.pop_back();
      node.asleep.push_back(node.chosen);
      for (const Move move : node.moves)
        if (allowed(node, path_.size(), move, interruptions)) {
          node.chosen = move;
          path_.push_back(std::move(node));
          return true;
        }
    }
    return false;
  }

  // ---- at random, and again ----

  // Whoever has the highest priority takes the step. Every fourth schedule has at most three change
  // points, at which the first loses its priority to all others; the rest change all the time.
  void random_schedule(std::uint64_t seed) {
    std::mt19937_64 random(seed);
    std::map<unsigned, std::uint64_t> priority;
    constexpr std::uint64_t kAbove = 1u << 16;  // all that have not lost theirs
    std::vector<std::uint64_t> change_points;
    const bool seldom = seed % 4 == 0;
    if (seldom)
      for (auto n = random() % 4; n; --n) change_points.push_back(random() % longest_);
    std::uint64_t at = 0;
    execute([&](const Machine&, const std::vector<Move>& moves) {
      const auto first = [&] {
        Move best = moves.front();
        for (const Move m : moves)
          if (priority[m.fibre] > priority[best.fibre]) best = m;
        return best;
      };
      for (const Move m : moves)
        if (!priority.contains(m.fibre)) priority[m.fibre] = kAbove | random() >> 1;
      Move best = first();
      const auto here = std::find(change_points.begin(), change_points.end(), at++);
      const bool changes = here != change_points.end();
      if (changes) {
        priority[best.fibre] = static_cast<std::uint64_t>(change_points.end() - here);
        best = first();
      }
      if (!seldom && random() % 16 == 0) priority[best.fibre] = random() >> (1 + random() % 8);
      for (const Move m : moves)  // taken to another CPU
        if (m.fibre == best.fibre && m.cpu != best.cpu && random() % (changes ? 2 : 8) == 0)
          return m;
      return best;
    });
    longest_ = std::max(longest_, at);
    result_.schedules += 1;
  }

  void replay(const std::string& schedule) {
    std::size_t at = 0;
    unsigned fibre = 0, cpu = 0, times = 0;
    execute([&](const Machine&, const std::vector<Move>& moves) {
      int used = 0;
      if (times == 0 &&
          std::sscanf(schedule.c_str() + at, " %u@%ux%u%n", &fibre, &cpu, &times, &used) == 3)
        at += static_cast<std::size_t>(used);
      const Move wanted{static_cast<std::uint8_t>(fibre), static_cast<std::uint8_t>(cpu)};
      const bool can = times && std::find(moves.begin(), moves.end(), wanted) != moves.end();
      if (times) --times;
      return can ? wanted : moves.front();
    });
    result_.schedules += 1;
  }

  // The same failure with the fewest interruptions, where the search finds one soon.
  void explain() {
    const ExploreResult first = result_;
    const ExploreOptions as_asked = options_;
    options_.max_schedules = 20'000;
    for (std::uint64_t n = 0; n < 4; ++n) {
      result_ = {};
      search(n);
      if (result_.failure.empty()) continue;
      ExploreResult shortest = first;
      shortest.failure = result_.failure;
      shortest.schedule = result_.schedule, shortest.trace = result_.trace;
      result_ = shortest;
      return;
    }
    result_ = first, options_ = as_asked;
  }

  std::function<void(Sim&)> set_up_;
  ExploreOptions options_;
  ExploreResult result_;
  std::vector<Node> path_;
  std::uint64_t longest_ = 1;  // of the random executions so far, in steps
};

// Every execution of what `set_up` makes, within the options' bounds; ends at the first that fails.
inline ExploreResult explore(std::function<void(Sim&)> set_up, ExploreOptions options = {}) {
  return Explorer(std::move(set_up), std::move(options)).run();
}

}  // namespace nestlock::testing
