#include "tools/shared/interrupts.h"

#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cstring>

#include "nestlock/port/hosted.h"
#include "nestlock/signals.h"
#include "nestlock/testing/instruction_sweep.h"

namespace nestlock::tools {
namespace {

constexpr auto kRelaxed = std::memory_order_relaxed;
constexpr int kIrq = SIGUSR1, kNmi = SIGUSR2;
constexpr unsigned kSoftirq = 0;
constexpr unsigned kPatience = 60;  // seconds for one thing tried; it takes a fraction of one

// Handlers and what they interrupt are one thread.
constinit std::atomic<const Call*> handler{nullptr};
constinit std::atomic<bool> by_softirq{false};

void run_handler() {
  if (const Call* const h = handler.load(kRelaxed)) (*h)();
}

void on_irq(int, siginfo_t*, void*) {
  if (by_softirq.load(kRelaxed))
    signals::raise_softirq(kSoftirq);
  else
    run_handler();
}
void on_nmi(int, siginfo_t*, void*) { run_handler(); }

// ---- findings ----------------------------------------------------------------------------------

constinit std::atomic<const char*> trying{"nothing yet"};
using Count = std::atomic<std::uint64_t>;
constinit Count not_promised{0}, wrong_context{0}, others{0};
constinit std::atomic<Finding> other{};

void print(const char* text) {
  [[maybe_unused]] const auto written = write(STDERR_FILENO, text, std::strlen(text));
}

[[noreturn]] void end_with(const char* what, const char* more) {
  print("FAIL  "), print(trying.load(kRelaxed)), print(what), print(more), print("\n");
  _exit(1);
}

void count_finding(const Report& r) noexcept {
  if (r.fatal) {
    char text[768];
    to_text(r, text, sizeof text);
    end_with(": this lock cannot be used any more\n", text);
  }
  if (r.finding == Finding::not_promised) {
    not_promised.fetch_add(1, kRelaxed);
  } else if (r.finding == Finding::wrong_context) {
    wrong_context.fetch_add(1, kRelaxed);
  } else {
    others.fetch_add(1, kRelaxed);
    other.store(r.finding, kRelaxed);
  }
}

void on_alarm(int) { end_with(": hangs", ""); }

const testing::SweepOptions& options() {
  static const testing::SweepOptions o;  // finds out once what is this program's own code
  return o;
}

// To this very thread.
void send(Context c) {
  syscall(SYS_tgkill, getpid(), syscall(SYS_gettid), c == Context::nmi ? kNmi : kIrq);
}

Probed probed(const testing::SweepResult& r) {
  const char* const trouble =
      r.trouble || r.complete ? r.trouble : "the sweep did not reach the end of the code";
  return {r.supported, r.complete, trouble, r.boundaries};
}

}  // namespace

const char* set_up_interrupts() {
  hosted::set_report_sink(count_finding);
  signal(SIGALRM, on_alarm);  // see now_trying()
  for (const auto e : {signals::register_irq(kIrq, on_irq), signals::register_nmi(kNmi, on_nmi)})
    if (e != signals::Error::none) return name_of(e);
  if (!signals::register_softirq(kSoftirq, run_handler)) return "no softirq left";
  sigset_t ours;
  sigemptyset(&ours), sigaddset(&ours, kIrq), sigaddset(&ours, kNmi), sigaddset(&ours, SIGALRM);
  return signals::set_signal_mask(SIG_UNBLOCK, &ours, nullptr) ? "cannot unblock signals" : nullptr;
}

void interrupt_with(Context c, Call h) {
  by_softirq.store(c == Context::softirq, kRelaxed);
  handler.store(&h, kRelaxed);
  hosted::fence();
  send(c);  // it has run when the system call returns
  hosted::fence();
  handler.store(nullptr, kRelaxed);
}

Probed probe_through(Call code, Call probe) {
  return probed(testing::sweep_through(code, probe, options()));
}

Probed probe_each(Call prepare, Call code, Call probe, Call check) {
  return probed(testing::sweep_each(prepare, code, probe, check, options()));
}

Probed interrupt_each(Context c, Instructions which, std::uint64_t k, Call prepare, Call code,
                      Call h, Call check) {
  testing::SweepOptions o = options();
  o.boundaries.first = k;
  if (which == Instructions::one) {
    o.boundaries.last = k;
    o.engine = testing::Engine::trap_flag;  // to learn the code for one run takes longer
  }
  // Sent while it is blocked, a signal arrives at the very instruction.
  if (c != Context::task) o.blocked = testing::kAllSignals;
  by_softirq.store(false, kRelaxed);
  handler.store(&h, kRelaxed);
  const auto r =
      testing::sweep_each(prepare, code, [&] { c == Context::task ? h() : send(c); }, check, o);
  handler.store(nullptr, kRelaxed);
  Probed p = probed(r);
  if (which == Instructions::one && !r.trouble) p.trouble = nullptr;  // complete or not
  return p;
}

std::uint64_t instructions_of(Call code) {
  return testing::sweep_through(code, [] {}, options()).boundaries;
}

const char* why_no_probes() {
  static const char* const why = [] {
    const auto r = testing::sweep_through([] {}, [] {}, options());
    return r.supported ? nullptr : r.trouble;
  }();
  return why;
}

void now_trying(const char* what) {
  trying.store(what, kRelaxed);
  alarm(kPatience);
  for (Count* c : {&not_promised, &wrong_context, &others}) c->store(0, kRelaxed);
}

Findings findings() {
  return {not_promised.load(kRelaxed), wrong_context.load(kRelaxed), others.load(kRelaxed),
          other.load(kRelaxed)};
}

}  // namespace nestlock::tools
