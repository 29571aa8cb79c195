// malloc that a signal handler may call: the C library's allocation functions, under names of their own,
// on the process's slab allocator (system_slab()). For C and C++; bodies in lib/malloc. docs/malloc.md
// says how a program gets them as malloc, free and operator new, and what bad input does.
//
// Each takes and gives what its namesake of C23, POSIX or the GNU C library does, errno included; what
// differs is said here. Memory is 16 bytes aligned. Where no context is named: any thread, before the
// constructors and after the destructors, too, and any signal handler, whatever it interrupted, these
// functions themselves included; also in a thread's first call. None waits for a lock that the code it
// interrupted may hold. Null (ENOMEM) means that the kernel gave no memory, or a size above PTRDIFF_MAX.
//
// Not allowed: to leave a handler that interrupted one of these functions by longjmp() or an exception.
#pragma once

#include <stddef.h>

#include "nestlock/config/c_linkage.h"

NESTLOCK_C_BEGIN

// Of size 0 a block that is nobody else's, too. Cost: a pair of these for up to 8 KiB is some 60
// instructions without a locked one and without a system call, while this thread has free blocks of that
// size at hand.
void *nestlock_malloc(size_t size) NESTLOCK_C_NOEXCEPT NESTLOCK_MUST_CHECK;
void *nestlock_calloc(size_t n, size_t size) NESTLOCK_C_NOEXCEPT NESTLOCK_MUST_CHECK;
// In place where the block has room and would not stay half empty; above 1 MiB the kernel moves the pages
// and nothing is copied. Null leaves the block as it was. Size 0 frees it and gives a new one.
void *nestlock_realloc(void *block, size_t size) NESTLOCK_C_NOEXCEPT NESTLOCK_MUST_CHECK;
void *nestlock_reallocarray(void *block, size_t n,
                            size_t size) NESTLOCK_C_NOEXCEPT NESTLOCK_MUST_CHECK;
// Keeps errno. A pointer that is no block's beginning ends the process with a message that names it, as
// far as this is seen: docs/malloc.md has the table.
void nestlock_free(void *block) NESTLOCK_C_NOEXCEPT;
// The same where the program knows what it asked for. NESTLOCK_MALLOC=debug ends the process if that is not true;
// else nobody looks.
void nestlock_free_sized(void *block, size_t size) NESTLOCK_C_NOEXCEPT;
void nestlock_free_aligned_sized(void *block, size_t align, size_t size) NESTLOCK_C_NOEXCEPT;

// The alignment is a power of two, else the call fails with EINVAL; of any size.
int nestlock_posix_memalign(void **block, size_t align,
                            size_t size) NESTLOCK_C_NOEXCEPT NESTLOCK_MUST_CHECK;
void *nestlock_aligned_alloc(size_t align, size_t size) NESTLOCK_C_NOEXCEPT NESTLOCK_MUST_CHECK;
void *nestlock_memalign(size_t align, size_t size) NESTLOCK_C_NOEXCEPT NESTLOCK_MUST_CHECK;
void *nestlock_valloc(size_t size) NESTLOCK_C_NOEXCEPT NESTLOCK_MUST_CHECK;
void *nestlock_pvalloc(size_t size) NESTLOCK_C_NOEXCEPT NESTLOCK_MUST_CHECK;

// What may be written to from `block` on; 0 for null.
size_t nestlock_malloc_usable_size(const void *block) NESTLOCK_C_NOEXCEPT;
// Not in a handler. Gives back what this thread and the allocator have in store; 1 if that was anything.
int nestlock_malloc_trim(size_t pad) NESTLOCK_C_NOEXCEPT;

// How much there is, a snapshot: bytes.
typedef struct nestlock_malloc_counts_t {
  size_t committed;  // of the slab and page floors' range: writable memory
  size_t in_use;     // of these, in whole pages: blocks, and free ones that share pages with them
  size_t mapped;     // in blocks that are mappings of their own, beside the range
  size_t mapped_blocks;  // how many of these
  size_t reserve_taken;  // blocks of the emergency reserve that were given, ever
} nestlock_malloc_counts_t;
nestlock_malloc_counts_t nestlock_malloc_counts(void) NESTLOCK_C_NOEXCEPT;
// Not in a handler. The same and each size's, as text, of at most `size` bytes; returns its length.
size_t nestlock_malloc_stats(char *out, size_t size) NESTLOCK_C_NOEXCEPT;

NESTLOCK_C_END
