// The version: the one place where it stands. Macros only, so that C and assembler can include it,
// and each line of one form, so that CMakeLists.txt, meson.build and scripts can read it. What
// cannot (MODULE.bazel, packaging/) repeats it, and test/embed/version_test.sh sees a difference.
//
// The library's link stamp carries it: an object built with the headers of one version does not
// link with the library of another (see NESTLOCK_LINK_STAMP).
#pragma once

#define NESTLOCK_VERSION_MAJOR 0
#define NESTLOCK_VERSION_MINOR 2
#define NESTLOCK_VERSION_PATCH 0

// The same as text, "major.minor.patch".
#define NESTLOCK_INTERNAL_VERSION2(major, minor, patch) #major "." #minor "." #patch
#define NESTLOCK_INTERNAL_VERSION(major, minor, patch) \
  NESTLOCK_INTERNAL_VERSION2(major, minor, patch)
#define NESTLOCK_VERSION_STRING \
  NESTLOCK_INTERNAL_VERSION(NESTLOCK_VERSION_MAJOR, NESTLOCK_VERSION_MINOR, NESTLOCK_VERSION_PATCH)
