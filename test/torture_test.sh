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
[ "$subjects" = 8 ] || fail "handlers found a lock held in $subjects of 2 allocators and 6 locks"
printf '%s\n' "$output"

output=$("$torture" --seconds 10 --seed 1 --lock busted 2>&1) && fail "busted locks were not caught"
[ "$(grep -c '^torture: caught' <<<"$output")" = 5 ] || fail "not caught in both allocators and by all three"
for found in 'owner: .*held' 'data: .*counter' 'answers: .*(granted|gate)'; do
  grep -qE "FOUND in [a-z_]+, $found" <<<"$output" || fail "not found alone by $found"
done
grep -E '^torture' <<<"$output"

output=$("$torture" --seconds abc 2>&1)
[ $? = 2 ] || fail "a wrong option is not refused"
echo "all is well"
