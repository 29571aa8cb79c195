// C: pages, from the program's own page allocator (in C++: system_pages()). Bodies:
// lib/c/c_pages.cc.
//
// Hosted, the allocator is there before main(), over a reserved range of addresses. On a bare port
// the program gives it memory first: nestlock_memory_init(), in lib/c/bare/memory.cc.
#pragma once

#include "nestlock/c/types.h"

// What an allocation may do to get memory: see page/gfp.h in C++. Combined by `|`. They never say
// whether a call may spin: that says the call's name.
typedef uint32_t nestlock_gfp_t;
#define NESTLOCK_GFP_NONE ((nestlock_gfp_t)0)
#define NESTLOCK_GFP_WAKE ((nestlock_gfp_t)1)        // may ask for more memory
#define NESTLOCK_GFP_RECLAIM ((nestlock_gfp_t)2)     // may drain other CPUs' caches: task context
#define NESTLOCK_GFP_HIGH ((nestlock_gfp_t)4)        // may use half of the reserve
#define NESTLOCK_GFP_MEMALLOC ((nestlock_gfp_t)8)    // may use the whole reserve
#define NESTLOCK_GFP_ZERO ((nestlock_gfp_t)16)       // memory comes zeroed
#define NESTLOCK_GFP_NOWARN ((nestlock_gfp_t)32)     // a failure is expected: no report
#define NESTLOCK_GFP_COMP ((nestlock_gfp_t)64)       // a block of several pages that knows its head
#define NESTLOCK_GFP_THISNODE ((nestlock_gfp_t)128)  // the named node or nothing
#define NESTLOCK_GFP_IDLE ((nestlock_gfp_t)256)      // if the process grows, idle memory goes back
#define NESTLOCK_GFP_KERNEL (NESTLOCK_GFP_WAKE | NESTLOCK_GFP_RECLAIM)  // task: the most patient
#define NESTLOCK_GFP_NOWAIT NESTLOCK_GFP_WAKE                           // where spinning is allowed
#define NESTLOCK_GFP_ATOMIC (NESTLOCK_GFP_WAKE | NESTLOCK_GFP_HIGH)     // the same, more urgent

#define NESTLOCK_ANY_NODE (-1)
#define NESTLOCK_PAGE_SIZE ((size_t)1 << NESTLOCK_PAGE_SHIFT)

typedef struct nestlock_page_t nestlock_page_t;  // a page's descriptor; its memory: page_address()

NESTLOCK_C_BEGIN

// 2^order pages, 0 <= order <= 10, naturally aligned; NULL if there are none. Where a
// nestlock_spin_trylock_t may be locked (task, softirq, hardirq; PREEMPT_RT: task), with
// NESTLOCK_GFP_RECLAIM in a task only. May spin. Orders 0 to 3 come from this CPU's cache for one
// uncontended try of a lock.
nestlock_page_t *nestlock_alloc_pages(nestlock_gfp_t flags, unsigned order NESTLOCK_PLACE)
    NESTLOCK_PAGE_SYMBOL("alloc_pages") NESTLOCK_MUST_CHECK;
nestlock_page_t *nestlock_alloc_pages_node(int node, nestlock_gfp_t flags,
                                           unsigned order NESTLOCK_PLACE)
    NESTLOCK_PAGE_SYMBOL("alloc_pages_node") NESTLOCK_MUST_CHECK;

// Gives them back, in the same contexts. (The kernel calls this __free_pages.) false: not taken,
// nothing has changed: no page of this allocator, not the first of its block, free already, or
// another order. Debug configurations report it. A free needs no look at the answer where the page
// is known to be good.
bool nestlock_free_pages(nestlock_page_t *page, unsigned order NESTLOCK_PLACE)
    NESTLOCK_PAGE_SYMBOL("free_pages");

// The same from any context, NMI and probes included. They never spin and never ask the system for
// memory; the work is bounded. NULL also if the locks are busy, the context may not try
// (PREEMPT_RT: hardirq, NMI) or the order is above 3. Of the flags ZERO, COMP, NOWARN and THISNODE
// count. A free finds room always: where the locks are busy the pages are parked until the next
// call that may spin. Both also for pages of the other kind.
nestlock_page_t *nestlock_alloc_pages_nolock(nestlock_gfp_t flags, int node,
                                             unsigned order NESTLOCK_PLACE)
    NESTLOCK_PAGE_SYMBOL("alloc_pages_nolock") NESTLOCK_MUST_CHECK;
bool nestlock_free_pages_nolock(nestlock_page_t *page, unsigned order NESTLOCK_PLACE)
    NESTLOCK_PAGE_SYMBOL("free_pages_nolock");

// The memory of a block of pages; and back from any address in it to the address's page, NULL for
// an address that is not the allocator's. Any context, constant time.
void *nestlock_page_address(const nestlock_page_t *page) NESTLOCK_PAGE_SYMBOL("page_address");
nestlock_page_t *nestlock_virt_to_page(const void *address) NESTLOCK_PAGE_SYMBOL("virt_to_page");

// Keeps `bytes` for *_nolock calls, in place of what was kept before: memory comes from the system until so much is
// free, each page is touched, and other calls leave as much from then on. Task, may spin. false: not all is there.
bool nestlock_page_reserve(size_t bytes) NESTLOCK_PAGE_SYMBOL("page_reserve") NESTLOCK_MUST_CHECK;
// All free pages go back to the system, where it takes any. Task, no lock held; a system call a block. Bytes.
size_t nestlock_page_trim(void) NESTLOCK_PAGE_SYMBOL("page_trim");

// Bare port only (hosted, it does not link): the memory of the allocators, once, before all other
// calls of this file and of c/slab.h. Task. false: too small, or given before. Descriptors are
// taken from it.
bool nestlock_memory_init(void *start, size_t size)
    NESTLOCK_PAGE_SYMBOL("memory_init") NESTLOCK_MUST_CHECK;

NESTLOCK_C_END
