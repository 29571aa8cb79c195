#!/usr/bin/env bash
# The documents of docs/ that show programs: getting_started.md has the example as it is, its compiler
# line and its output; the blocks of allocators.md, in their order, are one program that does what the
# text says.
#
# Run in the repository's top folder, or by Bazel.
. test/examples/example.sh

# ---- getting_started.md --------------------------------------------------------------------------
guide=docs/getting_started.md program=examples/first_program.cc
checks=$((checks + 1))
shows "$guide" "$program"
grep -qxF -- "$(build_line "$program")" "$guide" || fail "$guide lacks the line: $(build_line "$program")"
# block N FILE: the N-th block without a language, that is, the N-th output.
block() {
  awk -v n="$1" '
    /^```/ { on = !on; plain = on && $0 == "```"; count += plain; next }
    on && plain && count == n
  ' "$2"
}
expected_of "$program" | diff - <(block 1 "$guide") || fail "$guide shows another output than $program"
# With the lock that does not promise its answer it prints what stands there, and debug reports it.
rm "$work/examples" && mkdir "$work/examples"
sed 's/TrySpinLock/SpinLock/' "$program" >"$work/$program"
if build_example "$program"; then
  "$work/first_program" | diff - <(block 2 "$guide") || fail "$guide, SpinLock: another output"
fi
if in_work "$compiler -std=c++20 -Iinclude -DNESTLOCK_CONFIG=up_debug $program lib/*/*.cc -pthread -o debug"; then
  "$work/debug" 2>&1 >"$work/said" | head -n 2 | diff - <(block 3 "$guide") || fail "$guide, debug: another report"
else
  fail "the debug form does not build"
fi
examples_end
