#!/usr/bin/env bash
# What must not compile does not, and says why. Each .cc beside this file is a case; its head says
#
#   // FLAGS: options       with -DMUST_FAIL it must not compile,
#   // EXPECT: regex        and this must be among the errors;
#   // CONTROL: options     without -DMUST_FAIL it must: so it fails for that reason and no other
#   // COMPILERS: clang++   by default g++ and clang++, those of them that are here
#
# Run in the repository's top folder, or by Bazel.
set -u -o pipefail

cases=test/compiled/compile_fail
failures=0 checks=0
log=$(mktemp) || exit 2
trap 'rm -f "$log"' EXIT

head_of() { sed -n "s|^// $2: *||p" "$1" | head -n 1; }
fail() {
  echo "FAILED: $*"
  sed -n '1,15s/^/    /p' "$log"
  failures=$((failures + 1))
}
compiles() { # COMPILER FILE OPTIONS...
  local compiler=$1 file=$2
  shift 2
  "$compiler" -std=c++20 -Iinclude -Wall -Wextra -fsyntax-only "$@" "$file" >"$log" 2>&1
}
path_of() { # clang++: the newest of those that Debian names
  local name
  for name in $([ "$1" = clang++ ] && echo clang++-19 clang++-14) "$1"; do
    command -v "$name" && return
  done
  return 1
}

for file in "$cases"/*.cc; do
  expected=$(head_of "$file" EXPECT)
  [ -n "$expected" ] || { echo "FAILED: $file has no EXPECT"; exit 1; }
  wanted=$(head_of "$file" COMPILERS)
  for name in ${wanted:-g++ clang++}; do
    compiler=$(path_of "$name") || continue
    checks=$((checks + 1))
    # shellcheck disable=SC2046  # options are words
    if compiles "$compiler" "$file" -DMUST_FAIL $(head_of "$file" FLAGS); then
      fail "$file compiles with $compiler"
    elif ! grep -q -- "$expected" "$log"; then
      fail "$file fails with $compiler, but not by '$expected'"
    elif ! compiles "$compiler" "$file" $(head_of "$file" CONTROL); then
      fail "$file: the control does not compile with $compiler"
    fi
  done
done

[ "$checks" -gt 0 ] || { echo "FAILED: no compiler was found"; exit 1; }
echo "$checks checks, $failures failed"
[ "$failures" = 0 ]
