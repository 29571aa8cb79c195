"""Compiler options, in one place. -Werror is not here: see `--config=werror` in .bazelrc."""

# Everything of ours.
NESTLOCK_COPTS = [
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
