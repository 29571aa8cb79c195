/* What c_face_test.cc calls in calls.c: C99 functions that use the C face as a program would. Each
   check returns NULL, or what was wrong and where. */
#ifndef NESTLOCK_TEST_C_CALLS_H
#define NESTLOCK_TEST_C_CALLS_H

#include "nestlock/c.h"

#ifdef __cplusplus
extern "C" {
#endif

/* A lock of each type, initialised statically, a line each; and the first's line. */
extern nestlock_raw_spinlock_t static_raw_spin;
extern nestlock_spinlock_t static_spin;
extern nestlock_spin_trylock_t static_tryspin;
extern nestlock_local_lock_t static_local;
extern nestlock_local_trylock_t static_trylocal;
extern const unsigned static_line;

/* The same, initialised by calls, a line each; answers the first's line. */
struct made {
  nestlock_raw_spinlock_t raw_spin;
  nestlock_spinlock_t spin;
  nestlock_spin_trylock_t tryspin;
  nestlock_local_lock_t local;
  nestlock_local_trylock_t trylocal;
};
unsigned make_all(struct made *made);

/* The sizes and alignments that C sees, in the order of the types above. */
struct layout {
  size_t size, alignment;
};
extern const struct layout layouts[5];

const char *check_contexts(void);
const char *check_raw_spin(void);
const char *check_spin(void);
const char *check_tryspin(void);
const char *check_local(void);
const char *check_trylocal(void);
const char *check_pages(void);
const char *check_kmalloc(void);
const char *check_caches(void);
const char *check_bad_signals(void);
const char *check_softirq(void);
const char *check_masked_arrival(void);

/* A handler tries each promising lock, held and free, and allocates: as an irq and as an NMI. */
const char *check_handler(bool nmi, bool sleeps);

/* Debug: a misuse, and the line of the call, which the report must name. */
unsigned unlock_a_free_lock(void);
unsigned free_twice(void);

#ifdef __cplusplus
}
#endif

#endif
