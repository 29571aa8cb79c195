help_bench() {
  cat <<'END'
builds a benchmark optimised, and runs it

usage: ./nest bench [NAME] [--text] [ARGUMENTS OF THE BENCHMARK]

  malloc  workloads on each malloc() that is installed; ./nest bench malloc --help
  NAME    a program of bench/, with or without its `_bench`; lock by default
  --text  the tables only; else report/NAME.html is written, too (lock: locks.html), with its pictures,
          and report/NAME.csv with every single figure

Compare figures of one run only: machines drift. ./nest bench NAME --help shows its arguments.
END
}

run_bench() {
  local name=lock root report
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
  . "$driver/cmd_setup.sh"
  prepare
  root=$(bazel_root) || exit 2
  run_bazel build -c opt --platform_suffix=bench "//bench:$name" || exit 1
  case " $* " in
    *' --text '* | *' --json '* | *' --help '* | *' --benchmark_format='* | *' --benchmark_list_tests'*)
      local rest=() argument
      for argument; do [ "$argument" = --text ] || rest+=("$argument"); done
      exec "$root/bazel-bin/bench/$name" ${rest[@]+"${rest[@]}"}
      ;;
  esac
  mkdir -p "$top/report" "$state" || die "cannot write to report"
  machine_notes >"$state/bench.notes"
  "$root/bazel-bin/bench/$name" "--figures=$top/$report.csv" "$@" | tee "$state/bench.text"
  [ "${PIPESTATUS[0]}" = 0 ] || exit 1
  # The lines before the first table: compiler, versions.
  sed '/^$/q' "$state/bench.text" >>"$state/bench.notes"
  awk -v title="Nestlock: the ${name%_bench} benchmark" -v notes="$state/bench.notes" \
    -v ours='^((Raw|Try|SharedTry|Resilient)?Spin|Local|PiMutex|nestlock)' -f "$driver/report_page.awk" \
    "$top/$report.csv" >"$top/$report.html" || exit 1
  say
  say "$report.html, and every figure in $report.csv"
}
