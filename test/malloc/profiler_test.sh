#!/usr/bin/env bash
# examples/profiler: a program in its hands does what it does without, and leaves a flame graph that shows
# where it was.
#
#   profiler_test.sh LIBRARY PROFILER
set -u -o pipefail

usage="usage: profiler_test.sh LIBRARY PROFILER"
library=$(readlink -f "${1:?$usage}") || exit 2
profiler=$(readlink -f "${2:?$usage}") || exit 2
work=$(mktemp -d "${TEST_TMPDIR:-/tmp}/profiler_test.XXXXXX") || exit 2
trap 'rm -rf -- "$work"' EXIT
cd "$work" || exit 2

fail() {
  echo "FAILED: $*"
  exit 1
}
command -v perl >/dev/null || { echo "not installed: perl"; exit 0; }
said=$(LD_PRELOAD="$profiler $library" PROFILE="$work/graph" perl -e '
  my (%h, $n); for my $i (1 .. 300000) { $h{$i % 5000} = "x" x ($i % 300); $n += length $h{$i % 5000} } print $n') ||
  fail "the program ends with $?"
[ "$said" = 44850000 ] || fail "the program says '$said'"
graph=$(grep -l 'all: ' graph.*.svg 2>/dev/null | head -n 1)
[ -n "$graph" ] || fail "no flame graph"
samples=$(sed -n 's/.*<title>all: \([0-9]*\) samples.*/\1/p' "$graph")
[ "${samples:-0}" -gt 0 ] || fail "no sample"
grep -q '<title>[^<]*[Pp]erl' "$graph" || fail "nothing of perl is in it"
if [ "$(grep -c '<g>' "$graph")" != "$(grep -c '</g>' "$graph")" ] || ! grep -q '^</svg>$' "$graph"; then
  fail "it is cut off"
fi
echo "$samples samples"
