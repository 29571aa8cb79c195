#!/usr/bin/env bash
# Libraries that embed the headers share one state of the port with the program, whatever compiled them,
# and are really unloaded; those that cannot share it end the process with a message.
#
# Run in the repository's top folder, or by Bazel. Variables: TIMES (1000 for the first compiler, 250), FLAGS
# (-fsanitize=address, say); CXX and RUN, for another machine's programs: the cross compiler, and QEMU's user mode.
set -u -o pipefail

work=$(mktemp -d) || exit 2
trap 'rm -rf "$work"' EXIT
failures=0
cxx=${CXX:-g++}
read -ra run <<<"${RUN:-}"
read -ra flags <<<"-std=c++20 -O1 -w -Iinclude -Itest/port/copies ${FLAGS:-}"

fail() {
  echo "FAILED: $*"
  failures=$((failures + 1))
}
library() { # NAME COMPILER FLAGS...
  "$2" "${flags[@]}" -shared -fPIC "${@:3}" test/port/copies/library.cc -o "$work/$1.so" || exit 1
}
refused() { # LIBRARY TEXT: by the program, when it is loaded
  local text
  text=$(${run[@]+"${run[@]}"} "$work/program" "$work/$1.so" "$work/other.so" 1 2>&1) && fail "$1 was loaded"
  case $text in *"$work/$1.so"*"$2"*) ;; *) fail "$1: no word of '$2': $text" ;; esac
}

# lib/port as one file: it is compiled twice.
port="$work/port.cc"
printf '#include "%s"\n' lib/port/*.cc >"$port"
flags+=(-I.)

# In no way made so that others could see its symbols.
"$cxx" "${flags[@]}" -DNESTLOCK_CONFIG=smp test/port/copies/program.cc "$port" -pthread -ldl -o "$work/program" || exit 1
times=${TIMES:-1000}
compilers=("$cxx -fno-gnu-unique" "$cxx -fvisibility=hidden")
[ -n "${RUN:-}" ] || compilers+=(clang++-19)
for compiler in "${compilers[@]}"; do
  read -ra command <<<"$compiler"
  command -v "${command[0]}" >/dev/null || continue
  library same "${command[@]}" -DNESTLOCK_CONFIG=smp
  library other "${command[@]}" -DNESTLOCK_CONFIG=up_debug -DOTHER
  ${run[@]+"${run[@]}"} "$work/program" "$work/same.so" "$work/other.so" "$times" || fail "$compiler"
  times=${TIMES:-250}
done

# One with a lib/port of its own, which registers handlers.
library same "$cxx" -fvisibility=hidden -DNESTLOCK_CONFIG=smp -DSIGNALS "$port"
${run[@]+"${run[@]}"} "$work/program" "$work/same.so" "$work/other.so" "$times" || fail "a library with handlers"

library cpus "$cxx" -DNESTLOCK_CONFIG=smp -DNESTLOCK_MAX_CPUS=32
refused cpus "another NESTLOCK_MAX_CPUS"
library shift "$cxx" -DNESTLOCK_CONFIG=smp -DNESTLOCK_PAGE_SHIFT=14
refused shift "another NESTLOCK_PAGE_SHIFT"
# It has nothing in common with the program, so it may differ.
library own "$cxx" -fvisibility=hidden -DNESTLOCK_CONFIG=smp -DNESTLOCK_MAX_CPUS=32 -DNESTLOCK_OWN_STATE
# (With AddressSanitizer its runtime, which the program brings, comes behind the library.)
if [ -n "${RUN:-}" ]; then run+=(-E "LD_PRELOAD=$work/own.so"); else run=(env "LD_PRELOAD=$work/own.so"); fi
ASAN_OPTIONS=verify_asan_link_order=0 "${run[@]}" "$work/program" "$work/same.so" "$work/other.so" 1 ||
  fail "a state of its own"

echo "$failures failed"
[ "$failures" = 0 ]
