// Says once that C++20 is needed, instead of ten thousand lines of errors: what is not there ends the
// compilation. (The C face, nestlock/c.h, takes any C++.)
#pragma once

#if __cplusplus <= 201703L
#error "Nestlock is written in C++20: compile with -std=c++20 (Bazel: build --cxxopt=-std=c++20)."
#include "nestlock/is/written/in/C++20"
#endif
