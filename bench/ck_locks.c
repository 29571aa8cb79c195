#include "ck_locks.h"

#if NESTLOCK_BENCH_CK
#include <ck_spinlock.h>
#include <stdlib.h>

#define ALONE __attribute__((aligned(128))) static

ALONE ck_spinlock_fas_t fas = CK_SPINLOCK_FAS_INITIALIZER;
void bench_ck_fas_lock(void) { ck_spinlock_fas_lock(&fas); }
void bench_ck_fas_unlock(void) { ck_spinlock_fas_unlock(&fas); }

ALONE ck_spinlock_ticket_t ticket = CK_SPINLOCK_TICKET_INITIALIZER;
void bench_ck_ticket_lock(void) { ck_spinlock_ticket_lock(&ticket); }
void bench_ck_ticket_unlock(void) { ck_spinlock_ticket_unlock(&ticket); }

/* A node for each thread. */
ALONE ck_spinlock_mcs_t mcs = CK_SPINLOCK_MCS_INITIALIZER;
static __thread __attribute__((aligned(64))) ck_spinlock_mcs_context_t mcs_node;
void bench_ck_mcs_lock(void) { ck_spinlock_mcs_lock(&mcs, &mcs_node); }
void bench_ck_mcs_unlock(void) { ck_spinlock_mcs_unlock(&mcs, &mcs_node); }

/* A node goes from thread to thread; those of threads that are gone are never given back. */
ALONE ck_spinlock_clh_t clh_first;
ALONE ck_spinlock_clh_t *clh = &clh_first;
static __thread ck_spinlock_clh_t *clh_node;
void bench_ck_clh_lock(void) {
  if (!clh_node && !(clh_node = aligned_alloc(128, 128))) abort();
  ck_spinlock_clh_lock(&clh, clh_node);
}
void bench_ck_clh_unlock(void) { ck_spinlock_clh_unlock(&clh_node); }
#else
typedef int no_concurrency_kit_here;
#endif
