#!/usr/bin/env bash
# examples/explore_your_own.cc and the document that explains it: the text has the program as it is, the
# program succeeds, and with a lock that does not promise its answer both tools find that.
#
# Run in the repository's top folder, or by Bazel.
. test/examples/example.sh

program=examples/explore_your_own.cc
guide=docs/explore_your_own.md
said="$work/explore_your_own.said"
shows "$guide" "$program"
variant_follows=yes check_example "$program"
mv "$work/explore_your_own" "$work/right" || fail "no program"
grep -q '^explored: .* schedules, all' "$said" || fail "not all was explored: $(cat "$said")"

# The same line builds the broken one, from a folder of its own.
rm "$work/examples" && mkdir "$work/examples"
sed 's/BasicTrySpinLock/BasicSpinLock/' "$program" >"$work/$program"
build_example "$program"
"$work/explore_your_own" >"$said" && fail "the broken one passed: $(cat "$said")"
while IFS= read -r line; do
  grep -qF -- "$line" "$said" || fail "the guide shows '$line'; it said: $(cat "$said")"
done < <(sed -n '/^FAILED: /,/^replay: /p' "$guide")
# The schedule that it shows brings the error back, and does no harm to what is right.
schedule=$(sed -n 's/^replay: //p' "$said")
"$work/explore_your_own" "$schedule" >"$work/again" && fail "the replay passed: $(cat "$work/again")"
grep -q '^explored: 1 schedules' "$work/again" || fail "more than a replay: $(cat "$work/again")"
"$work/right" "$schedule" >/dev/null || fail "a replay of what is right"
# Where instructions cannot be swept, it says so instead.
grep -Eq '^swept: .*([1-9][0-9]* failed|not supported)' "$said" || fail "the sweep found nothing"
examples_end
