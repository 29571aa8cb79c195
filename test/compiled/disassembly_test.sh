#!/usr/bin/env bash
# What the locks of a uniprocessor build compile to, by g++ and by clang++: a plain spinlock to the
# preempt count alone, what promises to no locked instruction; and the allocators' fast paths: none
# either, no call, no register saved; kmalloc() of a constant size: no look at the table of classes; how
# many instructions they run.
# Reads objdump; x86-64 only.
#
# Run in the repository's top folder, or by Bazel.
set -u -o pipefail

[ "$(uname -m)" = x86_64 ] || { echo "verify: tool=disassembly subject=dropped_fence config=up result=not_run"; echo "not x86-64: nothing to read"; exit 0; }
work=$(mktemp -d) || exit 2
trap 'rm -rf "$work"' EXIT
failures=0 checks=0

build() { # COMPILER CONFIG: $work/listing
  local icf=
  [ "$1" = g++ ] && icf=-fno-ipa-icf # else equal functions become one
  "$1" -std=c++20 -O2 $icf "-I${headers:-include}" "-DNESTLOCK_CONFIG=$2" -c test/compiled/disassembly_test_code.cc \
    -o "$work/code.o" && objdump -d --no-show-raw-insn "$work/code.o" >"$work/listing" &&
    objdump -dr --no-show-raw-insn "$work/code.o" >"$work/relocated"
}
# What one function refers to, of other sections.
names_in() {
  awk -v name="<$1>:" '
    $2 == name { inside = 1; next }
    inside && NF == 0 { exit }
    inside && /R_X86_64/ { print }
  ' "$work/relocated"
}
# The instructions of one function, without addresses, comments and the padding behind its end.
code_of() {
  awk -v name="<$1>:" '
    $2 == name { inside = 1; next }
    inside && NF == 0 { exit }
    inside { sub(/^[^\t]*\t/, ""); sub(/#.*/, ""); sub(/[ \t]+$/, ""); print }
  ' "$work/listing" | awk '{ line[NR] = $0 } END {
    for (last = NR; last > 0 && line[last] ~ /^(nop|xchg +%ax,%ax|data16|cs nop)/; last--);
    for (i = 1; i <= last; i++) print line[i]
  }'
}
locked() { code_of "$1" | grep -E '(^|[ \t])lock([ \t]|$)|xchg.*[(:]'; }
check() { # TEXT COMMAND...
  checks=$((checks + 1))
  "${@:2}" && return
  echo "FAILED with $compiler: $1"
  failures=$((failures + 1))
}
same_code() { diff <(code_of "$1") <(code_of "$2"); }
not_empty() { [ -n "$(code_of "$1")" ]; }
locked_once() { [ "$(locked "$1" | wc -l)" = 1 ]; }
not_locked() { ! locked "$1"; }
saves_nothing() { ! code_of "$1" | grep -E '^(call|push)'; }
# Each of two sections reads its data anew; without the words' signal fences one compiler keeps
# the first one's value in a register, and what an interrupter did between the two is lost.
reads_anew() { [ "$(code_of "$1" | grep -cE '^(inc|add)l .*\(%rip\)')" = 2 ]; }
without_fences() {
  mkdir -p "$work/without" && cp -RL include/. "$work/without" &&
    sed -i '/std::atomic_signal_fence/d' "$work/without/nestlock/lock/words.h"
}
# How many instructions run where nothing is in the way: no conditional jump is taken, for the compilers
# are told which way is the likely one.
runs() {
  code_of "$1" >/dev/null # (so that a missing function is seen elsewhere)
  awk -v name="<$1>:" '
    $2 == name { inside = 1; next }
    inside && NF == 0 { exit }
    inside { print }
  ' "$work/listing" | awk '
    { at = $1; sub(/:$/, "", at); place[at] = NR; what[NR] = $2; to[NR] = $3 }
    END {
      for (i = 1; i <= NR && total < 1000; i++) {
        if (what[i] ~ /^(nop|cs|data16)/) continue
        total++
        if (what[i] == "ret") break
        if (what[i] != "jmp") continue
        if (!(to[i] in place)) break  # to another function
        i = place[to[i]] - 1
      }
      print total + 0
    }'
}
at_most() { local n; n=$(runs "$2"); [ "$n" -gt 8 ] && [ "$n" -le "$1" ] || { echo "$2() runs $n"; false; }; }
# kmalloc() with a size that is not known looks it up; or clang++ leaves that to kmalloc()'s own code.
leaves_it() { names_in "$1" | grep 7kmallocEm >/dev/null; }
looks_up() { names_in "$1" | grep kIndices >/dev/null || leaves_it "$1"; }
# alloc_pages() is inlined, or, by clang++, left to its own code.
locks_or_leaves_it() { locked "$1" || names_in "$1" | grep alloc_pages; }
has_names() { [ -n "$(names_in "$1")" ]; }
not() { ! "$@"; }
no_call() { ! code_of "$1" | grep -E '^(call|jmp)'; }

lost=
without_fences || exit 1
for compiler in g++ clang++-19 clang++; do
  command -v "$compiler" >/dev/null || continue
  build "$compiler" up || exit 1
  for function in raw_pair spin_pair try_spin_try try_spin_unlock local_try_try shared_try_try preempt_pair; do
    check "$function() was not found" not_empty "$function"
  done
  check "up: a RawSpinLock is more than the preempt count" same_code preempt_pair raw_pair
  check "up: a SpinLock is more than the preempt count" same_code preempt_pair spin_pair
  check "up: preempt_disable() calls something" no_call preempt_pair
  for function in try_spin_try try_spin_unlock local_try_try shared_try_try; do
    check "up: $function() has a locked instruction" not_locked "$function"
  done
  for function in kmalloc_64 kfree_one page_take page_give; do
    check "$function() was not found" not_empty "$function"
    check "up: $function() has a locked instruction" not_locked "$function"
    check "up: $function() calls, or saves a register" saves_nothing "$function"
  done
  for function in kmalloc_64 kmalloc_2000; do
    check "$function() refers to nothing" has_names "$function"
    check "$function() looks its constant size up" not looks_up "$function"
  done
  check "kmalloc_any() does not look its size up" looks_up kmalloc_any
  if [ "$compiler" = g++ ]; then
    check "up: kmalloc() of a constant size runs more than 24 instructions" at_most 24 kmalloc_64
    check "up: kfree() runs more than 26 instructions" at_most 26 kfree_one
  fi
  for function in byte_sections class_sections; do
    check "up: $function() does not read its data anew" reads_anew "$function"
  done
  headers="$work/without" build "$compiler" up || exit 1
  if ! reads_anew byte_sections && ! reads_anew class_sections; then
    lost=$compiler
  elif [ "${compiler#clang}" != "$compiler" ]; then
    check "up: without fences nothing is lost, so this test shows nothing" false
  fi
  # The same look finds them where they are.
  build "$compiler" smp || exit 1
  check "smp: try_spin_try() has no locked instruction" locked try_spin_try >/dev/null
  check "smp: try_spin_unlock() has a locked instruction" not_locked try_spin_unlock
  check "smp: raw_pair() has not just one locked instruction" locked_once raw_pair
  for function in local_try_try kmalloc_64 kfree_one; do
    check "smp: $function() has a locked instruction" not_locked "$function"
  done
  check "smp: page_take() has no locked instruction" locks_or_leaves_it page_take >/dev/null
done

if [ -n "$lost" ]; then
  echo "verify: tool=disassembly subject=(broken) config=up mutant=dropped_fence result=ok"
else
  echo "verify: tool=disassembly subject=dropped_fence config=up result=not_run" # no clang is here
fi
[ "$checks" -gt 0 ] || { echo "FAILED: no compiler was found"; exit 1; }
echo "$checks checks, $failures failed"
[ "$failures" = 0 ]
