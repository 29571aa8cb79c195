# What the tests of a program's command line share: it is run, and its status and both outputs are
# looked at. Sourced; the test ends with `report AT-LEAST`.
set -u -o pipefail

out=$(mktemp -d "${TEST_TMPDIR:-/tmp}/program_test.XXXXXX") || exit 2
trap 'rm -rf -- "$out"' EXIT
checks=0 failed=0

check() { # check WHAT COMMAND...
  local what=$1
  shift
  checks=$((checks + 1))
  "$@" && return
  failed=$((failed + 1))
  printf 'FAILED: %s\n' "$what"
  sed 's/^/  | /' "$out/stdout" "$out/stderr"
}
run() { # run PROGRAM ARGUMENTS: leaves $status, $out/stdout, $out/stderr
  "$@" >"$out/stdout" 2>"$out/stderr"
  status=$?
}
exits() { [ "$status" = "$1" ]; }
says() { grep -qE -e "$1" "$out/stdout"; }
lacks() { ! says "$1"; }
silent() { [ ! -s "$out/$1" ]; }
one_line() { [ "$(wc -l <"$out/$1")" = 1 ]; }
narrow() { [ "$(awk '{ if (length($0) > n) n = length($0) } END { print n }' "$out/stdout")" -le 100 ]; }
# The test's status: all checks held, and there were at least so many.
report() { # report AT-LEAST
  printf '%s checks, %s failed\n' "$checks" "$failed"
  [ "$failed" = 0 ] && [ "$checks" -ge "$1" ]
}
