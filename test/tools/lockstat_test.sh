#!/usr/bin/env bash
# The lock statistics: the hot lock is named, its sections are all there, the picture is written. (That
# times are right lockstat_test.cc shows by a clock of its own.)
# usage: lockstat_test.sh PROGRAM
. "${BASH_SOURCE[0]%/*}/../support/program_checks.sh"

lockstat=$1

run "$lockstat" --sections=200 --svg="$out/hot.svg"
check "it passes" exits 0
check "the hot lock is named" says '^hottest: main.cc:[0-9]+\. .*sections 100\.0 %'
check "each class has a line" says '^main.cc:[0-9]+ +SpinLock +8 '
check "no word on stderr" silent stderr
check "the picture is there" grep -q '^</svg>' "$out/hot.svg"
# Each bar tells how many it has; waits, then sections.
counts=$(sed -n 's/.*<title>\([0-9]*\): .*/\1/p' "$out/hot.svg" | awk '{ n += $1 } END { print n }')
check "the bars have each of 400 waits and 400 sections" [ "$counts" = 800 ]
check "a bar is seen" awk -F"height='" '/^<rect/ && $2 + 0 < 1 { exit 1 }' "$out/hot.svg"
check "each bucket's end is where the next begins" \
  grep -q "^<line x1='30' x2='30' .*>2^0 ns</text>" "$out/hot.svg"
check "the last bar has all that is longer" grep -q '2^31 ns and more</text>' "$out/hot.svg"

for bad in --nonsense --sections=0 --sections=5x --sections=-3 --sections= --sections=99999999999 --svg=; do
  run timeout 20 "$lockstat" "$bad"
  check "$bad: exit status 2" exits 2
  check "$bad: nothing on stdout" silent stdout
  check "$bad: one line on stderr" one_line stderr
done

report 30
