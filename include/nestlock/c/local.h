// C: per-CPU data and the local locks that guard it.
//
// Per-CPU data is an array with one element for each CPU:
//
//   struct cache {
//     nestlock_local_trylock_t lock;
//     unsigned hits;
//   } NESTLOCK_PER_CPU;
//   NESTLOCK_DEFINE_PER_CPU(static struct cache, caches, {NESTLOCK_LOCAL_TRYLOCK_INIT, 0});
//
//   struct cache *c = nestlock_trylocal_trylock(caches, lock);   // this CPU's, locked, or NULL
//   if (c) {
//     ++c->hits;
//     nestlock_trylocal_unlock(&c->lock);
//   }
//
// The functions that lock take the array and the name of the member, because the order matters:
// they first see to it that the task stays on its CPU, then pick the element, then lock. With
// another order the task could be moved in between and hold a lock that is not its CPU's.
//
// In C++ use PerCpu<T>: NESTLOCK_DEFINE_PER_CPU is for C. An array in memory from elsewhere takes
// NESTLOCK_CPUS elements, each lock of which is prepared by its nestlock_*_lock_init().
#pragma once

#include "nestlock/c/context.h"

// Behind a struct's closing brace: on several CPUs each element has cache lines of its own, or the
// CPUs would slow one another; on one CPU nothing.
#define NESTLOCK_INTERNAL_OWN_LINES __attribute__((aligned(64)))
#define NESTLOCK_PER_CPU NESTLOCK_IF_SMP(NESTLOCK_INTERNAL_OWN_LINES, )

// Defines the array `name` of `type` (which may begin with `static`), each element initialised by
// what follows. Another file sees it by `extern struct cache caches[NESTLOCK_CPUS];`. (A range of
// designators is older than C99's single ones, and not in any standard.)
#define NESTLOCK_DEFINE_PER_CPU(type, name, ...) \
  __extension__ type name[NESTLOCK_CPUS] = {[0 ... NESTLOCK_CPUS - 1] = __VA_ARGS__}

// This CPU's element, while the caller stays on its CPU (see nestlock_smp_processor_id()).
#define nestlock_this_cpu_ptr(all) (&(all)[nestlock_smp_processor_id()])

// Arguments of the functions below for (array, member); and their answer as the element's type.
#define NESTLOCK_INTERNAL_IN(all, member) (all), &(all)->member, sizeof *(all)
#define NESTLOCK_INTERNAL_ELEMENT(all, call) ((__typeof__(&(all)[0]))call)

NESTLOCK_C_BEGIN

// ---- nestlock_local_lock_t: only ever locked ----
//
//   nestlock_local_lock(all, member)                    this CPU's element, locked
//   nestlock_local_lock_irqsave(all, member, &flags)    the same, with irqs masked before
//   nestlock_local_lock_irq(all, member)                (*) the same, without memory
//
// Not PREEMPT_RT: task, softirq, hardirq; preemption is off until unlock, and the lock has no other
// effect. PREEMPT_RT: task; may sleep; irqs stay on. There is no trylock. An interrupt that uses
// the data, too, needs the irqsave form in all users; NMIs may not. (*) needs lib/c/c_irq_bh.cc. A
// hosted thread without a virtual CPU has no element: that is reported (no_cpu) and stops the
// program.
//
// unlock takes the element's lock: nestlock_local_unlock(&c->lock). By who locked, on the same CPU.

void nestlock_local_lock_init(nestlock_local_lock_t *lock NESTLOCK_PLACE)
    NESTLOCK_CPU_SYMBOL("local_lock_init");
void *nestlock_local_lock_in(void *all, nestlock_local_lock_t *first, size_t size NESTLOCK_PLACE)
    NESTLOCK_CPU_SYMBOL("local_lock") NESTLOCK_MUST_CHECK;
void *nestlock_local_lock_irqsave_in(void *all, nestlock_local_lock_t *first, size_t size,
                                     nestlock_irqflags_t *flags NESTLOCK_PLACE)
    NESTLOCK_CPU_SYMBOL("local_lock_irqsave") NESTLOCK_MUST_CHECK;
void *nestlock_local_lock_irq_in(void *all, nestlock_local_lock_t *first,
                                 size_t size NESTLOCK_PLACE)
    NESTLOCK_CPU_SYMBOL("local_lock_irq") NESTLOCK_MUST_CHECK;
void nestlock_local_unlock(nestlock_local_lock_t *lock NESTLOCK_PLACE)
    NESTLOCK_CPU_SYMBOL("local_unlock");
void nestlock_local_unlock_irqrestore(nestlock_local_lock_t *lock,
                                      nestlock_irqflags_t flags NESTLOCK_PLACE)
    NESTLOCK_CPU_SYMBOL("local_unlock_irqrestore");
void nestlock_local_unlock_irq(nestlock_local_lock_t *lock NESTLOCK_PLACE)
    NESTLOCK_CPU_SYMBOL("local_unlock_irq");

// For data that only bottom halves, and code with bottom halves disabled, use: the caller has
// disabled them (reported in debug) and passes this CPU's element's lock,
// &nestlock_this_cpu_ptr(all)->lock. Not PREEMPT_RT: takes nothing. PREEMPT_RT: takes the lock. (*)
void nestlock_local_lock_nested_bh(nestlock_local_lock_t *lock NESTLOCK_PLACE)
    NESTLOCK_CPU_SYMBOL("local_lock_nested_bh");
void nestlock_local_unlock_nested_bh(nestlock_local_lock_t *lock NESTLOCK_PLACE)
    NESTLOCK_CPU_SYMBOL("local_unlock_nested_bh");

// ---- nestlock_local_trylock_t: interrupting contexts may try ----
//
//   nestlock_trylocal_lock(all, member)                     this CPU's element, locked
//   nestlock_trylocal_trylock(all, member)                  the same, or NULL
//   nestlock_trylocal_lock_irqsave(all, member, &flags)     as above, with irqs masked before
//   nestlock_trylocal_trylock_irqsave(all, member, &flags)  irqs are restored already if it is NULL
//   nestlock_trylocal_lock_irq(all, member)                 (*)
//
// lock: as nestlock_local_lock(); by a handler that interrupted the holder on its CPU it could
// never return, which is reported (never_returns) and stops the program. trylock: any context. NULL
// only if this CPU's is held, or the context may not own it (PREEMPT_RT: hardirq, NMI), or the
// thread has no virtual CPU; nothing has changed then. A refusal lasts for the whole interruption.
// Never waits; without PREEMPT_RT no atomic read-modify-write.

void nestlock_trylocal_lock_init(nestlock_local_trylock_t *lock NESTLOCK_PLACE)
    NESTLOCK_CPU_SYMBOL("trylocal_lock_init");
void *nestlock_trylocal_lock_in(void *all, nestlock_local_trylock_t *first,
                                size_t size NESTLOCK_PLACE)
    NESTLOCK_CPU_SYMBOL("trylocal_lock") NESTLOCK_MUST_CHECK;
void *nestlock_trylocal_trylock_in(void *all, nestlock_local_trylock_t *first,
                                   size_t size NESTLOCK_PLACE)
    NESTLOCK_CPU_SYMBOL("trylocal_trylock") NESTLOCK_MUST_CHECK;
void *nestlock_trylocal_lock_irqsave_in(void *all, nestlock_local_trylock_t *first, size_t size,
                                        nestlock_irqflags_t *flags NESTLOCK_PLACE)
    NESTLOCK_CPU_SYMBOL("trylocal_lock_irqsave") NESTLOCK_MUST_CHECK;
void *nestlock_trylocal_trylock_irqsave_in(void *all, nestlock_local_trylock_t *first, size_t size,
                                           nestlock_irqflags_t *flags NESTLOCK_PLACE)
    NESTLOCK_CPU_SYMBOL("trylocal_trylock_irqsave") NESTLOCK_MUST_CHECK;
void *nestlock_trylocal_lock_irq_in(void *all, nestlock_local_trylock_t *first,
                                    size_t size NESTLOCK_PLACE)
    NESTLOCK_CPU_SYMBOL("trylocal_lock_irq") NESTLOCK_MUST_CHECK;
void nestlock_trylocal_unlock(nestlock_local_trylock_t *lock NESTLOCK_PLACE)
    NESTLOCK_CPU_SYMBOL("trylocal_unlock");
void nestlock_trylocal_unlock_irqrestore(nestlock_local_trylock_t *lock,
                                         nestlock_irqflags_t flags NESTLOCK_PLACE)
    NESTLOCK_CPU_SYMBOL("trylocal_unlock_irqrestore");
void nestlock_trylocal_unlock_irq(nestlock_local_trylock_t *lock NESTLOCK_PLACE)
    NESTLOCK_CPU_SYMBOL("trylocal_unlock_irq");

// Whether a lock by the caller would be a recursion: this CPU (PREEMPT_RT: this task) holds it.
// Takes this CPU's element's lock. Any context.
bool nestlock_trylocal_is_locked(const nestlock_local_trylock_t *lock)
    NESTLOCK_CPU_SYMBOL("trylocal_is_locked");

NESTLOCK_C_END
