// Registration: which signals are irqs and nmis, what was installed before, and how it comes back.
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <ctime>

#include "signals_internal.h"

namespace nestlock::signals::internal {

namespace {

pthread_mutex_t registering = PTHREAD_MUTEX_INITIALIZER;
std::atomic<const void*> held_over_fork{nullptr};  // by which thread's fork

// Says before it locks that this thread is about it: for a fork in a handler that nobody registered, which
// cannot be told from a task.
struct Registering {
  Registering() noexcept {
    self().registering.store(1, kRelaxed);
    hosted::fence();
    pthread_mutex_lock(&registering);
  }
  ~Registering() {
    pthread_mutex_unlock(&registering);
    hosted::fence();
    self().registering.store(0, kRelaxed);
  }
  Registering(const Registering&) = delete;
  Registering& operator=(const Registering&) = delete;
};

// What to put back, and whether our trampoline may be called by a handler that was installed after
// it: by one that unregister() found in its place. Under `registering` only.
struct Before {
  struct sigaction action;
  bool buried;
  int restart;  // SA_RESTART, or 0
};
Before before[kLastSignal + 1];

bool is_ours(const struct sigaction& a) noexcept {
  return (a.sa_flags & SA_SIGINFO) && a.sa_sigaction == trampoline;
}

Error refuse(Error e, const char* call) noexcept {
  if (kBuiltConfig.debug) {
    Report r;
    r.finding = Finding::bad_signal;
    r.config = kBuiltConfig;
    r.context = hosted::context();
    r.call = call;
    r.detail = name_of(e);
    HostedPort<kBuiltConfig>::report(r);
  }
  return e;
}

Error check(int signo, Handler handler, bool irq) noexcept {
  if (signo < 1 || signo > kLastSignal || (c_librarys_own() & mask_of(signo)))
    return Error::not_a_signal;
  if (signo == SIGKILL || signo == SIGSTOP) return Error::unmaskable;
  if (irq && is_fault(signo)) return Error::fault;
  if (!handler) return Error::no_handler;
  return Error::none;
}

KernelMask registered() noexcept { return irq_class.load(kRelaxed) | nmi_class.load(kRelaxed); }

KernelMask blocked_during(int signo) noexcept {
  const KernelMask irq = irq_class.load(kRelaxed), nmi = nmi_class.load(kRelaxed) & ~kFaults;
  return nmi_class.load(kRelaxed) & mask_of(signo) ? irq | nmi : irq;
}

// Every handler's mask holds its whole class, so all are installed again when a class grows: but not
// over a handler that the program has put in the place of ours since.
bool install_all(int added = 0) noexcept {
  const KernelMask all = registered();
  for (int s = 1; s <= kLastSignal; ++s) {
    struct sigaction now;
    if (!(all & mask_of(s)) || (s != added && query(s, now) && !is_ours(now))) continue;
    if (!install(s, trampoline, blocked_during(s), before[s].restart)) return false;
  }
  return true;
}

// Complete before it is installed: the first arrival may come at once, in another thread.
bool take_over(int signo) noexcept {
  Signal& s = signal_table[signo];
  struct sigaction now;
  if (!query(signo, now)) return false;
  if (is_ours(now)) return true;  // whoever was installed after us last time is gone again
  if (before[signo].buried) s.below.copy(s.next);
  s.next.set(now);
  before[signo].action = now;
  return true;
}

// Arrivals that we sent on to the kernel's queue would find the default action, and end the process.
// To ignore a signal drops what waits of it.
bool put_back(int signo) noexcept {
  const struct sigaction& was = before[signo].action;
  const bool harmless = (was.sa_flags & SA_SIGINFO) || was.sa_handler != SIG_DFL ||
                        signo == SIGCHLD || signo == SIGCONT || signo == SIGURG ||
                        signo == SIGWINCH;
  if (signal_table[signo].sent.exchange(false, kRelaxed) && !harmless) {
    struct sigaction ignore{};
    ignore.sa_handler = SIG_IGN;
    restore(signo, ignore);
  }
  return restore(signo, was);
}

}  // namespace

Error add(int signo, Handler handler, bool irq, Calls calls) noexcept {
  const char* const call = irq ? "register_irq" : "register_nmi";
  std::atomic<KernelMask>& to = irq ? irq_class : nmi_class;
  if (const Error e = check(signo, handler, irq); e != Error::none) return refuse(e, call);
  Error e = Error::none;
  {
    const Registering lock;
    set_up_once();
    if (registered() & mask_of(signo)) {
      e = Error::taken;
    } else if (!take_over(signo)) {
      e = Error::refused;
    } else {
      before[signo].restart = calls == Calls::restart ? SA_RESTART : 0;
      signal_table[signo].handler.store(handler, std::memory_order_release);
      to.fetch_or(mask_of(signo), kRelaxed);
      if (!install_all(signo)) e = Error::refused;
      if (e != Error::none) to.fetch_and(~mask_of(signo), kRelaxed);
    }
  }
  return e == Error::none ? e : refuse(e, call);
}

Error remove(int signo, const char* call) noexcept {
  if (signo < 1 || signo > kLastSignal) return refuse(Error::not_a_signal, call);
  Error e = Error::not_taken;
  if (const Registering lock; registered() & mask_of(signo)) {
    Signal& s = signal_table[signo];
    struct sigaction now;
    const bool there = !query(signo, now) || is_ours(now);
    e = !there || put_back(signo) ? Error::none : Error::refused;
    s.generation.fetch_add(1, kRelaxed);
    s.handler.store(nullptr, std::memory_order_seq_cst);  // see call_handler()
    irq_class.fetch_and(~mask_of(signo), kRelaxed);
    nmi_class.fetch_and(~mask_of(signo), kRelaxed);
    if (there && before[signo].buried) s.next.copy(s.below);  // the one after us calls us still
    if (!there) before[signo].buried = true;
    install_all();
    hosted::tsan_blocks_change();  // on this thread it comes no more
  }
  return e == Error::none ? e : refuse(e, call);
}

// In a handler it may be the interrupted code that holds it, a fork of this thread included: then this child's
// registrations are as that left them, and the innermost fork gives back what an outer one has. Other threads
// may fork at the same time.
void lock_registration_to_fork() noexcept {
  const bool may_be_ours =
      self().registering.load(kRelaxed) || held_over_fork.load(kRelaxed) == &self();
  if ((may_be_ours ? pthread_mutex_trylock(&registering) : pthread_mutex_lock(&registering)) == 0)
    held_over_fork.store(&self(), kRelaxed);
}
void unlock_registration_after_fork() noexcept {
  if (held_over_fork.load(kRelaxed) != &self()) return;
  held_over_fork.store(nullptr, kRelaxed);
  pthread_mutex_unlock(&registering);
}

void wait_for_handlers(int signo) noexcept {
  if (signo < 1 || signo > kLastSignal) return;
  const std::uint32_t mine = self().handled.load(kRelaxed) & mask_of(signo) ? 1 : 0;
  const int saved = errno;
  // acquire: pairs with the end of call_handler().
  for (unsigned turn = 0; signal_table[signo].running.load(std::memory_order_acquire) > mine;
       ++turn) {
    constexpr timespec kShort{0, 100'000};
    if (turn < 100)
      sched_yield();
    else
      clock_nanosleep(CLOCK_MONOTONIC, 0, &kShort, nullptr);
  }
  errno = saved;
}

bool add_softirq(unsigned nr, void (*run)()) noexcept {
  if (nr >= kMaxSoftirqs) return false;
  {
    const Registering lock;
    set_up_once();
  }
  softirq_run[nr].store(run, std::memory_order_release);
  return true;
}

void raise(unsigned nr) noexcept {
  if (nr >= kMaxSoftirqs || !softirq_run[nr].load(kRelaxed)) return;
  self().softirqs.fetch_or(1u << nr, kRelaxed);
  hosted::run_raised_softirqs();
}

Stats count_up_to_now() noexcept {
  const Counts& c = counts;
  return {c.irqs.load(kRelaxed),      c.nmis.load(kRelaxed),     c.softirqs.load(kRelaxed),
          c.held_back.load(kRelaxed), c.requeued.load(kRelaxed), c.lost.load(kRelaxed),
          c.forwarded.load(kRelaxed)};
}

// A library goes, with all functions that `of_it` knows.
void forget(bool (*of_it)(const void*) noexcept) noexcept {
  for (int signo = 1; signo <= kLastSignal; ++signo) {
    const Handler handler = signal_table[signo].handler.load(kRelaxed);
    if (handler && of_it(reinterpret_cast<const void*>(handler)) &&
        remove(signo, "dlclose") == Error::none)
      wait_for_handlers(signo);
  }
  for (auto& softirq : softirq_run) {
    const auto run = softirq.load(kRelaxed);
    if (run && of_it(reinterpret_cast<const void*>(run))) softirq.store(nullptr, kRelaxed);
  }
}

}  // namespace nestlock::signals::internal
