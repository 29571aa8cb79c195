#!/usr/bin/env bash
# The demonstration: exit status, both outputs, options that do not exist.
# usage: demo_test.sh PROGRAM
. "${BASH_SOURCE[0]%/*}/../support/program_checks.sh"

demo=$1

# JSON is what these rules reduce to one value.
json() {
  awk '
    { s = s $0 " " }
    END {
      gsub(/"([^"\\]|\\.)*"/, "S", s)
      gsub(/-?[0-9]+(\.[0-9]+)?|true|false|null/, "V", s)
      if (s ~ /[SV] +[SV]/) exit 1
      gsub(/ /, "", s)
      do {
        n = gsub(/S:[SV]/, "P", s)
        n += gsub(/\{(P(,P)*)?\}/, "V", s)
        n += gsub(/\[([SV](,[SV])*)?\]/, "V", s)
      } while (n)
      exit s != "V"
    }' "$1"
}
count() { grep -cE -e "$1" "$out/stdout"; }

# The check of JSON has teeth.
printf '%s' '{"a": [1, "b\"c", {"d": null}], "e": {}}' >"$out/stdout"
: >"$out/stderr"
check "good JSON is good" json "$out/stdout"
for bad in '{"a": 1 "b": 2}' '{"a": [1, 2}' '{"a": 1,}' '{"a"}' '[1 2]' '{a: 1}' ''; do
  printf '%s' "$bad" >"$out/bad"
  if json "$out/bad"; then check "bad JSON is bad: $bad" false; else check "" true; fi
done

figures="$out/figures.json"
run "$demo" "--json=$figures"
check "it passes" exits 0
check "it says so" says '^PASS  '
check "it saw the historic bug" says 'TAKEN'
check "no word on stderr" silent stderr
check "a page is 100 columns wide" narrow
check "no colours in a file" lacks $'\033'
for lock in RawSpinLock SpinLock TrySpinLock SharedTrySpinLock LocalLock LocalTryLock; do
  check "$lock is in it" says "^$lock "
done
for policy in stateless 'irqs off' 'refused in NMI' 'per-lock atomic' 'class atomic' 'per-lock byte'; do
  check "the page and slab floors on $policy" [ "$(count "^$policy  ")" = 2 ]
done
check "nothing was handed out twice on our lock" says '^per-lock byte( +[0-9]+/[0-9]+ +0){3}$'
check "irqs off fails under NMI" says '^irqs off +[0-9]+/[0-9]+ +0 +[0-9]+/[0-9]+ +[1-9]'
check "it names what comes next" says '\./nest test'

cp "$figures" "$out/stdout"
check "--json=FILE is JSON" json "$out/stdout"
check "--json=FILE says it passed" says '^  "pass": true'
check "no cell failed" lacks '"ok": false'
# 5 locks with a try_lock() x 8 configurations x 3 kinds of signals; LocalLock. Probes come on top.
check "it has all cells" [ "$(count '"ok": true')" -ge 121 ]
check "it has the historic bug" [ "$(count '"historic_bug": true')" -ge 9 ]
if says '"not_tried": null'; then
  # Probes; free lists; pages and objects: 6 policies x 3 interruptions, and that a lock was held.
  check "it has the probes" [ "$(count '"ok": true')" -eq $((121 + 40 + 40 + 19 + 19)) ]
  check "it has the floors' historic bugs" [ "$(count '"historic_bug": true.*nested_served')" -eq 12 ]
fi

run "$demo" --config up_rt
check "--config up_rt passes" exits 0
check "--config up_rt saw the bug" says TAKEN
run "$demo" --config=smp_rt_debug --json
check "--json passes" exits 0
check "--json is JSON, and nothing else" json "$out/stdout"
run "$demo" --config=smp_rt_debug
check "--config=smp_rt_debug passes" exits 0
check "there is no bug to see" lacks TAKEN
check "the floors' policies are for one CPU" lacks 'stateless'
check "and it says so" says 'no place in this configuration'

run "$demo" --help
check "--help is a success" exits 0
check "--help shows the usage" says '^usage: '
check "--help lists the configurations" says ' up_rt_debug '

for bad in --bogus --config --config=nope "--config nope" word "--json=$out/no/such/folder"; do
  # shellcheck disable=SC2086  # two words
  run "$demo" $bad
  check "$bad: exit status 2" exits 2
  check "$bad: nothing on stdout" silent stdout
  check "$bad: one line on stderr" one_line stderr
done

report 40
