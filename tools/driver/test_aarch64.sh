# ./nest test --aarch64: the tests on AArch64 Linux, built by a cross compiler and run in QEMU's user mode. Sourced
# by cmd_test.sh.

aarch64_list="$top/test/qemu_user/left_out.txt"
# One CPU without checks and several with them; most tests hold all eight kernels anyway. What is of neither are
# scripts that run this machine's compilers, and programs of its own.
aarch64_configs=cfg_up,cfg_smp_debug

# aarch64_left_out program|case: the second column of the list's lines of that kind.
aarch64_left_out() { awk -v kind="$1" '$1 == kind { print $2 }' "$aarch64_list"; }

# What of the list did not run, as "COUNT REASON" lines: cases by what GoogleTest reports of them, programs by name.
# aarch64_skips XML...
aarch64_skips() {
  awk -v list="$aarch64_list" '
    BEGIN {
      while ((getline line < list) > 0) {
        if (line ~ /^\[/) { reasons++; reason[reasons] = line; sub(/^\[[a-z_]*\] */, "", reason[reasons]) }
        else if (split(line, word, " ") == 2 && word[1] == "case") {
          gsub(/[.]/, "[.]", word[2]); gsub(/[*]/, ".*", word[2])
          pattern[++patterns] = "^" word[2] "$"; of[patterns] = reasons
        } else if (word[1] == "program") programs[reasons]++
      }
    }
    /<testcase / && /status="notrun"/ && match($0, / name="[^"]*"/) {
      name = substr($0, RSTART + 7, RLENGTH - 8)
      if (!match($0, / classname="[^"]*"/)) next
      name = substr($0, RSTART + 12, RLENGTH - 13) "." name
      for (i = 1; i <= patterns; i++)
        if (name ~ pattern[i]) { cases[of[i]]++; used[i] = 1; break }
    }
    END {
      for (i = 1; i <= reasons; i++)
        if (cases[i] || programs[i])
          printf "%d cases, %d programs: %s\n", cases[i], programs[i], reason[i]
      for (i = 1; i <= patterns; i++)
        if (!used[i]) print "no such case any more: " pattern[i]
    }
  ' "$@"
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
  local arg targets=() args=() named='' program xmls=() label result xml left=''
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
    for program in $(aarch64_left_out program); do targets+=("-$program"); done
  fi
  needed_packages+=" g++-aarch64-linux-gnu qemu-user"
  prepare
  have aarch64-linux-gnu-g++ && have qemu-aarch64 ||
    die "--aarch64 needs aarch64-linux-gnu-g++ and qemu-aarch64"
  run_tests aarch64 --config=aarch64 "--test_filter=-$(aarch64_left_out case | paste -sd:)" \
    "${args[@]}" -- "${targets[@]}"
  [ -n "$named" ] || aarch64_copies
  while read -r label result xml; do
    [ ! -f "$xml" ] || xmls+=("$xml")
  done < <(test_results "$state/test-aarch64.json")
  [ "${#xmls[@]}" = 0 ] || left=$(aarch64_skips "${xmls[@]}")
  say "left out (test/qemu_user/left_out.txt):"
  say "${left:-nothing}" | sed 's/^/  /'
}
