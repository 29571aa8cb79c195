"""What depends on the kind of build: plain, or under a sanitizer."""

# ---- for `target_compatible_with`: in which kinds there is a test; elsewhere it is left out ----

# Under ThreadSanitizer: only, or not. A test that steps instructions, that runs on stacks of its own,
# or that runs compilers itself is not run there.
UNDER_TSAN = select({
    "//test/support:with_tsan": [],
    "//conditions:default": ["@platforms//:incompatible"],
})
NOT_UNDER_TSAN = select({
    "//test/support:with_tsan": ["@platforms//:incompatible"],
    "//conditions:default": [],
})

# What is loaded into programs that were built without.
NOT_UNDER_SANITIZERS = select({
    "//test/support:with_tsan": ["@platforms//:incompatible"],
    "//test/support:with_asan": ["@platforms//:incompatible"],
    "//conditions:default": [],
})

# Under AddressSanitizer only.
UNDER_ASAN = select({
    "//test/support:with_asan": [],
    "//conditions:default": ["@platforms//:incompatible"],
})

UP_NOT_UNDER_TSAN = select({
    "//test/support:up_with_tsan": ["@platforms//:incompatible"],
    "//conditions:default": [],
})

# ---- for `copts` ----

# Of what is stepped through: as users compile it. ThreadSanitizer's own code is most of it there.
SWEPT_COPTS = select({
    "//test/support:with_tsan": ["-O1"],
    "//conditions:default": ["-O2"],
})
