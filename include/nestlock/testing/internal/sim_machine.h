// The simulated machine: CPUs, tasks and interrupts as fibres, and the rules of who may take the
// next step. What decides among those who may is a Chooser (see explorer.h).
//
// A step is what another fibre can see or be kept from by: an atomic access, a change of a mask or
// of a count, a turn of a spin loop. Code between two steps runs with the first of them.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <deque>
#include <functional>
#include <string>
#include <vector>

#include "nestlock/port/report.h"
#include "nestlock/testing/internal/fibre.h"

namespace nestlock::testing::internal {

// arrive: an interrupt comes, which ends a parked task's sleep. park: looks at a word of several
// variables, and at who is parked.
enum class SimStepKind : std::uint8_t { local, read, write, spin, sleep, arrive, park };

struct SimStep {
  SimStepKind kind = SimStepKind::local;
  const void* address = nullptr;
  Place where{};
  const char* what = "";
};

// Whether the order of two steps on two CPUs can matter. Conservative: a compare-exchange counts
// as a write though it may fail, and whatever shares a CPU depends.
inline bool depend(const SimStep& a, const SimStep& b) {
  const auto writes = [](const SimStep& s) {
    return s.kind == SimStepKind::write || s.kind == SimStepKind::sleep;
  };
  const auto parks = [](const SimStep& s) { return s.kind == SimStepKind::park; };
  if (parks(a) || parks(b)) {
    const SimStep& other = parks(a) ? b : a;
    return writes(other) || parks(other) || other.kind == SimStepKind::arrive;
  }
  if (a.kind == SimStepKind::spin) return writes(b);
  if (b.kind == SimStepKind::spin) return writes(a);
  return a.address && a.address == b.address && (writes(a) || writes(b));
}

// The levels at which a fibre runs; a probe comes at any instruction and reports what it found.
enum class SimLevel : std::uint8_t { task, softirq, hardirq, nmi, probe };

struct SimFibre {
  Fibre fibre;
  std::function<void()> body;
  std::string name;
  unsigned id = 0, cpu = 0;
  SimLevel level = SimLevel::task;
  Context context = Context::task;
  bool placed = false, done = false, masked = false;
  unsigned preempt = 0, migrate = 0, bh = 0;
  unsigned steps_left = ~0u;                // of its own: SimMachine::within(); ~0: any number
  SimStep next;                             // what it will do when it is chosen
  bool (*may_wake)(const void*) = nullptr;  // a sleeper, on next.address
  std::vector<const void*> looked_at;       // by reads, since its last turn of a spin loop
  bool news = false;                        // one of them was written by another since
  const void* parked_on = nullptr;          // where it sleeps, until it is woken
  std::uint64_t parked_as = 0;              // the how-manieth to fall asleep
};

// Fibre `fibre` takes a step, on `cpu`: where it is, or where it is taken to.
struct SimMove {
  std::uint8_t fibre = 0, cpu = 0;
  friend bool operator==(const SimMove&, const SimMove&) = default;
};

class SimMachine {
 public:
  static constexpr unsigned kCpus = 4, kFibres = 16;

  // Decides among `moves` (never empty; whoever took the last step comes first, if it can), or ends
  // the execution where it is: kStop.
  static constexpr SimMove kStop{kFibres, kCpus};
  using Chooser = std::function<SimMove(const SimMachine&, const std::vector<SimMove>& moves)>;

  static SimMachine*& current() {
    static SimMachine* machine = nullptr;
    return machine;
  }
  // What set-up and the end are told when they ask for their CPU.
  static unsigned& outside_cpu() {
    static unsigned cpu = 0;
    return cpu;
  }
  // The fibre that runs; null in set-up and at the end, where accesses are no steps.
  SimFibre* running() const { return running_; }

  SimFibre& add(SimLevel level, unsigned cpu, std::string name, std::function<void()> body) {
    SimFibre& f = fibres_.emplace_back();
    f.id = static_cast<unsigned>(fibres_.size() - 1);
    f.level = level, f.cpu = cpu, f.body = std::move(body);
    f.name = std::move(name);
    if (cpu >= kCpus || fibres_.size() > kFibres) fail("too many CPUs or fibres");
    return f;
  }

  // One execution, to the end or to the first failure.
  void run(Chooser choose, std::uint64_t max_steps, unsigned max_migrations) {
    choose_ = std::move(choose), max_steps_ = max_steps, migrations_left_ = max_migrations;
    movable_ = max_migrations != 0;
    for (const SimFibre& f : fibres_)
      if (f.level == SimLevel::task) tasks_on_[f.cpu] += 1;
    for (SimFibre& f : fibres_) {
      f.fibre.start([](void* fibre) { current()->live(*static_cast<SimFibre*>(fibre)); }, &f,
                    f.name.c_str());
      running_ = &f;
      booting_ = true;
      Fibre::switch_to(main_, f.fibre);
      booting_ = false;
      if (failed()) break;
    }
    running_ = nullptr;
    if (!failed()) {
      if (SimFibre* const first = choose_next(nullptr)) {
        running_ = first;
        Fibre::switch_to(main_, first->fibre);
      }
    }
    running_ = nullptr;
  }

  // ---- for the port, in a fibre ----

  void step(const SimStep& s) {
    SimFibre& me = *running_;
    if (me.steps_left == 0) fail(me.name + " takes more steps than it may");
    if (me.steps_left != ~0u) me.steps_left -= 1;
    me.next = s;
    if (booting_) return Fibre::switch_to(me.fibre, main_);
    go_on(me);
  }
  void read(const void* address, Place where) {
    step({SimStepKind::read, address, where, "load"});
    if (std::find(running_->looked_at.begin(), running_->looked_at.end(), address) ==
        running_->looked_at.end())
      running_->looked_at.push_back(address);
  }
  void write(const void* address, Place where, const char* what) {
    step({SimStepKind::write, address, where, what});
    written(address);
  }
  void local(const char* what) { step({SimStepKind::local, nullptr, {}, what}); }
  void spin() {
    step({SimStepKind::spin, nullptr, {}, "spins"});
    running_->news = false, running_->looked_at.clear();
  }
  void sleep_until(bool (*may_wake)(const void*), const void* lock, const char* what) {
    running_->may_wake = may_wake;
    step({SimStepKind::sleep, lock, {}, what});
    running_->may_wake = nullptr;
    written(lock);
  }
  // Falls asleep on the four bytes at `word` unless they are not `expected`: false. True: it was
  // woken, or an interrupt came. No sleep ends by itself: what only a limit would end, is a deadlock.
  bool park(const void* word, std::uint32_t expected) {
    step({SimStepKind::park, word, {}, "looks whether it may sleep"});
    std::uint32_t now;
    std::memcpy(&now, word, sizeof now);
    if (now != expected) return false;
    running_->parked_on = word, running_->parked_as = ++parkings_;
    step({SimStepKind::park, word, {}, "sleeps"});
    return true;
  }
  void unpark_one(const void* word) {
    step({SimStepKind::park, word, {}, "wakes one"});
    if (SimFibre* const f = first_parked(word)) f->parked_on = nullptr;
  }
  bool any_parked(const void* word) {
    step({SimStepKind::park, word, {}, "asks for sleepers"});
    return first_parked(word) != nullptr;
  }
  unsigned parked_on(const void* word) const {  // a look from outside: no step
    return static_cast<unsigned>(std::count_if(
        fibres_.begin(), fibres_.end(), [word](const SimFibre& f) { return f.parked_on == word; }));
  }
  // What f() returns, which ends within `n` steps of the running fibre's own: those of others, also
  // of what interrupts it, do not count. Or the execution fails.
  template <class F>
  auto within(unsigned n, F f) {
    struct Limit {
      unsigned& left;
      unsigned outer, mine;
      Limit(unsigned& l, unsigned m) : left(l), outer(l), mine(m < l ? m : l) { left = mine; }
      ~Limit() { left = outer == ~0u ? outer : outer - (mine - left); }
    } const limit(running_->steps_left, n);
    return f();
  }
  void written(const void* address) {
    for (SimFibre& f : fibres_)
      if (&f != running_ &&
          std::find(f.looked_at.begin(), f.looked_at.end(), address) != f.looked_at.end())
        f.news = true;
  }
  bool others_on_cpu() const { return movable_ || tasks_on_[running_->cpu] > 1; }
  bool movable() const { return movable_; }
  // The task at the bottom of the running fibre's CPU: its interrupts act in its name.
  unsigned owner() const {
    const auto& stack = on_[running_->cpu];
    return stack.empty() || stack[0]->level != SimLevel::task ? kFibres + running_->cpu
                                                              : stack[0]->id;
  }
  // Called in a fibre it does not return.
  void fail(std::string why) {
    if (failure_.empty()) failure_ = std::move(why);
    if (running_) Fibre::switch_to(running_->fibre, main_);
  }

  // ---- for the explorer ----

  bool failed() const { return !failure_.empty(); }
  bool stopped() const { return stopped_; }
  const std::string& failure() const { return failure_; }
  std::uint64_t steps() const { return steps_; }
  const std::deque<SimFibre>& fibres() const { return fibres_; }
  const SimFibre* last() const { return last_; }
  std::vector<std::pair<SimMove, SimStep>>& taken() { return taken_; }

 private:
  SimFibre* first_parked(const void* word) {
    SimFibre* first = nullptr;
    for (SimFibre& f : fibres_)
      if (f.parked_on == word && (!first || f.parked_as < first->parked_as)) first = &f;
    return first;
  }

  void live(SimFibre& f) {
    // An interrupt's first code must not run before the interrupt comes.
    if (f.level != SimLevel::task) step({SimStepKind::arrive, nullptr, {}, "arrives"});
    f.body();
    if (booting_) local("starts");  // no step at all: it does all it has at its start
    if (f.preempt || f.migrate || f.bh || (f.level == SimLevel::task && f.masked))
      fail(f.name + " ends pinned, or with irqs off");
    f.done = true;
    auto& stack = on_[f.cpu];
    if (stack.empty() || stack.back() != &f) fail("internal: not on top of its CPU");
    stack.pop_back();
    go_on(f);
  }

  // Lets whoever is chosen go on; returns when `me` is.
  void go_on(SimFibre& me) {
    SimFibre* const next = choose_next(&me);
    if (next == &me) return;
    running_ = next;
    Fibre::switch_to(me.fibre, next ? next->fibre : main_);
  }

  SimFibre* choose_next(SimFibre* me) {
    last_ = me;
    find_enabled();
    if (moves_.empty()) {
      if (std::any_of(fibres_.begin(), fibres_.end(), [](auto& f) { return !f.done; }))
        fail_quietly("nobody can go on: " + waiting());
      return nullptr;
    }
    if (++steps_ > max_steps_) return fail_quietly("no end after so many steps"), nullptr;
    const SimMove m = choose_(*this, moves_);
    if (m == kStop) return stopped_ = true, nullptr;
    SimFibre& f = fibres_[m.fibre];
    taken_.push_back({m, f.next});
    place(f, m.cpu);
    return &f;
  }

  void fail_quietly(std::string why) {
    if (failure_.empty()) failure_ = std::move(why);
  }

  std::string waiting() const {
    std::string s;
    for (const SimFibre& f : fibres_)
      if (!f.done) s += (s.empty() ? "" : ", ") + f.name + " " + (f.placed ? f.next.what : "waits");
    return s;
  }

  void find_enabled() {
    moves_.clear();
    const auto add = [&](const SimFibre& f) {
      if (f.done) return;
      const auto at = [&](unsigned cpu) {
        if (may_run(f, cpu))
          moves_.push_back({static_cast<std::uint8_t>(f.id), static_cast<std::uint8_t>(cpu)});
      };
      if (migrations_left_ == 0) return at(f.cpu);
      for (unsigned cpu = 0; cpu < kCpus; ++cpu) at(cpu);
    };
    if (last_) add(*last_);
    for (const SimFibre& f : fibres_)
      if (&f != last_) add(f);
  }

  bool may_run(const SimFibre& f, unsigned cpu) const {
    const auto& stack = on_[cpu];
    const SimFibre* const top = stack.empty() ? nullptr : stack.back();
    if (f.placed && top == &f) return can_go_on(f);
    if (f.level != SimLevel::task) return !f.placed && cpu == f.cpu && may_arrive(f, top);
    // A task takes over a CPU that is idle or whose task may be preempted.
    if (stack.size() > 1 || (top && !preemptible(*top)) || !can_go_on(f)) return false;
    if (top && top->level != SimLevel::task) return false;
    const bool current = f.placed && !on_[f.cpu].empty() && on_[f.cpu][0] == &f;
    if (current && on_[f.cpu].size() > 1) return false;
    if (f.cpu == cpu) return !current;
    // To a CPU that has tasks at all: the others are not part of what is explored.
    return migrations_left_ != 0 && tasks_on_[cpu] != 0 && f.migrate == 0 && preemptible(f);
  }

  static bool can_go_on(const SimFibre& f) {
    if (f.parked_on) return false;
    if (f.next.kind == SimStepKind::spin) return f.news;
    if (f.next.kind == SimStepKind::sleep) return f.may_wake(f.next.address);
    return true;
  }
  static bool preemptible(const SimFibre& f) { return f.preempt == 0 && !f.masked; }

  static bool may_arrive(const SimFibre& f, const SimFibre* top) {
    if (!top) return true;
    switch (f.level) {
      case SimLevel::softirq:
        return top->context == Context::task && !top->masked && !top->bh;
      case SimLevel::hardirq:
        return top->context < Context::hardirq && !top->masked;
      case SimLevel::nmi:
        return top->context < Context::nmi;
      default:
        return true;
    }
  }

  void place(SimFibre& f, unsigned cpu) {
    auto& stack = on_[cpu];
    if (!stack.empty() && stack.back() == &f) return;
    if (f.level != SimLevel::task) {
      SimFibre* const top = stack.empty() ? nullptr : stack.back();
      if (top) top->parked_on = nullptr;
      const Context below = top ? top->context : Context::task;
      f.context = f.level == SimLevel::probe ? below : static_cast<Context>(f.level);
      f.masked = f.level == SimLevel::hardirq || f.level == SimLevel::nmi || (top && top->masked);
      stack.push_back(&f);
    } else {
      if (f.cpu != cpu) {
        if (f.placed && !on_[f.cpu].empty() && on_[f.cpu][0] == &f) on_[f.cpu].clear();
        migrations_left_ -= 1;
        f.cpu = cpu;
      }
      stack.assign(1, &f);
    }
    f.placed = true;
  }

  Fibre main_;
  std::deque<SimFibre> fibres_;
  std::vector<SimFibre*> on_[kCpus];  // the running task, and above it the interrupts
  unsigned tasks_on_[kCpus] = {};
  SimFibre* running_ = nullptr;
  SimFibre* last_ = nullptr;
  Chooser choose_;
  std::vector<SimMove> moves_;
  std::vector<std::pair<SimMove, SimStep>> taken_;
  std::string failure_;
  std::uint64_t steps_ = 0, max_steps_ = 0;
  std::uint64_t parkings_ = 0;
  unsigned migrations_left_ = 0;
  bool booting_ = false, movable_ = false, stopped_ = false;
};

}  // namespace nestlock::testing::internal
