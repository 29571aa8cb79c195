// What the headers of the C face (c.h) need to know about the language that reads them: C99 to C23,
// or C++. Nobody else includes this.
#pragma once

#include "nestlock/config/c_linkage.h"
#include "nestlock/config/choice.h"

// A function of the C face is called nestlock_spin_lock() in the source and nestlock_up_spin_lock
// (or whatever the configuration is) in the object file. So a C object that was compiled for
// another configuration than the library does not link, and the linker's message names both the
// function and the configuration it was looked for in. It costs no byte, and --gc-sections does not
// undo it.
#define NESTLOCK_SYMBOL(name) NESTLOCK_C_NOEXCEPT NESTLOCK_INTERNAL_SYMBOL(name)
// The same for what C sees of the two numbers that change the layout: those functions whose callers may use
// NESTLOCK_PAGE_SIZE or NESTLOCK_CPUS carry the number, too.
#define NESTLOCK_PAGE_SYMBOL(name) \
  NESTLOCK_SYMBOL("page_shift_" NESTLOCK_INTERNAL_TEXT(NESTLOCK_PAGE_SHIFT) "_" name)
#define NESTLOCK_CPU_SYMBOL(name) \
  NESTLOCK_SYMBOL("max_cpus_" NESTLOCK_INTERNAL_TEXT(NESTLOCK_CPUS) "_" name)

// In a debug configuration the functions that a report may be about take the place of the call,
// too: NESTLOCK_PLACE ends the parameters, NESTLOCK_HERE the arguments (which c/places.h adds
// unseen). Elsewhere both are nothing.
#define NESTLOCK_INTERNAL_PLACE , const char *file, unsigned line
#define NESTLOCK_INTERNAL_HERE , __FILE__, __LINE__
#define NESTLOCK_PLACE NESTLOCK_IF_DEBUG(NESTLOCK_INTERNAL_PLACE, )
#define NESTLOCK_HERE NESTLOCK_IF_DEBUG(NESTLOCK_INTERNAL_HERE, )
