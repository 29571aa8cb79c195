# ./nest test --aarch64: the tests on AArch64 Linux, built by a cross compiler and run in QEMU's user mode. Sourced
# by cmd_test.sh.

aarch64_list="$top/test/qemu_user/left_out.txt"
# One CPU without checks and several with them; most tests hold all eight kernels anyway. What is of neither are
# scripts that run this machine's compilers, and programs of its own.
aarch64_configs=cfg_up,cfg_smp_debug

# aarch64_left_out program|case N: the N-th word behind it, of each line of that kind.
aarch64_left_out() { awk -v kind="$1" -v n="$2" '$1 == kind { print $(n + 1) }' "$aarch64_list"; }

# For each reason of the list: how many cases and programs were left out. A GoogleTest program that was built says
# itself which of its cases a pattern is of.
aarch64_skips() {
  local bin kind label pattern file n cases=0 programs=0 reason=''
  bin=$(run_bazel info --config=aarch64 bazel-bin 2>/dev/null)
  while read -r kind label pattern; do
    case "$kind" in
      \[*) # the next reason
        [ -z "$reason" ] || say "  $cases cases and $programs programs: $reason"
        cases=0 programs=0 reason="$label $pattern"
        ;;
      program) programs=$((programs + 1)) ;;
      case)
        n=0
        file=${label#//}
        for file in "$bin/${file/://}."*; do
          [ -x "$file" ] && [ -f "$file" ] || continue
          n=$((n + $(qemu-aarch64 -L /usr/aarch64-linux-gnu "$file" --gtest_list_tests "--gtest_filter=$pattern" \
            </dev/null 2>/dev/null | grep -c '^  ')))
        done
        [ "$n" != 0 ] || say "  no such case any more: $label $pattern"
        cases=$((cases + n)) total_left_out=$((total_left_out + n))
        ;;
    esac
  done <"$aarch64_list"
  say "  $cases cases and $programs programs: $reason"
}

# The test of programs and shared libraries with a copy each of the port's state: it runs the compilers itself.
aarch64_copies() {
  title "aarch64, test/port/copies_test.sh"
  if (cd "$top" && CXX=aarch64-linux-gnu-g++ RUN='qemu-aarch64 -L /usr/aarch64-linux-gnu' TIMES=100 \
    test/port/copies_test.sh); then
    total_passed=$((total_passed + 1))
  else
    total_failed=$((total_failed + 1))
  fi
}

# run_test_aarch64 BAZEL-ARGUMENTS
run_test_aarch64() {
  local arg targets=() args=() named='' program total_left_out=0
  for arg; do
    case "$arg" in
      //* | :* | @*) named=1 targets+=("$arg") ;;
      *) args+=("$arg") ;;
    esac
  done
  # Named ones are run as they are named.
  if [ -z "$named" ]; then
    args+=("--test_tag_filters=$aarch64_configs")
    targets=(//test/...)
    for program in $(aarch64_left_out program 1); do targets+=("-$program"); done
  fi
  needed_packages+=" g++-aarch64-linux-gnu qemu-user"
  prepare
  have aarch64-linux-gnu-g++ && have qemu-aarch64 ||
    die "--aarch64 needs aarch64-linux-gnu-g++ and qemu-aarch64"
  run_tests aarch64 --config=aarch64 "--test_filter=-$(aarch64_left_out case 2 | paste -sd:)" \
    "${args[@]}" -- "${targets[@]}"
  [ -n "$named" ] && return
  aarch64_copies
  say "left out by test/qemu_user/left_out.txt:"
  aarch64_skips
  say "$total_left_out cases were left out"
}
