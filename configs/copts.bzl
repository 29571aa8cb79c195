"""Compiler options, in one place. -Werror is not here: see `--config=werror` in .bazelrc."""

# g++ collects its garbage less often: a tenth less time, for half as much memory again. Clang has
# no such option.
_COLLECT_LESS = select({
    "//configs:with_gcc": [
        "--param=ggc-min-expand=1000",
        "--param=ggc-min-heapsize=4000000",
    ],
    "//conditions:default": [],
})

# Everything of ours.
NESTLOCK_COPTS = _COLLECT_LESS + [
    "-Wall",
    "-Wextra",
    "-Wshadow",
    "-Wnon-virtual-dtor",
]

# The library proper: it must not need exceptions or RTTI.
NESTLOCK_LIB_COPTS = NESTLOCK_COPTS + [
    "-fno-exceptions",
    "-fno-rtti",
]

# Tests and tools: designated initialisers leave members out on purpose.
NESTLOCK_TEST_COPTS = NESTLOCK_COPTS + [
    "-Wno-missing-field-initializers",
]

# A file of the tests that is not optimised and includes GoogleTest: see precompiled.bzl.
PRECOMPILED_COPTS = select({
    "//configs:with_gcc": ["-include", "precompiled.h"],
    "//conditions:default": [],
})
PRECOMPILED_DEPS = select({
    "//configs:with_gcc": ["//test/support:precompiled"],
    "//conditions:default": [],
})
