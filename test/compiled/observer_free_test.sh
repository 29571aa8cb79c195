#!/usr/bin/env bash
# An observer that is off costs nothing: release code is the same, byte for byte, with
# nestlock/testing/lockstat.h included and with every call of an observer deleted from the headers.
# usage: observer_free_test.sh, in a directory that has include/
set -u
tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT
failed=0 passed=0

# Each lock's calls, as an embedder writes them.
cat >"$tmp/calls.cc" <<'CODE'
#include "nestlock/nestlock.h"
#include "nestlock/resilient_spinlock.h"
#include "nestlock/rw_spinlock.h"
#define NESTLOCK_TEST_CALLS(Lock, name)                \
  void name##_lock(nestlock::Lock& l) { l.lock(); }    \
  bool name##_try(nestlock::Lock& l) { return l.try_lock(); } \
  void name##_unlock(nestlock::Lock& l) { l.unlock(); }
NESTLOCK_TEST_CALLS(RawSpinLock, raw)
NESTLOCK_TEST_CALLS(SpinLock, spin)
NESTLOCK_TEST_CALLS(TrySpinLock, tried)
NESTLOCK_TEST_CALLS(RwSpinLock, rw)
nestlock::Refusal ask(nestlock::ResilientSpinLock& l) { return l.lock(nestlock::Spins{9}).why(); }
void give(nestlock::ResilientSpinLock& l) { l.unlock(); }
CODE
(printf '#include "nestlock/testing/lockstat.h"\n' && cat "$tmp/calls.cc") >"$tmp/with.cc"

# The same headers without the observer's calls.
cp -rL include "$tmp/include" && chmod -R u+w "$tmp/include" || exit 1
grep -rlE 'Observer::(acquiring|acquired|refused|releasing)\(' "$tmp/include/nestlock/lock" >"$tmp/files"
while read -r file; do
  sed -i -E 's/(typename )?(K::)?Observer::(acquiring|acquired|refused|releasing)\(.*\);/(void)0;/' "$file"
done <"$tmp/files"
[ "$(wc -l <"$tmp/files")" -ge 1 ] || { echo "FAILED: no observer is called anywhere" && exit 1; }
if left=$(grep -rnE 'Observer::(acquiring|acquired|refused|releasing)\(' "$tmp/include/nestlock/lock"); then
  printf 'FAILED: left in the copy:\n%s\n' "$left" && exit 1
fi

# object NAME SOURCE INCLUDES FLAGS...: its code and data, without names of files.
object() {
  local name=$1 source=$2 includes=$3
  shift 3
  "$cxx" -std=c++20 "$@" -I"$includes" -c "$source" -o "$tmp/$name.o" &&
    objdump -d -r -s -j .text -j .data -j .rodata "$tmp/$name.o" 2>/dev/null | sed 1,3d >"$tmp/$name.s"
}

for cxx in g++ clang++; do
  command -v "$cxx" >/dev/null || continue
  for config in up smp up_rt smp_rt; do
    for level in -O1 -O2; do
      flags=("$level" "-DNESTLOCK_CONFIG=$config")
      if object plain "$tmp/calls.cc" include "${flags[@]}" &&
        object with "$tmp/with.cc" include "${flags[@]}" &&
        object none "$tmp/calls.cc" "$tmp/include" "${flags[@]}" &&
        grep -q '_lock' "$tmp/plain.s" &&
        cmp "$tmp/plain.s" "$tmp/with.s" && cmp "$tmp/plain.s" "$tmp/none.s"; then
        passed=$((passed + 1))
      else
        echo "FAILED: $cxx $config $level" && failed=$((failed + 1))
      fi
    done
  done
done
# The comparison is not blind: a debug kernel, which hands the observer places, is another code.
cxx=g++
command -v g++ >/dev/null || cxx=clang++
object plain "$tmp/calls.cc" include -O1 -DNESTLOCK_CONFIG=smp
object other "$tmp/calls.cc" include -O1 -DNESTLOCK_CONFIG=smp_debug
if cmp -s "$tmp/plain.s" "$tmp/other.s"; then
  echo "FAILED: smp and smp_debug are the same" && failed=$((failed + 1))
fi
echo "$passed compared, $failed failed"
[ "$failed" = 0 ] && [ "$passed" -ge 8 ]
