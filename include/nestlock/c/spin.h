// C: the spinlocks. Three families of the same functions:
//
//   nestlock_raw_spin_*   nestlock_raw_spinlock_t   spins in every configuration
//   nestlock_spin_*       nestlock_spinlock_t       the same; on PREEMPT_RT it sleeps
//   nestlock_tryspin_*    nestlock_spin_trylock_t   its trylock tells the truth to every context
//
// nestlock_FAMILY_lock_init   prepares a lock that no static initialiser prepared. Any context;
//     nobody else may use the lock meanwhile.
//
// nestlock_FAMILY_lock   waits until the caller owns the lock. Task, softirq, hardirq; not NMI (on
//     PREEMPT_RT the families spin and tryspin: task only, and it may sleep). An interrupt handler
//     may lock only what all other users lock by the _irqsave or _irq form. A wait that can never
//     end goes to the report sink and stops the program: tryspin on one CPU, by a handler that
//     interrupted the holder; in debug configurations every such wait. Acquire order. Preemption is
//     off until the unlock (where the lock sleeps: the task stays on its CPU).
//
// nestlock_FAMILY_trylock   true: the caller owns the lock (acquire order). false: it does not, and
//     no byte of the lock has changed. Never waits.
//     tryspin: any context. false only if the lock is held, also by the code that the caller
//     interrupted on this CPU, or if the context may not own it (PREEMPT_RT: hardirq, NMI).
//     raw_spin, spin: any context (spin on PREEMPT_RT: task and softirq). But on one CPU without
//     debug they have no state: a handler that interrupted the holder is answered true, and two
//     owners run. Where that can happen take tryspin.
//
// nestlock_FAMILY_unlock   by who locked, in the context that did. Release order.
//
// *_irqsave, *_irqrestore   mask irqs, then lock; unlock, then restore. *flags is a variable of the
//     caller's own. A failed trylock has restored irqs already. Where the lock sleeps irqs stay on,
//     and *flags becomes 0.
//
// *_irq   the same without memory: the unlock and a failed trylock enable irqs, whatever they were.
// *_bh    no softirq on this CPU meanwhile. Both need lib/c/c_irq_bh.cc, which a bare port may
// lack.
//
// nestlock_FAMILY_is_locked, _is_contended   whether somebody holds the lock, or waits for it: a
//     snapshot without order. Of a lock without state always false.
//
// nestlock_assert_FAMILY_locked   debug configurations report unless the caller holds the lock;
//     others do nothing.
//
// Cost: that of the C++ class, which its header says, and one call. A debug configuration checks
// every call and reports a misuse with what and where (file and line of the call in C).
#pragma once

#include "nestlock/c/types.h"

NESTLOCK_C_BEGIN

// ---- nestlock_raw_spinlock_t ----
// Spins in every configuration.

void nestlock_raw_spin_lock_init(nestlock_raw_spinlock_t *lock NESTLOCK_PLACE)
    NESTLOCK_SYMBOL("raw_spin_lock_init");

void nestlock_raw_spin_lock(nestlock_raw_spinlock_t *lock NESTLOCK_PLACE)
    NESTLOCK_SYMBOL("raw_spin_lock");
bool nestlock_raw_spin_trylock(nestlock_raw_spinlock_t *lock NESTLOCK_PLACE)
    NESTLOCK_SYMBOL("raw_spin_trylock") NESTLOCK_MUST_CHECK;
void nestlock_raw_spin_unlock(nestlock_raw_spinlock_t *lock NESTLOCK_PLACE)
    NESTLOCK_SYMBOL("raw_spin_unlock");

void nestlock_raw_spin_lock_irqsave(nestlock_raw_spinlock_t *lock,
                                    nestlock_irqflags_t *flags NESTLOCK_PLACE)
    NESTLOCK_SYMBOL("raw_spin_lock_irqsave");
bool nestlock_raw_spin_trylock_irqsave(nestlock_raw_spinlock_t *lock,
                                       nestlock_irqflags_t *flags NESTLOCK_PLACE)
    NESTLOCK_SYMBOL("raw_spin_trylock_irqsave") NESTLOCK_MUST_CHECK;
void nestlock_raw_spin_unlock_irqrestore(nestlock_raw_spinlock_t *lock,
                                         nestlock_irqflags_t flags NESTLOCK_PLACE)
    NESTLOCK_SYMBOL("raw_spin_unlock_irqrestore");

void nestlock_raw_spin_lock_irq(nestlock_raw_spinlock_t *lock NESTLOCK_PLACE)
    NESTLOCK_SYMBOL("raw_spin_lock_irq");
bool nestlock_raw_spin_trylock_irq(nestlock_raw_spinlock_t *lock NESTLOCK_PLACE)
    NESTLOCK_SYMBOL("raw_spin_trylock_irq") NESTLOCK_MUST_CHECK;
void nestlock_raw_spin_unlock_irq(nestlock_raw_spinlock_t *lock NESTLOCK_PLACE)
    NESTLOCK_SYMBOL("raw_spin_unlock_irq");

void nestlock_raw_spin_lock_bh(nestlock_raw_spinlock_t *lock NESTLOCK_PLACE)
    NESTLOCK_SYMBOL("raw_spin_lock_bh");
bool nestlock_raw_spin_trylock_bh(nestlock_raw_spinlock_t *lock NESTLOCK_PLACE)
    NESTLOCK_SYMBOL("raw_spin_trylock_bh") NESTLOCK_MUST_CHECK;
void nestlock_raw_spin_unlock_bh(nestlock_raw_spinlock_t *lock NESTLOCK_PLACE)
    NESTLOCK_SYMBOL("raw_spin_unlock_bh");

bool nestlock_raw_spin_is_locked(const nestlock_raw_spinlock_t *lock)
    NESTLOCK_SYMBOL("raw_spin_is_locked");
bool nestlock_raw_spin_is_contended(const nestlock_raw_spinlock_t *lock)
    NESTLOCK_SYMBOL("raw_spin_is_contended");
void nestlock_assert_raw_spin_locked(const nestlock_raw_spinlock_t *lock NESTLOCK_PLACE)
    NESTLOCK_SYMBOL("assert_raw_spin_locked");

// ---- nestlock_spinlock_t ----
// Spins; on PREEMPT_RT sleeps, and the owner inherits the priority of who waits.

void nestlock_spin_lock_init(nestlock_spinlock_t *lock NESTLOCK_PLACE)
    NESTLOCK_SYMBOL("spin_lock_init");

void nestlock_spin_lock(nestlock_spinlock_t *lock NESTLOCK_PLACE) NESTLOCK_SYMBOL("spin_lock");
bool nestlock_spin_trylock(nestlock_spinlock_t *lock NESTLOCK_PLACE)
    NESTLOCK_SYMBOL("spin_trylock") NESTLOCK_MUST_CHECK;
void nestlock_spin_unlock(nestlock_spinlock_t *lock NESTLOCK_PLACE) NESTLOCK_SYMBOL("spin_unlock");

void nestlock_spin_lock_irqsave(nestlock_spinlock_t *lock,
                                nestlock_irqflags_t *flags NESTLOCK_PLACE)
    NESTLOCK_SYMBOL("spin_lock_irqsave");
bool nestlock_spin_trylock_irqsave(nestlock_spinlock_t *lock,
                                   nestlock_irqflags_t *flags NESTLOCK_PLACE)
    NESTLOCK_SYMBOL("spin_trylock_irqsave") NESTLOCK_MUST_CHECK;
void nestlock_spin_unlock_irqrestore(nestlock_spinlock_t *lock,
                                     nestlock_irqflags_t flags NESTLOCK_PLACE)
    NESTLOCK_SYMBOL("spin_unlock_irqrestore");

void nestlock_spin_lock_irq(nestlock_spinlock_t *lock NESTLOCK_PLACE)
    NESTLOCK_SYMBOL("spin_lock_irq");
bool nestlock_spin_trylock_irq(nestlock_spinlock_t *lock NESTLOCK_PLACE)
    NESTLOCK_SYMBOL("spin_trylock_irq") NESTLOCK_MUST_CHECK;
void nestlock_spin_unlock_irq(nestlock_spinlock_t *lock NESTLOCK_PLACE)
    NESTLOCK_SYMBOL("spin_unlock_irq");

void nestlock_spin_lock_bh(nestlock_spinlock_t *lock NESTLOCK_PLACE)
    NESTLOCK_SYMBOL("spin_lock_bh");
bool nestlock_spin_trylock_bh(nestlock_spinlock_t *lock NESTLOCK_PLACE)
    NESTLOCK_SYMBOL("spin_trylock_bh") NESTLOCK_MUST_CHECK;
void nestlock_spin_unlock_bh(nestlock_spinlock_t *lock NESTLOCK_PLACE)
    NESTLOCK_SYMBOL("spin_unlock_bh");

bool nestlock_spin_is_locked(const nestlock_spinlock_t *lock) NESTLOCK_SYMBOL("spin_is_locked");
bool nestlock_spin_is_contended(const nestlock_spinlock_t *lock)
    NESTLOCK_SYMBOL("spin_is_contended");
void nestlock_assert_spin_locked(const nestlock_spinlock_t *lock NESTLOCK_PLACE)
    NESTLOCK_SYMBOL("assert_spin_locked");

// ---- nestlock_spin_trylock_t ----
// As spin, and the trylock is right in every context.

void nestlock_tryspin_lock_init(nestlock_spin_trylock_t *lock NESTLOCK_PLACE)
    NESTLOCK_SYMBOL("tryspin_lock_init");

void nestlock_tryspin_lock(nestlock_spin_trylock_t *lock NESTLOCK_PLACE)
    NESTLOCK_SYMBOL("tryspin_lock");
bool nestlock_tryspin_trylock(nestlock_spin_trylock_t *lock NESTLOCK_PLACE)
    NESTLOCK_SYMBOL("tryspin_trylock") NESTLOCK_MUST_CHECK;
void nestlock_tryspin_unlock(nestlock_spin_trylock_t *lock NESTLOCK_PLACE)
    NESTLOCK_SYMBOL("tryspin_unlock");

void nestlock_tryspin_lock_irqsave(nestlock_spin_trylock_t *lock,
                                   nestlock_irqflags_t *flags NESTLOCK_PLACE)
    NESTLOCK_SYMBOL("tryspin_lock_irqsave");
bool nestlock_tryspin_trylock_irqsave(nestlock_spin_trylock_t *lock,
                                      nestlock_irqflags_t *flags NESTLOCK_PLACE)
    NESTLOCK_SYMBOL("tryspin_trylock_irqsave") NESTLOCK_MUST_CHECK;
void nestlock_tryspin_unlock_irqrestore(nestlock_spin_trylock_t *lock,
                                        nestlock_irqflags_t flags NESTLOCK_PLACE)
    NESTLOCK_SYMBOL("tryspin_unlock_irqrestore");

void nestlock_tryspin_lock_irq(nestlock_spin_trylock_t *lock NESTLOCK_PLACE)
    NESTLOCK_SYMBOL("tryspin_lock_irq");
bool nestlock_tryspin_trylock_irq(nestlock_spin_trylock_t *lock NESTLOCK_PLACE)
    NESTLOCK_SYMBOL("tryspin_trylock_irq") NESTLOCK_MUST_CHECK;
void nestlock_tryspin_unlock_irq(nestlock_spin_trylock_t *lock NESTLOCK_PLACE)
    NESTLOCK_SYMBOL("tryspin_unlock_irq");

void nestlock_tryspin_lock_bh(nestlock_spin_trylock_t *lock NESTLOCK_PLACE)
    NESTLOCK_SYMBOL("tryspin_lock_bh");
bool nestlock_tryspin_trylock_bh(nestlock_spin_trylock_t *lock NESTLOCK_PLACE)
    NESTLOCK_SYMBOL("tryspin_trylock_bh") NESTLOCK_MUST_CHECK;
void nestlock_tryspin_unlock_bh(nestlock_spin_trylock_t *lock NESTLOCK_PLACE)
    NESTLOCK_SYMBOL("tryspin_unlock_bh");

bool nestlock_tryspin_is_locked(const nestlock_spin_trylock_t *lock)
    NESTLOCK_SYMBOL("tryspin_is_locked");
bool nestlock_tryspin_is_contended(const nestlock_spin_trylock_t *lock)
    NESTLOCK_SYMBOL("tryspin_is_contended");
void nestlock_assert_tryspin_locked(const nestlock_spin_trylock_t *lock NESTLOCK_PLACE)
    NESTLOCK_SYMBOL("assert_tryspin_locked");

NESTLOCK_C_END
