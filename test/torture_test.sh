#!/usr/bin/env bash
# The torture program, briefly: it ends well, says what it hit, and catches locks that are none.
set -u
torture=$1
fail() {
  printf '%s\n' "$output"
  echo "FAILED: $*"
  exit 1
}

output=$("$torture" --seconds 0.5 --seed 1) || fail "status $?"
subjects=$(grep -cE ' [1-9][0-9]* found a lock held' <<<"$output")
[ "$subjects" = 2 ] || fail "handlers found a lock held in $subjects of 2 subjects"
printf '%s\n' "$output"

output=$("$torture" --seconds 10 --seed 1 --lock busted 2>&1) && fail "busted locks were not caught"
[ "$(grep -c '^torture: caught' <<<"$output")" = 2 ] || fail "not caught in both subjects"
grep -E '^torture' <<<"$output"

output=$("$torture" --seconds abc 2>&1)
[ $? = 2 ] || fail "a wrong option is not refused"
echo "all is well"
