#include "tools/torture/storm.h"

#include <sched.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>

#include "nestlock/signals.h"

namespace nestlock::torture {
namespace {

constinit thread_local std::atomic<Worker*> self{nullptr};  // relaxed: only this thread's
// Accesses between two interruptions, about: while a lock is held, and elsewhere (most of those are
// a waiter's).
constexpr std::uint32_t kHolding = 100, kElsewhere = 1000;

int signal_of(Level l) {
  const int signals[kLevels] = {0, SIGRTMIN + 3, SIGUSR1, SIGUSR2};
  return signals[static_cast<unsigned>(l)];
}
Worker* current() { return self.load(std::memory_order_relaxed); }
template <Level kLevel>
void on_signal(int, siginfo_t*, void*) {
  if (Worker* const w = current()) w->interrupted(kLevel);
}
void send(int tid, int signo) {
  const int saved = errno;
  syscall(SYS_tgkill, getpid(), tid, signo);
  errno = saved;
}
unsigned index(Level l) { return static_cast<unsigned>(l); }

}  // namespace

void register_handlers() {
  if (signals::register_irq(signal_of(Level::irq), on_signal<Level::irq>) != signals::Error::none ||
      signals::register_nmi(signal_of(Level::nmi), on_signal<Level::nmi>) != signals::Error::none)
    trouble("the handlers were not registered");
  struct sigaction probe{};
  probe.sa_sigaction = on_signal<Level::probe>;
  probe.sa_flags = SA_SIGINFO | SA_RESTART;
  sigaction(signal_of(Level::probe), &probe, nullptr);
}

// ---- a worker -----------------------------------------------------------------------------------

Worker::Worker(unsigned index, const Options& o, Subject& subject) : subject_(subject) {
  for (unsigned l = 0; l < kLevels; ++l) {
    Caller& c = callers_[l];
    c = {index, static_cast<Level>(l), o.seed + std::uint64_t{977} * (index * kLevels + l)};
    for (int i = 0; i < 4; ++i) c.random(2);
  }
}

void Worker::run(const std::atomic<bool>& stop) {
  hosted::tsan_blocks_change();  // its handlers are behind what has been, and before what comes
  self.store(this, std::memory_order_relaxed);
  tid_ = static_cast<int>(syscall(SYS_gettid));
  while (!stop.load(std::memory_order_relaxed)) {
    subject_.step(callers_[0]);
    ++counts_.steps;
  }
  self.store(nullptr, std::memory_order_relaxed);
  hosted::tsan_blocks_change();
}

void Worker::interrupted(Level level) noexcept {
  if (inside_[index(level)].load(kByTurns)) return;
  if (level == Level::probe)  // to the library a part of what it interrupts
    hosted::as_level(hosted::TsanLevel::probe, [this] { work_as(Level::probe); });
  else
    work_as(level);
}

void Worker::work_as(Level level) noexcept {
  const unsigned l = index(level);
  inside_[l].store(true, kByTurns);
  Caller* const before = now_.load(kByTurns);
  Caller& now = callers_[l];
  now_.store(&now, kByTurns);
  ++counts_.entries[l];
  counts_.at_a_held_lock[l] += locks_held() != 0;
  subject_.nested(now);
  now_.store(before, kByTurns);
  inside_[l].store(false, kByTurns);
}

void Worker::at_an_access() noexcept {
  Caller& now = *now_.load(kByTurns);
  if (now.random(locks_held() ? kHolding : kElsewhere)) [[likely]]
    return;
  const auto level = static_cast<Level>(1 + now.random(3));
  if (inside_[index(level)].load(kByTurns)) return;
  if (level == Level::probe)
    interrupted(level);
  else
    send(tid(), signal_of(level));
}

void Worker::Counts::operator+=(const Counts& o) {
  steps += o.steps;
  for (unsigned l = 0; l < kLevels; ++l)
    entries[l] += o.entries[l], at_a_held_lock[l] += o.at_a_held_lock[l];
}
std::uint64_t Worker::Counts::all_entries() const { return entries[1] + entries[2] + entries[3]; }
std::uint64_t Worker::Counts::all_at_a_held_lock() const {
  return at_a_held_lock[1] + at_a_held_lock[2] + at_a_held_lock[3];
}

// ---- at the locks and the accesses --------------------------------------------------------------

void at_an_access() noexcept {
  if (Worker* const w = current()) w->at_an_access();
}

void AtLocks::acquired(const LockRef&, bool) noexcept {
  if (Worker* const w = current()) w->acquired();
}
void AtLocks::releasing(const LockRef&) noexcept {
  if (Worker* const w = current()) w->releasing();
}

// ---- the sender ---------------------------------------------------------------------------------

// It only makes system calls: in a uniprocessor configuration it is a stranger to the library.
Storm::Storm(std::vector<std::unique_ptr<Worker>>& workers, std::uint64_t seed) {
  if (internal::kWithTsan) return;
  sigset_t all, old;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &old);  // for the new thread
  sender_ = std::thread([this, &workers, seed] {
    Caller random{.state = seed};
    while (!stop_.load(std::memory_order_relaxed)) {
      for (const auto& w : workers)
        if (const int tid = w->tid())
          send(tid, signal_of(static_cast<Level>(1 + random.random(3))));
      for (unsigned i = random.random(4000); i > 0; --i) hosted::pause();
      if (random.random(16) == 0) sched_yield();
    }
  });
  pthread_sigmask(SIG_SETMASK, &old, nullptr);
}
Storm::~Storm() {
  stop_ = true;
  if (sender_.joinable()) sender_.join();
}

}  // namespace nestlock::torture
