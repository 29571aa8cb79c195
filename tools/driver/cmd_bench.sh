help_bench() {
  cat <<'END'
builds a benchmark optimised, and runs it

usage: ./nest bench [NAME] [--text] [--peer=FILE] [ARGUMENTS OF THE BENCHMARK]

  malloc       workloads on each malloc() that is installed; ./nest bench malloc --help
  NAME         a program of bench/, with or without its `_bench`; lock by default
  --text       the tables only; else report/NAME.html is written, too (lock: locks.html), with its
               pictures, and report/NAME.csv with every single figure
  --peer=FILE  of lock: with a lock of your own besides, a row in the uncontended table and in each
               contended one: a header that includes nothing of yours and defines struct
               ComparedLock, with kName, try_lock(), unlock() and, if it has one, lock(); without,
               who waits turns on try_lock(). tools/compare/example_lock.h is one

A peer that is not here: ./nest setup --peers installs it.
Compare figures of one run only: machines drift. ./nest bench NAME --help shows its arguments.
END
}

# take_peer FILE: a copy of it where bench/users_peer.h looks for it, if it can be a row; or dies.
users_peer="$top/bench/users/peer.h"
take_peer() {
  local file cxx errors
  file=$(compared_lock --peer "$1") || exit 2
  cxx=$(find_cxx) || exit 2
  mkdir -p "${users_peer%/*}" || die "cannot write to ${users_peer%/*}"
  # Its warnings are not ours.
  { printf '#pragma GCC system_header\n' && cat -- "$file"; } >"$users_peer" || die "cannot write $users_peer"
  errors=$(printf '#include "bench/users_peer.h"\ntemplate class bench::UsersPeer<ComparedLock>;\n' |
    (cd "$top" && $cxx -std=c++20 -fsyntax-only -I. -Iinclude -DNESTLOCK_CONFIG=smp -x c++ -) 2>&1) && return
  drop_peer
  die "$file is no lock to compare with: $(first_error <<<"$errors")"
}
drop_peer() {
  rm -f -- "$users_peer"
  rmdir -- "${users_peer%/*}" 2>/dev/null
}

run_bench() {
  local name=lock root report peer='' text='' rest=() status
  if [ "${1:-}" = malloc ]; then
    . "$driver/bench_malloc.sh"
    run_bench_malloc "${@:2}"
    return
  fi
  case "${1:-}" in
    '' | -*) ;;
    *) name=$1 && shift ;;
  esac
  name=${name%_bench}
  report=report/$name
  [ "$name" != lock ] || report=report/locks
  name=${name}_bench
  grep -q "^    name = \"$name\"" "$top/bench/BUILD.bazel" ||
    die "no benchmark '$name'; there are: $(sed -n 's/^    name = "\([a-z_]*_bench\)".*/\1/p' "$top/bench/BUILD.bazel" | tr '\n' ' ')"
  while [ $# -gt 0 ]; do
    case $1 in
      --peer=* | --peer)
        [ "$name" = lock_bench ] || die "--peer=FILE is for ./nest bench lock; malloc has one of its own"
        if [ "$1" = --peer ]; then peer=${2:-} && shift; else peer=${1#--peer=}; fi
        compared_lock --peer "$peer" >/dev/null || exit 2
        ;;
      --text) text=1 ;;
      --json | --help | --benchmark_format=* | --benchmark_list_tests*) text=1 && rest+=("$1") ;;
      *) rest+=("$1") ;;
    esac
    shift
  done
  # One that a run left that was killed is not built in.
  drop_peer
  if [ -n "$peer" ]; then
    trap drop_peer EXIT
    take_peer "$peer"
  fi
  . "$driver/cmd_setup.sh"
  prepare
  root=$(bazel_root) || exit 2
  run_bazel build -c opt --platform_suffix=bench "//bench:$name"
  status=$?
  drop_peer
  [ "$status" = 0 ] || exit 1
  [ -z "$text" ] || exec "$root/bazel-bin/bench/$name" ${rest[@]+"${rest[@]}"}
  mkdir -p "$top/report" "$state" || die "cannot write to report"
  machine_notes >"$state/bench.notes"
  [ -z "$peer" ] || say "--peer=$peer" >>"$state/bench.notes"
  "$root/bazel-bin/bench/$name" "--figures=$top/$report.csv" ${rest[@]+"${rest[@]}"} | tee "$state/bench.text"
  [ "${PIPESTATUS[0]}" = 0 ] || exit 1
  # The lines before the first table: compiler, versions.
  sed '/^$/q' "$state/bench.text" >>"$state/bench.notes"
  awk -v title="Nestlock: the ${name%_bench} benchmark" -v notes="$state/bench.notes" \
    -v ours='^((Raw|Try|SharedTry|Resilient)?Spin|Local|PiMutex|nestlock|irq_save|preempt_disable)' \
    -v greatest='^(passed by at most|wait max)' -f "$driver/report_page.awk" "$top/$report.csv" >"$top/$report.html" || exit 1
  say
  say "$report.html, and every figure in $report.csv"
}
