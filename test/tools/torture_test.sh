#!/usr/bin/env bash
# The torture program, briefly: it ends well, says what it hit, and catches locks that are none.
set -u
torture=$1
# ThreadSanitizer would wait a second at the end of each child, for races there.
export TSAN_OPTIONS="${TSAN_OPTIONS:+$TSAN_OPTIONS:}atexit_sleep_ms=0"
fail() {
  printf '%s\n' "$output"
  echo "FAILED: $*"
  exit 1
}

output=$("$torture" --seconds 0.5 --seed 1) || fail "status $?"
subjects=$(grep -cE ' [1-9][0-9]* found a lock held' <<<"$output")
[ "$subjects" = 8 ] || fail "handlers found a lock held in $subjects of 2 allocators and 6 locks"
grep -qE '^  (skipped: |nothing to ask)|^verify: .*two_priorities.* result=ok' <<<"$output" ||
  fail "nothing is said of two priorities on one processor"
printf '%s\n' "$output"

if [[ $torture == *.smp* ]]; then
  output=$("$torture" --seconds 2 --threads 8 --seed 2 --subject objects) || fail "8 threads: status $?"
  grep -q '^objects on .*, 8 threads' <<<"$output" || fail "not by 8 threads"
  printf '%s\n' "$output"
fi

output=$("$torture" --seconds 10 --seed 1 --lock busted 2>&1) && fail "busted locks were not caught"
[ "$(grep -c '^torture: caught' <<<"$output")" = 5 ] || fail "not caught in both allocators and by all three"
# Or ThreadSanitizer is first, and ends it.
grep -q 'WARNING: ThreadSanitizer' <<<"$output" || for found in 'owner: .*held' 'data: .*counter' 'answers: .*(granted|gate)'; do
  grep -qE "FOUND in [a-z_]+, $found" <<<"$output" || fail "not found alone by $found"
done
grep -E '^torture' <<<"$output"

# Longer, where a busy machine gave it one round.
for time in 0.3s 3s 30s; do
  output=$("$torture" --soak $time --seconds 0.1 --seed 1 --subject TrySpinLock 2>&1) || fail "soak: status $?"
  rounds=$(grep -oE 'TrySpinLock, --seed [0-9]+: [1-9]' <<<"$output" | wc -l)
  [ "$rounds" -lt 2 ] || break
done
[ "$rounds" -ge 2 ] || fail "a soak of half a minute has $rounds rounds"
[ "$(grep -oE 'TrySpinLock, --seed [0-9]+: [1-9]' <<<"$output" | sort -u | wc -l)" = "$rounds" ] ||
  fail "a soak's rounds do not each have a seed of their own"
grep -q 'rounds, no error$' <<<"$output" || fail "a soak has no summary"
output=$("$torture" --soak 1h --seconds 5 --seed 1 --lock busted --subject answers 2>&1)
[ $? = 1 ] && grep -q '^again: .*--subject answers .*--seed' <<<"$output" && grep -q 'ended by an error$' <<<"$output" ||
  grep -q 'WARNING: ThreadSanitizer' <<<"$output" || fail "an error does not end a soak"

output=$("$torture" --seconds abc 2>&1)
[ $? = 2 ] || fail "a wrong option is not refused"
echo "all is well"
