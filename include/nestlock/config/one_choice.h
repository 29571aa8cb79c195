// Files of one program that were built for different configurations do not link, if both use the
// plain names (`nestlock::TrySpinLock`): a struct of the program's with a lock in it would be two
// structs of one name, and no mangled name tells. Locks of explicit kernels may stand side by side.
//
// How: who uses a plain name refers to a symbol whose name says the choice, and defines it in a group
// of which a linker keeps one in the whole program. So the second choice's symbol is not there:
//
//   undefined reference to `nestlock_plain_names_of_up_v0_2_0_max_cpus_64_page_shift_12'
//
// It needs no library, and costs 5 bytes. Link-time optimisation that assembles two files as one finds
// them by the assembler's own symbol; one that splits them may not (its -Wodr does).
#pragma once

#include "nestlock/config/config.h"

#define NESTLOCK_INTERNAL_CHOICE                                                       \
  NESTLOCK_INTERNAL_TEXT(NESTLOCK_INTERNAL_STAMP(                                      \
      plain_names_of, NESTLOCK_CONFIG, NESTLOCK_VERSION_MAJOR, NESTLOCK_VERSION_MINOR, \
      NESTLOCK_VERSION_PATCH, NESTLOCK_MAX_CPUS, NESTLOCK_INTERNAL_PAGES))
#define NESTLOCK_INTERNAL_CHOICE_NUMBER \
  "(((" NESTLOCK_INTERNAL_TEXT(NESTLOCK_INTERNAL_NUMBER) "+16*" NESTLOCK_INTERNAL_TEXT(   \
      NESTLOCK_LEAN) ")*8192+" NESTLOCK_INTERNAL_TEXT(NESTLOCK_MAX_CPUS) ")*32+"          \
                                                       NESTLOCK_INTERNAL_TEXT(NESTLOCK_PAGE_SHIFT) ")"

namespace nestlock::internal {

// Never called.
template <class K>
[[gnu::visibility("hidden")]] void ask_for_the_choice() {
#if defined(__ELF__)
  asm(".ifdef nestlock_choice\n"
      ".if nestlock_choice - " NESTLOCK_INTERNAL_CHOICE_NUMBER
      "\n"
      ".error \"Nestlock: files of different configurations use its plain names\"\n"
      ".endif\n"
      ".else\n"
      ".set nestlock_choice, " NESTLOCK_INTERNAL_CHOICE_NUMBER
      "\n"
      ".pushsection .rodata.nestlock_choice,\"aG\",%progbits,nestlock_choice_of_all,comdat\n"
      ".globl " NESTLOCK_INTERNAL_CHOICE
      "\n"
      ".hidden " NESTLOCK_INTERNAL_CHOICE "\n" NESTLOCK_INTERNAL_CHOICE
      ":\n"
      ".byte 0\n"
      ".popsection\n"
      ".pushsection .rodata.nestlock_asks,\"a\",%progbits\n"
      ".balign 4\n"
      ".long " NESTLOCK_INTERNAL_CHOICE
      " - .\n"
      ".popsection\n"
      ".endif\n");
#endif
}

// To be named in a static_assert of what has a plain name: that brings the reference into the file.
template <class K>
[[gnu::used,
  gnu::visibility("hidden")]] inline constexpr void (*one_choice)() = &ask_for_the_choice<K>;

}  // namespace nestlock::internal
