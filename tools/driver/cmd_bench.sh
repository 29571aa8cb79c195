help_bench() {
  cat <<'END'
builds a benchmark optimised, and runs it

usage: ./nest bench [NAME] [ARGUMENTS OF THE BENCHMARK]

  malloc  workloads on each malloc() that is installed; ./nest bench malloc --help
  NAME   a program of bench/, with or without its `_bench`; lock by default

Compare figures of one run only: machines drift. ./nest bench NAME --help shows its arguments.
END
}

run_bench() {
  local name=lock root
  if [ "${1:-}" = malloc ]; then
    . "$driver/bench_malloc.sh"
    run_bench_malloc "${@:2}"
    return
  fi
  case "${1:-}" in
    '' | -*) ;;
    *) name=$1 && shift ;;
  esac
  name=${name%_bench}_bench
  grep -q "^    name = \"$name\"" "$top/bench/BUILD.bazel" ||
    die "no benchmark '$name'; there are: $(sed -n 's/^    name = "\([a-z_]*_bench\)".*/\1/p' "$top/bench/BUILD.bazel" | tr '\n' ' ')"
  . "$driver/cmd_setup.sh"
  prepare
  root=$(bazel_root) || exit 2
  run_bazel build -c opt --platform_suffix=bench "//bench:$name" || exit 1
  exec "$root/bazel-bin/bench/$name" "$@"
}
