#!/usr/bin/env bash
# ./nest bench lock --peer=FILE: which headers become a row, and what is said of the others, in one line, of
# which nothing is left where the benchmark would build it in.
. "${BASH_SOURCE[0]%/*}/../support/program_checks.sh"

# A repository of its own: nothing is built in it.
top=$out/top driver=$PWD/tools/driver
mkdir -p "$top/bench" && cp bench/users_peer.h "$top/bench/" &&
  echo '    name = "lock_bench",' >"$top/bench/BUILD.bazel" || exit 2

bench() { # bench FUNCTION ARGUMENTS
  run bash -uc '. "$driver/common.sh" && . "$driver/cmd_bench.sh" && "$@"' bash "$@"
}
export top driver
copy=$top/bench/users/peer.h

refused() { # refused WHAT SAYS-REGEX
  check "$1: exit status 2" exits 2
  check "$1: one line" one_line stderr
  check "$1: it says why" grep -qE -e "$2" "$out/stderr"
  check "$1: nothing is left" [ ! -e "$copy" ]
}

bench run_bench lock --peer=
refused "no name" '--peer wants a file'
bench run_bench lock --peer
refused "no name at the end" '--peer wants a file'
bench run_bench lock --text --peer="$out/none.h"
refused "no such file" 'there is no file'
echo 'struct Other {};' >"$out/other.h"
bench run_bench lock --peer "$out/other.h"
refused "another struct" 'does not define struct ComparedLock'

least=16
if (. "$driver/common.sh" && first_of g++ clang++ clang++-19) >/dev/null; then
  least=28
  echo 'struct ComparedLock { nonsense };' >"$out/broken.h"
  bench take_peer "$out/broken.h"
  refused "what does not compile" 'broken.h is no lock to compare with: .'
  echo 'struct ComparedLock { bool try_lock(); void unlock(); };' >"$out/nameless.h"
  bench take_peer "$out/nameless.h"
  refused "no kName" 'ComparedLock needs kName'

  bench take_peer tools/compare/example_lock.h
  check "the example is taken" exits 0
  check "without a word" silent stderr
  check "where it is looked for" grep -q ComparedLock "$copy"
  bench drop_peer
  check "and dropped again" [ ! -e "$copy" ]
else
  echo "what compiles was not tried: no compiler here"
fi
report "$least"
