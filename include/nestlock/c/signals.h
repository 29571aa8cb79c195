// C: signals as interrupts, on the hosted port. Bodies: lib/c/c_signals.cc, over lib/port. The
// rules for programs (handlers return; masks nest) stand in nestlock/signals.h.
//
// Of <signal.h> nothing is needed here, since a strict C99 mode hides its POSIX part: `info` is the
// handler's siginfo_t *, `context` its ucontext_t *, a set a sigset_t *.
#pragma once

#include "nestlock/c/types.h"

typedef void (*nestlock_handler_t)(int signo, void *info, void *context);

// What a registration answers. (In the order of nestlock::signals::Error.)
typedef enum nestlock_signal_error_t {
  NESTLOCK_SIGNAL_OK = 0,
  NESTLOCK_SIGNAL_NOT_A_SIGNAL,  // out of 1..64, or one that the C library keeps for itself
  NESTLOCK_SIGNAL_UNMASKABLE,    // SIGKILL, SIGSTOP
  NESTLOCK_SIGNAL_FAULT,      // SEGV, BUS, FPE, ILL, TRAP, SYS as irq: a fault cannot be deferred
  NESTLOCK_SIGNAL_TAKEN,      // registered already
  NESTLOCK_SIGNAL_NOT_TAKEN,  // unregister of one that is not registered
  NESTLOCK_SIGNAL_REFUSED,    // the kernel said no; errno tells
  NESTLOCK_SIGNAL_NO_HANDLER  // null
} nestlock_signal_error_t;

#define NESTLOCK_MAX_SOFTIRQS 32u

// Counts since the start, of all threads.
typedef struct nestlock_signal_stats_t {
  uint64_t irqs, nmis, softirqs;  // handlers run
  uint64_t held_back;             // arrivals while masked
  uint64_t requeued;              // of these, sent to the kernel again for want of a slot
  uint64_t lost;                  // of these, refused by the kernel (RLIMIT_SIGPENDING)
  uint64_t forwarded;             // to the one thread of a uniprocessor configuration
} nestlock_signal_stats_t;

NESTLOCK_C_BEGIN

// From now on `handler` runs in hardirq context, and the _irqsave forms mask it (register_irq); or
// in NMI context, inside any section (register_nmi). Task. For all threads. A handler that was
// installed before is called after ours. On one CPU the caller's thread becomes the one that may
// use the library.
nestlock_signal_error_t nestlock_register_irq(int signo, nestlock_handler_t handler)
    NESTLOCK_SYMBOL("register_irq") NESTLOCK_MUST_CHECK;
nestlock_signal_error_t nestlock_register_nmi(int signo, nestlock_handler_t handler)
    NESTLOCK_SYMBOL("register_nmi") NESTLOCK_MUST_CHECK;
// Puts the previous handler back. Task. Arrivals still held back are dropped.
nestlock_signal_error_t nestlock_unregister_signal(int signo) NESTLOCK_SYMBOL("unregister_signal");
// In words, for a message. Any context.
const char *nestlock_signal_error_name(nestlock_signal_error_t error)
    NESTLOCK_SYMBOL("signal_error_name");

// Softirq `nr` < NESTLOCK_MAX_SOFTIRQS: `run` is called when an irq handler exits, or bottom halves
// or irqs are enabled again, on the CPU that raised it. register: task; false if nr is too large.
// raise: any context (in an NMI it waits for the next chance).
bool nestlock_register_softirq(unsigned nr, void (*run)(void)) NESTLOCK_SYMBOL("register_softirq");
void nestlock_raise_softirq(unsigned nr) NESTLOCK_SYMBOL("raise_softirq");

// Task, irqs masked by one local_irq_save: enables them, sleeps until an irq handler ran, masks
// them again. No wake-up between the look at a condition and the sleep is lost.
void nestlock_wait_irq(void) NESTLOCK_SYMBOL("wait_irq");

// pthread_sigmask() on the mask as the program sees it: `set` and `old` are sigset_t *, may be
// NULL. 0 or an errno. Task.
int nestlock_set_signal_mask(int how, const void *set, void *old)
    NESTLOCK_SYMBOL("set_signal_mask");

void nestlock_signal_stats(nestlock_signal_stats_t *stats) NESTLOCK_SYMBOL("signal_stats");

// Where findings go, instead of standard error: `text` is what is printed, some lines; `fatal`: the
// program stops after the sink returns. NULL: standard error again. The sink runs in the context
// that found it, NMI included. Any context.
void nestlock_set_report_sink(void (*sink)(const char *text, bool fatal))
    NESTLOCK_SYMBOL("set_report_sink");

NESTLOCK_C_END
