// C: where the code runs, and what may come between. lib/c/c_locks.cc has the bodies, those marked
// (*) are in lib/c/c_irq_bh.cc, which needs a port with irq_disable() and bottom halves: a bare
// port need not have them.
#pragma once

#include "nestlock/c/types.h"

// How many CPUs there are, and elements of per-CPU data. On one CPU 1; else -DNESTLOCK_MAX_CPUS=<n>, 64 by
// default. (On a bare port it must be nestlock_bare::kMaxCpus; lib/c does not compile if it is not.)
#define NESTLOCK_CPUS NESTLOCK_IF_SMP(NESTLOCK_MAX_CPUS, 1)

NESTLOCK_C_BEGIN

// Between the two no other task runs on this CPU; interrupts still come. Any context. They nest. A
// section must not sleep. A count up and down.
void nestlock_preempt_disable(void) NESTLOCK_SYMBOL("preempt_disable");
void nestlock_preempt_enable(void) NESTLOCK_SYMBOL("preempt_enable");

// Masks irqs on this CPU (never NMIs) and says in *flags what it was; restore goes back to that and
// runs, before it returns, what came meanwhile. Any context. They nest. No system call on the
// hosted port.
void nestlock_local_irq_save(nestlock_irqflags_t *flags) NESTLOCK_SYMBOL("local_irq_save");
void nestlock_local_irq_restore(nestlock_irqflags_t flags) NESTLOCK_SYMBOL("local_irq_restore");

// (*) The same without memory: enable unmasks, also inside a section of another. Not in an NMI.
void nestlock_local_irq_disable(void) NESTLOCK_SYMBOL("local_irq_disable");
void nestlock_local_irq_enable(void) NESTLOCK_SYMBOL("local_irq_enable");
bool nestlock_irqs_disabled(void) NESTLOCK_SYMBOL("irqs_disabled");

// (*) Between the two no softirq runs on this CPU. Task and softirq. They nest. Those raised
// meanwhile run before enable returns.
void nestlock_local_bh_disable(void) NESTLOCK_SYMBOL("local_bh_disable");
void nestlock_local_bh_enable(void) NESTLOCK_SYMBOL("local_bh_enable");

// The innermost interrupt level: exactly one of the four is true. A probe, or a signal handler that
// nobody registered, is where the code is that it interrupted. Any context; a load or two.
bool nestlock_in_task(void) NESTLOCK_SYMBOL("in_task");
bool nestlock_in_serving_softirq(void) NESTLOCK_SYMBOL("in_serving_softirq");
bool nestlock_in_hardirq(void) NESTLOCK_SYMBOL("in_hardirq");
bool nestlock_in_nmi(void) NESTLOCK_SYMBOL("in_nmi");

// Whether a nestlock_spin_trylock_t may be taken in this context at all: false on PREEMPT_RT in
// hardirq and NMI, else true. Any context.
bool nestlock_can_spin_trylock(void) NESTLOCK_SYMBOL("can_spin_trylock");

// This CPU, 0 .. NESTLOCK_CPUS-1, valid while the caller stays on it (preemption off, a lock held,
// in an interrupt). NESTLOCK_CPUS on the hosted port for a thread that has no virtual CPU because
// there are more threads than CPUs. Any context.
unsigned nestlock_smp_processor_id(void) NESTLOCK_CPU_SYMBOL("smp_processor_id");

NESTLOCK_C_END
