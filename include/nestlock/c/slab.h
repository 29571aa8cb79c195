// C: kmalloc and its kin, and caches of objects of one size, from the program's own slab allocator
// (in C++: system_slab()). Bodies: lib/c/c_slab.cc.
//
// Contexts, where nothing else is said: those of nestlock_alloc_pages(). *_nolock: any context, NMI
// and probes included; never spins, bounded work.
#pragma once

#include "nestlock/c/pages.h"

typedef struct nestlock_kmem_cache_t nestlock_kmem_cache_t;

// Flags of a cache. (Combined by `|`.)
typedef uint32_t nestlock_slab_flags_t;
#define NESTLOCK_SLAB_NONE ((nestlock_slab_flags_t)0)
#define NESTLOCK_SLAB_NO_SHEAVES ((nestlock_slab_flags_t)1)  // no per-CPU cache of free objects
#define NESTLOCK_SLAB_DEBUG \
  ((nestlock_slab_flags_t)2)  // red zones, poison, owners: slow, sees misuse
#define NESTLOCK_SLAB_HARDENED \
  ((nestlock_slab_flags_t)4)  // sees each interior pointer and each second free

// Which allocator's locked section a handler interrupted: see nestlock_interrupted_floor().
typedef enum nestlock_floor_t {
  NESTLOCK_FLOOR_NONE = 0,
  NESTLOCK_FLOOR_PAGE = 1,
  NESTLOCK_FLOOR_SLAB = 2
} nestlock_floor_t;

NESTLOCK_C_BEGIN

// ---- kmalloc ----

// `size` bytes, NULL if there are none. 8 bytes aligned; a power of two is aligned to itself. More than the
// largest class, which is 8 KiB or more (13056 bytes on the hosted port), are whole pages. Size 0 gives an address
// that must not be used and may be freed. Fast path: no atomic read-modify-write, no system call.
void *nestlock_kmalloc(size_t size, nestlock_gfp_t flags NESTLOCK_PLACE)
    NESTLOCK_PAGE_SYMBOL("kmalloc") NESTLOCK_MUST_CHECK;
void *nestlock_kzalloc(size_t size, nestlock_gfp_t flags NESTLOCK_PLACE)
    NESTLOCK_PAGE_SYMBOL("kzalloc") NESTLOCK_MUST_CHECK;
// The contents up to the smaller size are kept; NULL: `object` is as it was.
void *nestlock_krealloc(void *object, size_t size, nestlock_gfp_t flags NESTLOCK_PLACE)
    NESTLOCK_PAGE_SYMBOL("krealloc") NESTLOCK_MUST_CHECK;
// Of all the calls above and below alike; NULL does nothing. false: no object of this allocator, or
// free already where that is seen; nothing has changed (reported in debug).
bool nestlock_kfree(const void *object NESTLOCK_PLACE) NESTLOCK_PAGE_SYMBOL("kfree");
// kfree() of what was asked for with `size`; debug configurations report another size.
bool nestlock_kfree_sized(const void *object, size_t size NESTLOCK_PLACE)
    NESTLOCK_PAGE_SYMBOL("kfree_sized");
// Usable bytes; 0 for NULL and for what is not this allocator's.
size_t nestlock_ksize(const void *object) NESTLOCK_PAGE_SYMBOL("ksize");

// NULL also if the locks are busy, the context may not try (PREEMPT_RT: hardirq, NMI), or for more than
// the largest class. Tries the size's class and one larger one.
void *nestlock_kmalloc_nolock(size_t size, nestlock_gfp_t flags, int node NESTLOCK_PLACE)
    NESTLOCK_PAGE_SYMBOL("kmalloc_nolock") NESTLOCK_MUST_CHECK;
// Never fails for lack of a lock: then it is deferred to the next spinning call. Also of kmalloc().
bool nestlock_kfree_nolock(const void *object NESTLOCK_PLACE) NESTLOCK_PAGE_SYMBOL("kfree_nolock");

// ---- caches ----

// A cache of objects of `size` bytes. `align` 0: as kmalloc. `name` must live as long as the cache;
// `constructor` (may be NULL) runs once for each object when its memory comes, not at each
// allocation. Task. NULL: a size or alignment that cannot be, or no memory.
nestlock_kmem_cache_t *nestlock_kmem_cache_create(const char *name, size_t size, size_t align,
                                                  nestlock_slab_flags_t flags,
                                                  void (*constructor)(void *object))
    NESTLOCK_PAGE_SYMBOL("kmem_cache_create") NESTLOCK_MUST_CHECK;
// Task; nobody uses the cache any more. false: objects are still out (reported in debug); it stays.
bool nestlock_kmem_cache_destroy(nestlock_kmem_cache_t *cache)
    NESTLOCK_PAGE_SYMBOL("kmem_cache_destroy");

void *nestlock_kmem_cache_alloc(nestlock_kmem_cache_t *cache, nestlock_gfp_t flags NESTLOCK_PLACE)
    NESTLOCK_PAGE_SYMBOL("kmem_cache_alloc") NESTLOCK_MUST_CHECK;
bool nestlock_kmem_cache_free(nestlock_kmem_cache_t *cache, void *object NESTLOCK_PLACE)
    NESTLOCK_PAGE_SYMBOL("kmem_cache_free");
void *nestlock_kmem_cache_alloc_nolock(nestlock_kmem_cache_t *cache, nestlock_gfp_t flags,
                                       int node NESTLOCK_PLACE)
    NESTLOCK_PAGE_SYMBOL("kmem_cache_alloc_nolock") NESTLOCK_MUST_CHECK;
bool nestlock_kmem_cache_free_nolock(nestlock_kmem_cache_t *cache, void *object NESTLOCK_PLACE)
    NESTLOCK_PAGE_SYMBOL("kmem_cache_free_nolock");
// All `n` objects, or none (0).
size_t nestlock_kmem_cache_alloc_bulk(nestlock_kmem_cache_t *cache, nestlock_gfp_t flags, size_t n,
                                      void **objects)
    NESTLOCK_PAGE_SYMBOL("kmem_cache_alloc_bulk") NESTLOCK_MUST_CHECK;
void nestlock_kmem_cache_free_bulk(nestlock_kmem_cache_t *cache, size_t n, void **objects)
    NESTLOCK_PAGE_SYMBOL("kmem_cache_free_bulk");
// Gives what is cached and not used back to the pages. Task.
void nestlock_kmem_cache_shrink(nestlock_kmem_cache_t *cache)
    NESTLOCK_PAGE_SYMBOL("kmem_cache_shrink");
// The size that it was created with.
size_t nestlock_kmem_cache_size(const nestlock_kmem_cache_t *cache)
    NESTLOCK_PAGE_SYMBOL("kmem_cache_size");

// Brings home some of what *_nolock frees of kmalloc's objects left behind; allocations do, too. Any context, never
// spins. true: nothing is left of it.
bool nestlock_slab_settle(void) NESTLOCK_PAGE_SYMBOL("slab_settle");

// Which allocator's locked section the code is in that this context interrupted, the innermost;
// with several CPUs it errs to "in one". For a handler that wants to know before it does more than
// *_nolock calls. Any context; some 50 loads. (C++: nestlock_interrupted().)
nestlock_floor_t nestlock_interrupted_floor(void) NESTLOCK_PAGE_SYMBOL("interrupted_floor");

NESTLOCK_C_END
