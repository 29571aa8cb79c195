/* Concurrency Kit's spinlocks, one of each, behind functions: its headers are C alone. */
#pragma once

/* Debian's libck-dev, which ./nest setup --peers installs. */
#if __has_include(<ck_spinlock.h>)
#define NESTLOCK_BENCH_CK 1
#else
#define NESTLOCK_BENCH_CK 0
#endif

#ifdef __cplusplus
extern "C" {
#endif
void bench_ck_fas_lock(void);
void bench_ck_fas_unlock(void);
void bench_ck_ticket_lock(void);
void bench_ck_ticket_unlock(void);
void bench_ck_mcs_lock(void);
void bench_ck_mcs_unlock(void);
void bench_ck_clh_lock(void);
void bench_ck_clh_unlock(void);
#ifdef __cplusplus
}
#endif
