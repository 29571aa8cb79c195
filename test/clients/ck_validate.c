/* Concurrency Kit's own test of spinlocks over ours: the macros of its validation program are one
 * lock of ours, called through ck_lock.cc. */
#include <stdbool.h>

void client_lock(void);
bool client_trylock(void);
void client_unlock(void);
bool client_locked(void);

#define LOCK_NAME "nestlock"
#define LOCK_DEFINE struct client_lock_is_in_ck_lock_cc
#define LOCK client_lock()
#define TRYLOCK client_trylock()
#define UNLOCK client_unlock()
#define LOCKED client_locked()

#include "validate.h"
