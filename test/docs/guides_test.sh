#!/usr/bin/env bash
# The guides that lead through programs: what they show compiles, and prints what they show. The program of
# docs/getting_started.md is examples/first_program.cc.
#
# Run in the repository's top folder, or by Bazel.
set -u -o pipefail
. tools/docs/blocks.sh

choose_compiler || { echo "FAILED: no compiler"; exit 1; }
work=$(mktemp -d) || exit 2
trap 'rm -rf -- "$work"' EXIT
export COMPILE_ONCE_FOLDER="$work/objects"  # of all pages

check() { # PAGE PROGRAMS
  local page=$1
  compile_blocks "$page" "$work/$page/compiled" smp_rt_debug  # as up it is compiled to be run
  run_blocks "$page" "$work/$page/run"
  [ "$(find "$work/$page/run" -name said | wc -l)" = "$2" ] || echo "$page: not $2 console blocks were run"
}
first_program() {
  diff <(sed -n '/^```cpp$/,/^```$/p' docs/getting_started.md | sed '1d;$d') \
    <(sed -n '/^#include/,$p' examples/first_program.cc) ||
    echo "the program of docs/getting_started.md is not that of examples/first_program.cc"
}
# The functions that a page names exist.
functions_of() { # PAGE
  local name
  while read -r name; do
    grep -RqE "(^|[^a-z_])$name\(" include lib || echo "$1: there is no function $name()"
  done < <(grep -oE '`[a-z_]+\(\)' "$1" | tr -d '`()' | sort -u)
}
problems=$(
  {
    first_program
    check docs/getting_started.md 2
    check docs/allocators.md 1
    functions_of docs/allocators.md
    functions_of docs/life_of_a_kmalloc.md
  } 2>&1
)
[ -z "$problems" ] || { printf 'FAILED: %s\n' "$problems"; exit 1; }
echo "the guides' programs print what they show"
