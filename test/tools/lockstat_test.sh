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

run "$lockstat" --nonsense
check "an unknown option is refused" exits 2

report 6
