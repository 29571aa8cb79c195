#!/usr/bin/env bash
# The example of docs/explore_your_own.md: the text has the program as it is, the program succeeds,
# and with a lock that does not promise its answer both tools find that.
#
# Run in the repository's top folder, or by Bazel.
set -u -o pipefail

program=test/testing/explore_your_own.cc
guide=docs/explore_your_own.md
work=$(mktemp -d) || exit 2
trap 'rm -rf "$work"' EXIT
failures=0
fail() {
  echo "FAILED: $*"
  failures=$((failures + 1))
}

sed -n '/^```cpp$/,/^```$/p' "$guide" | sed '1d;$d' >"$work/shown.cc"
diff "$work/shown.cc" "$program" || fail "the program in $guide is not $program"

build() { # CONFIG FILE
  "$compiler" -std=c++20 -O2 -Wall -Wextra -Werror -Iinclude "-DNESTLOCK_CONFIG=$1" "$2" \
    -o "$work/program"
}
# One compiler is enough: the headers are compiled by all of them elsewhere.
compiler=
for c in g++ clang++-19 clang++; do
  [ -z "$compiler" ] && command -v "$c" >/dev/null && compiler=$c
done
[ -n "$compiler" ] || fail "no compiler"

if ! build up "$program"; then
  fail "does not compile"
elif ! "$work/program" >"$work/said"; then
  fail "$(cat "$work/said")"
elif ! grep -q '^explored: .* schedules, all' "$work/said"; then
  fail "not all was explored: $(cat "$work/said")"
fi

mv "$work/program" "$work/right"
sed 's/BasicTrySpinLock/BasicSpinLock/' "$program" >"$work/broken.cc"
build up "$work/broken.cc" || fail "the broken one does not compile"
"$work/program" >"$work/said" && fail "the broken one passed: $(cat "$work/said")"
while IFS= read -r line; do
  grep -qF -- "$line" "$work/said" || fail "the guide shows '$line'; it said: $(cat "$work/said")"
done < <(sed -n '/^FAILED: /,/^replay: /p' "$guide")
# The schedule that it shows brings the error back, and does no harm to what is right.
schedule=$(sed -n 's/^replay: //p' "$work/said")
"$work/program" "$schedule" >"$work/again" && fail "the replay passed: $(cat "$work/again")"
grep -q '^explored: 1 schedules' "$work/again" || fail "more than a replay: $(cat "$work/again")"
"$work/right" "$schedule" >/dev/null || fail "a replay of what is right"
# Where instructions cannot be swept, it says so instead.
grep -Eq '^swept: .*([1-9][0-9]* failed|not supported)' "$work/said" || fail "the sweep found nothing"

[ "$failures" = 0 ] && echo "the example is as shown"
exit "$failures"
