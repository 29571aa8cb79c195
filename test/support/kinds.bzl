"""For `target_compatible_with`: which kind of build a test is of. Where it is not, it is left out."""

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

# Under AddressSanitizer only.
UNDER_ASAN = select({
    "//test/support:with_asan": [],
    "//conditions:default": ["@platforms//:incompatible"],
})
