// C: what the locks are made of. Each type has the size, the alignment and, when initialised
// statically, the bytes of the C++ class of the same name in the same configuration; lib/c refuses
// to compile where that is not so. Members are the library's: a program copies no lock and looks
// into none.
//
// | C type                   | C++            | one CPU | several CPUs | PREEMPT_RT (both) |
// |--------------------------|----------------|---------|--------------|-------------------|
// | nestlock_raw_spinlock_t  | RawSpinLock    | 1 (*)   | 4            | as without        |
// | nestlock_spinlock_t      | SpinLock       | 1 (*)   | 4            | 4                 |
// | nestlock_spin_trylock_t  | TrySpinLock    | 1       | 4            | 4                 |
// | nestlock_local_lock_t    | LocalLock      | 1 (*)   | 1 (*)        | 4                 |
// | nestlock_local_trylock_t | LocalTryLock   | 1       | 1            | 4                 |
//
// Bytes, without debug. (*) The lock has no state, but C has no object without size: the byte is
// never read or written. (In C++ such a lock takes no space as a [[no_unique_address]] member.)
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "nestlock/config/c_language.h"

// ---- words, as the C++ locks choose them ----

typedef struct nestlock_no_word {
  uint8_t unused;
} nestlock_no_word;

typedef struct nestlock_byte_word {
  uint8_t byte;
} nestlock_byte_word;

typedef struct nestlock_full_word {  // the queue of several CPUs, or the sleeping lock's owner
  uint32_t word;
} nestlock_full_word;

typedef NESTLOCK_IF_SMP(nestlock_full_word,
                        NESTLOCK_IF_DEBUG(nestlock_byte_word, nestlock_no_word)) nestlock_raw_word;
typedef NESTLOCK_IF_PREEMPT_RT(nestlock_full_word, nestlock_raw_word) nestlock_spin_word;
typedef NESTLOCK_IF_PREEMPT_RT(nestlock_full_word,
                               NESTLOCK_IF_SMP(nestlock_full_word,
                                               nestlock_byte_word)) nestlock_try_word;
typedef NESTLOCK_IF_PREEMPT_RT(nestlock_full_word,
                               NESTLOCK_IF_DEBUG(nestlock_byte_word,
                                                 nestlock_no_word)) nestlock_local_word;
typedef NESTLOCK_IF_PREEMPT_RT(nestlock_full_word, nestlock_byte_word) nestlock_local_try_word;

// ---- what a debug configuration adds ----

typedef struct nestlock_debug_record {
  uint32_t magic, context, cpu, taken_line;
  const char *taken_file;
  uintptr_t owner;
  const char *born_file;
  unsigned born_line;
} nestlock_debug_record;

#define NESTLOCK_INTERNAL_RECORD nestlock_debug_record record;
#define NESTLOCK_INTERNAL_RECORD_INIT \
  , { 0x6e655374u, 0, 0, 0, NULL, 0, __FILE__, __LINE__ }

#define NESTLOCK_INTERNAL_DEBUG_MEMBER NESTLOCK_IF_DEBUG(NESTLOCK_INTERNAL_RECORD, )
#define NESTLOCK_INTERNAL_LOCK_INIT {{0} NESTLOCK_IF_DEBUG(NESTLOCK_INTERNAL_RECORD_INIT, )}

// ---- the locks ----

typedef struct nestlock_raw_spinlock_t {
  nestlock_raw_word word;
  NESTLOCK_INTERNAL_DEBUG_MEMBER
} nestlock_raw_spinlock_t;

typedef struct nestlock_spinlock_t {
  nestlock_spin_word word;
  NESTLOCK_INTERNAL_DEBUG_MEMBER
} nestlock_spinlock_t;

typedef struct nestlock_spin_trylock_t {
  nestlock_try_word word;
  NESTLOCK_INTERNAL_DEBUG_MEMBER
} nestlock_spin_trylock_t;

typedef struct nestlock_local_lock_t {
  nestlock_local_word word;
  NESTLOCK_INTERNAL_DEBUG_MEMBER
} nestlock_local_lock_t;

typedef struct nestlock_local_trylock_t {
  nestlock_local_try_word word;
  NESTLOCK_INTERNAL_DEBUG_MEMBER
} nestlock_local_trylock_t;

// Static initialisers, also for a member: `struct ring r = {.lock = NESTLOCK_SPIN_TRYLOCK_INIT};`
// Without debug, zeroed memory is an initialised lock, too; a debug configuration reports a lock
// that was zeroed only (`uninitialised`), so use these or the nestlock_*_lock_init() functions.
#define NESTLOCK_RAW_SPINLOCK_INIT NESTLOCK_INTERNAL_LOCK_INIT
#define NESTLOCK_SPINLOCK_INIT NESTLOCK_INTERNAL_LOCK_INIT
#define NESTLOCK_SPIN_TRYLOCK_INIT NESTLOCK_INTERNAL_LOCK_INIT
#define NESTLOCK_LOCAL_LOCK_INIT NESTLOCK_INTERNAL_LOCK_INIT
#define NESTLOCK_LOCAL_TRYLOCK_INIT NESTLOCK_INTERNAL_LOCK_INIT

// What irqs were before: filled by the _irqsave forms, given to the _irqrestore ones.
typedef unsigned long nestlock_irqflags_t;
