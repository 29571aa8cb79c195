// How code and its handlers are run under ThreadSanitizer: the handlers of each level, what they share with
// their task, and a case as a child process.
//
// What the handlers share is the case's own data and nothing else: all that leads there is relaxed, so that no
// order comes from the test.
#pragma once

#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <ostream>

#include "nestlock/lock/guard.h"
#include "nestlock/nestlock.h"
#include "nestlock/signals.h"

namespace nestlock::tsan_cases {

using hosted::kRelaxed;

// ---- handlers -----------------------------------------------------------------------------------

enum Handler : unsigned { softirq, irq, nmi, probe };
constexpr unsigned kSoftirq = 3;

inline std::atomic<void (*)()> bodies[4]{};
inline std::atomic<unsigned> runs[4]{};

inline void run(Handler h) {
  runs[h].fetch_add(1, kRelaxed);
  if (const auto f = bodies[h].load(kRelaxed)) f();
}

// What is raised is an irq; a softirq's body runs at its exit.
inline void on_irq(int, siginfo_t*, void*) {
  if (bodies[irq].load(kRelaxed)) run(irq);
  if (bodies[softirq].load(kRelaxed)) signals::raise_softirq(kSoftirq);
}

inline bool register_all() {
  static const bool done =
      signals::register_irq(SIGUSR1, on_irq) == signals::Error::none &&
      signals::register_nmi(SIGUSR2, [](int, siginfo_t*, void*) { run(nmi); }) ==
          signals::Error::none &&
      signals::register_softirq(kSoftirq, [] { run(softirq); });
  return done;
}

// f() in a handler: here and now, or when it is let in.
inline void arrive(Handler h, void (*f)()) {
  bodies[h].store(f, kRelaxed);
  if (h == probe)
    hosted::as_level(hosted::TsanLevel::probe, [] { run(probe); });
  else
    std::raise(h == nmi ? SIGUSR2 : SIGUSR1);
}

// ---- what they share ----------------------------------------------------------------------------

inline long number;
[[gnu::noinline]] inline void add() { number = number + 1; }

template <class K>
struct Locks {
  static inline constinit BasicRawSpinLock<K> raw{};
  static inline constinit BasicTrySpinLock<K> lock{};
};

template <class K>
void try_add() {
  if (TryGuard g(Locks<K>::lock); g) add();
}

template <class P>
struct Masked {
  const typename P::IrqState saved = P::irq_save();
  Masked() = default;
  ~Masked() { P::irq_restore(saved); }
  Masked(const Masked&) = delete;
  Masked& operator=(const Masked&) = delete;
};
template <class P>
void add_masked() {
  const Masked<P> section;
  add();
}
template <class P>
void add_with_bh_off() {
  P::bh_disable();
  add();
  P::bh_enable();
}

template <class K, Handler kHandler>
void tried() {
  for (int i = 0; i < 2; ++i) {
    if (TryGuard g(Locks<K>::lock); g) {
      add();
      arrive(kHandler, try_add<K>);  // refused
      add();
    }
    arrive(kHandler, try_add<K>);  // granted, but on PREEMPT_RT in an irq and an nmi
  }
}

// What the standard lets a thread share with its own handlers. This file is compiled with
// --param=tsan-distinguish-volatile=1.
inline volatile std::sig_atomic_t flag;
inline volatile long wider;
[[gnu::noinline]] inline void add_to_flag() { flag = flag + 1; }
[[gnu::noinline]] inline void add_to_wider() { wider = wider + 1; }

// ---- a case -------------------------------------------------------------------------------------

struct Case {
  const char* name;
  Handler handler;  // which must have run
  void (*body)();
  friend void PrintTo(const Case& c, std::ostream* os) { *os << c.name; }
};

// Registered in the child only: with fibres a process has threads to the tool, and after the fork
// of such a one it says nothing any more.
[[noreturn]] inline void run_case(const Case& c) {
  const rlimit no_core{0, 0};
  setrlimit(RLIMIT_CORE, &no_core);
  const rlimit time{20, 20};  // of the processor's: a broken wait spins
  setrlimit(RLIMIT_CPU, &time);
  prctl(PR_SET_PDEATHSIG, SIGKILL);  // or sleeps
  if (!register_all()) _exit(1);
  c.body();
  _exit(runs[c.handler].load(kRelaxed) != 0 ? 0 : 1);  // a report ends it before, with 66
}

}  // namespace nestlock::tsan_cases
