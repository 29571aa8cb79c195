// Nestlock for C: the locks, pages, kmalloc and signals of the built configuration, in the kernel's
// spellings, for C99 to C23 (and for C++ that wants C's functions). docs/c.md shows its use.
//
//   cc  -std=c99   -Iinclude -DNESTLOCK_CONFIG=up -c mine.c
//   c++ -std=c++20 -Iinclude -DNESTLOCK_CONFIG=up mine.o lib/*/*.cc -pthread
//
// Both lines choose the same configuration (config/choice.h says how): objects of two of them do
// not link. Firmware compiles only the bodies that it wants; beside each header below stands which.
#pragma once

#include "nestlock/c/context.h"  // lib/c/c_locks.cc, c_irq_bh.cc
#include "nestlock/c/local.h"    // lib/c/c_local_locks.cc, c_irq_bh.cc
#include "nestlock/c/pages.h"    // lib/c/c_pages.cc
#include "nestlock/c/places.h"
#include "nestlock/c/signals.h"  // lib/c/c_signals.cc
#include "nestlock/c/slab.h"     // lib/c/c_slab.cc
#include "nestlock/c/spin.h"     // lib/c/c_locks.cc, c_irq_bh.cc
#include "nestlock/c/types.h"
