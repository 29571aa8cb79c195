#!/usr/bin/env bash
# The comparison: exit status, the figures, a lock of the user's, options that do not exist.
# usage: compare_test.sh PROGRAM PROGRAM-WITH-THE-EXAMPLE PROGRAM-WITH-A-LIAR
. "${BASH_SOURCE[0]%/*}/../support/program_checks.sh"

compare=$1 with_example=$2 with_liar=$3

figures="$out/figures.json"
run "$with_example" "--json=$figures"
if exits 2 && grep -q 'cannot be tried here' "$out/stderr"; then
  cat "$out/stderr"
  exit 0
fi
check "it passes" exits 0
check "no word on stderr" silent stderr
check "a page is 100 columns wide" narrow
n='[0-9]+' s='[0-9]+/[0-9]+'
check "stateless has no state, and is taken" says "^stateless +0 +$n +$n +irq +TAKEN +yes +$s +[1-9]"
check "irqs off holds under irq" says "^irqs off +0 +$n +$n +irq +masked +yes +$s +0 +$s +0\$"
check "refused in NMI serves nothing there" says '^ +NMI +no +NO +0/[0-9]+ +0 +0/[0-9]+ +0$'
for lock in 'per-lock atomic +200' 'class atomic +20' 'per-lock byte +50' 'test and set +50'; do
  check "$lock bytes" says "^$lock +$n +$n +irq +no +yes +$s +0 +$s +0\$"
done
check "the table means something" says '^  per-lock atomic, class atomic, per-lock byte, test and set$'
check "what corrupts is named" says '^irqs off corrupts under NMI and probe\.$'
# Of those that keep the promise, all that share the least figure, and no other.
fewest=$(awk -F'"' '/"keeps_the_promise": true/ {
    n = $0; sub(/.*"pair_instructions": /, "", n); n += 0
    if (!least || n < least) { least = n; who = "" }
    if (n == least) who = who (who == "" ? "" : ", ") $4
  } END { print who " (" least ")" }' "$figures")
check "the fewest instructions: $fewest" says "^the fewest instructions: ${fewest//[()]/.}\.\$"

cp "$figures" "$out/stdout"
check "--json=FILE says so" says '^  "pass": true'
check "six locks" [ "$(grep -c '"users": false' "$out/stdout")" = 6 ]
check "and one of a user's" [ "$(grep -c '"users": true' "$out/stdout")" = 1 ]
check "four keep the promise" [ "$(grep -c '"keeps_the_promise": true' "$out/stdout")" = 4 ]
check "handlers found a lock held" says '"found_a_lock_held": [1-9]'
check "all is as known" lacks '"as_known": false'
check "code was found to be measured" lacks '"text_bytes": 0,'
check "instructions were counted" lacks '"pair_instructions": 0,'
if command -v python3 >/dev/null; then
  check "it is JSON" python3 -c 'import json, sys; json.load(open(sys.argv[1]))' "$out/stdout"
fi

run "$compare" '--only=per-lock byte' --json
check "--only passes" exits 0
check "--only is one lock, and no user's" [ "$(grep -c '"users"' "$out/stdout"):$(grep -c '"users": false' "$out/stdout")" = 1:1 ]
check "--json has no table" lacks 'TAKEN|served +twice'

run "$with_liar" '--only=a liar'
check "a liar is found out" exits 1
check "and named" says '^FAIL  a liar, NMI: memory was handed out twice'

run "$compare" --help
check "--help is a success" exits 0
check "--help shows the usage" says '^usage: '
for bad in --bogus word --only= --only=nobody "--json=$out/no/such/folder"; do
  run "$compare" "$bad"
  check "$bad: exit status 2" exits 2
  check "$bad: nothing on stdout" silent stdout
  check "$bad: one line on stderr" one_line stderr
done

report 31
