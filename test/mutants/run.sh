#!/usr/bin/env bash
# Breaks copies of the library in known ways and expects the tests to see it: table.sh.
#
#   test/mutants/run.sh [-a] [-j JOBS] [NAME...]      names as in table.sh, with * as in file names
#
# -a: looks only whether each still changes what it is to change; builds nothing.
#
# Each test is first run on the library as it is: it must pass there. Then a copy of include/ and
# lib/ is changed, the one test that the table names is built against it by the plain compiler line,
# and must fail. The last line is `N passed, N failed`; a mutant that survives has failed, and so
# has one that no longer applies. Exit status: 0 all caught, 1 not all, 2 it could not be tried.
#
# CXX and GTEST_DIR (GoogleTest's sources) may be set; NEST_STATE is where it all is built.
set -u -o pipefail

here=$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")" && pwd -P) || exit 2
top=${here%/test/mutants}
state=${NEST_STATE:-$top/.nest}/mutants
results=$state/results
jobs=2
read -ra cxx <<<"${CXX:-g++}"
time_limit=60        # seconds, of the tests on the library as it is
mutant_time_limit=30 # of one test, which a mutant may hang

die() {
  printf 'mutants: %s\n' "$*" >&2
  exit 2
}

# ---- the table ----------------------------------------------------------------------------------

names=() tests=() filters=() reasons=() edits=()
declare -A more  # test -> further sources, besides its own and lib/port
declare -A fewer # test -> the kernels it is built for, where that is not all of them
sources() {
  local test=$1
  shift
  more[$test]=$*
}
kernels() {
  fewer[$1]=$2
}
mutant() {
  names+=("$1") tests+=("$2") filters+=("$3") reasons+=("$4")
  shift 4
  # One mutant's edits, separated by a character that no file name and no sed script holds.
  local joined
  joined=$(printf '%s\001' "$@")
  edits+=("$joined")
}
. "$here/table.sh"

# ---- building -----------------------------------------------------------------------------------

find_googletest() {
  local dir
  for dir in "${GTEST_DIR:-}" /usr/src/googletest/googletest \
    "$top/bazel-${top##*/}/external/com_google_googletest/googletest"; do
    if [ -f "$dir/src/gtest-all.cc" ]; then
      printf '%s\n' "$dir"
      return
    fi
  done
  die 'no sources of GoogleTest; set GTEST_DIR'
}

# A test is NAME.CONFIG or NAME.CONFIG+tsan.
program_of() { printf '%s\n' "${1%%.*}"; }
config_of() { local c=${1#*.}; printf '%s\n' "${c%+tsan}"; }
kind_of() { case $1 in *+tsan) printf 'tsan\n' ;; *) printf 'plain\n' ;; esac; }

# compile TREE TEST SOURCE OBJECT: SOURCE against the headers of TREE; OBJECT's .d says which.
compile() {
  local flags=(-O1 -MMD -MF "${4%.o}.d")
  # Most of the time goes into compiling; but a search or a sweep is long, and optimised elsewhere.
  case $2 in
    tsan_interrupts_test.*) flags+=(-fsanitize=thread -g1 --param=tsan-distinguish-volatile=1) ;;
    *+tsan) flags+=(-fsanitize=thread -g1) ;;
    explore* | *sweep*) ;;
    *) flags[0]=-O0 ;;
  esac
  [ -z "${fewer[$2]:-}" ] || flags+=("-DNESTLOCK_TEST_KERNELS=${fewer[$2]}")
  "${cxx[@]}" -std=c++20 -w "${flags[@]}" "-I$1/include" "-I$top" \
    -isystem "$gtest/include" "-DNESTLOCK_CONFIG=$(config_of "$2")" -c "$3" -o "$4"
}

# link TEST OBJECT... (the last is the program)
link() {
  local flags=() test=$1
  shift
  [ "$(kind_of "$test")" = plain ] || flags+=(-fsanitize=thread)
  "${cxx[@]}" ${flags[@]+"${flags[@]}"} "${@:1:$#-1}" "$state/gtest.$(kind_of "$test").o" -pthread \
    -o "${!#}"
}

# Builds TEST in FOLDER from TREE. A mutant names the files that it changed: what is made of none of
# these is taken from the library as it is.
build() { # build TREE TEST FOLDER [CHANGED-FILE...]
  local tree=$1 test=$2 folder=$3 source object objects=() further=() changed=("${@:4}")
  mkdir -p "$folder"
  for source in ${more[$test]:-}; do
    case $source in lib/*) further+=("$tree/$source") ;; *) further+=("$top/$source") ;; esac
  done
  for source in "$top"/test/*/"$(program_of "$test").cc" "$top/test/support/main.cc" "$tree"/lib/port/*.cc \
    ${further[@]+"${further[@]}"}; do
    object=${source##*/}
    object="${object%.cc}.o"
    if [ ${#changed[@]} != 0 ] && ! is_made_of "$state/control.$test/${object%.o}.d" "${changed[@]}"; then
      object="$state/control.$test/$object"
    else
      object="$folder/$object"
      compile "$tree" "$test" "$source" "$object" || return
    fi
    objects+=("$object")
  done
  link "$test" "${objects[@]}" "$folder/program"
}

# True, too, if it is not known.
is_made_of() { # is_made_of DEPENDENCIES FILE...
  local list file
  list=$(cat "$1") || return 0
  for file in "${@:2}"; do
    case $list in *"/$file"*) return 0 ;; esac
  done
  return 1
}

# ---- running ------------------------------------------------------------------------------------

# run_test FOLDER FILTER SECONDS: prints how the program failed, or nothing if it passed.
run_test() {
  local log="$1/log" status failed last
  TSAN_OPTIONS="halt_on_error=1 ${TSAN_OPTIONS:-}" timeout -k 5 "$3" \
    "$1/program" --gtest_filter="$2" --gtest_color=no >"$log" 2>&1
  status=$?
  if ! grep -q '^\[ RUN  ' "$log"; then
    printf 'no test of that name\n'
    return
  fi
  [ "$status" != 0 ] || return
  last=$(sed -n 's/^\[ RUN      \] //p' "$log" | tail -n 1)
  failed=$(sed -n 's/^\[  FAILED  \] \([^ ,]*\),\{0,1\}.*(.*ms)$/\1/p' "$log" | head -n 1)
  if [ "$status" = 124 ] || [ "$status" = 137 ]; then
    printf '%s (hung)\n' "$last"
  elif grep -q 'WARNING: ThreadSanitizer' "$log"; then
    printf '%s (race)\n' "$last"
  elif [ -n "$failed" ]; then
    printf '%s\n' "$failed"
  else
    printf '%s (died)\n' "$last"
  fi
}

# control TEST: the library as it is, with all filters that mutants use.
control() {
  local test=$1 all='' how i
  local folder="$state/control.$test"
  if ! build "$top" "$test" "$folder" >"$folder.build" 2>&1; then
    line FAILED "(the library as it is)" "$test does not build: $folder.build"
    return
  fi
  for i in "${chosen[@]}"; do
    [ "${tests[i]}" != "$test" ] || all+="${filters[i]}:"
  done
  how=$(run_test "$folder" "$all" "$time_limit")
  if [ -z "$how" ]; then
    line passed '(the library as it is)' "$test"
  else
    line FAILED '(the library as it is)' "$test: $how, see $folder/log"
  fi
}

# change INDEX TREE [few]: a changed copy of the library (`few`: of the files that are looked at), and what changed in
# `changed`; false, and said, where it does not apply.
change() {
  local name=${names[$1]} tree=$2 file hits list=()
  changed=()
  rm -rf -- "$tree" && mkdir -p "$tree"
  [ "${3:-}" = few ] || cp -R "$top/include" "$top/lib" "$tree/"
  IFS=$'\001' read -r -a list <<<"${edits[$1]}"
  while [ ${#list[@]} -ge 2 ]; do
    # shellcheck disable=SC2086  # a pattern
    {
      [ "${3:-}" != few ] || (cd "$top" && cp -n --parents ${list[0]} "$tree/")
      mkdir "$tree.before"
      (cd "$tree" && cp --parents ${list[0]} "$tree.before/" && sed -z -i "${list[1]}" ${list[0]})
    }
    hits=0
    while read -r file; do
      hits=$((hits + 1))
      changed+=("$file")
    done < <(diff -rq "$tree.before" "$tree" | sed -n "s|^Files .* and $tree/\(.*\) differ\$|\1|p")
    rm -rf -- "$tree.before"
    if [ "$hits" != 1 ]; then
      line FAILED "$name" "does not apply: changes $hits files of ${list[0]}"
      return 1
    fi
    list=("${list[@]:2}")
  done
}

# applies INDEX
applies() {
  local tree="$state/${names[$1]}.applies" changed=()
  change "$1" "$tree" few && printf 'passed\n' >>"$results"
  rm -rf -- "$tree"
}

# one INDEX: a mutant.
one() {
  local name=${names[$1]} test=${tests[$1]} how='' changed=()
  local tree="$state/$name"
  change "$1" "$tree" || return
  if ! build "$tree" "$test" "$tree/out" "${changed[@]}" >"$tree/build" 2>&1; then
    line FAILED "$name" "does not build: $tree/build"
    return
  fi
  how=$(run_test "$tree/out" "${filters[$1]}" "$mutant_time_limit")
  case $how in
    '') line FAILED "$name" "SURVIVED $test: ${reasons[$1]}" ;;
    no\ test*) line FAILED "$name" "$test: $how" ;;
    *) line passed "$name" "caught by $how" ;;
  esac
  [ -z "$how" ] || rm -rf -- "$tree/include" "$tree/lib" "$tree/out"/*.o "$tree/out/program"
}

# One write, so that lines of two jobs do not mix.
line() {
  local text
  printf -v text '%-6s %-34s %s\n' "$1" "$2" "$3"
  printf '%s' "$text"
  printf '%s\n' "$1" >>"$results"
}

# each FUNCTION ARGUMENT...: FUNCTION with each of them, some at a time.
each() {
  local function=$1 argument running=0
  shift
  for argument; do
    if [ "$running" -ge "$jobs" ]; then
      wait -n
      running=$((running - 1))
    fi
    "$function" "$argument" &
    running=$((running + 1))
  done
  wait
}

main() {
  local i pattern found option test kind used=() only_apply=
  while getopts aj: option; do
    case $option in
      a) only_apply=1 ;;
      j) jobs=$OPTARG ;;
      *) exit 2 ;;
    esac
  done
  shift $((OPTIND - 1))
  chosen=()
  for pattern in "${@:-*}"; do
    found=${#chosen[@]}
    for i in "${!names[@]}"; do
      # shellcheck disable=SC2053  # a pattern
      if [[ ${names[i]} == $pattern ]]; then chosen+=("$i"); fi
    done
    [ "$found" != ${#chosen[@]} ] || die "no mutant of the name '$pattern'"
  done
  mapfile -t chosen < <(printf '%s\n' "${chosen[@]}" | sort -nu)
  if [ -n "$only_apply" ]; then
    results="$state/applied"
    mkdir -p "$state" || die "cannot write to $state"
    : >"$results"
    each applies "${chosen[@]}"
    sum "${#chosen[@]}"
    return
  fi
  command -v "${cxx[0]}" >/dev/null || die "no compiler '${cxx[0]}': set CXX"
  gtest=$(find_googletest) || exit 2
  mkdir -p "$state" || die "cannot write to $state"
  : >"$results"

  mapfile -t used < <(for i in "${chosen[@]}"; do printf '%s\n' "${tests[i]}"; done | sort -u)
  for kind in $(for test in "${used[@]}"; do kind_of "$test"; done | sort -u); do
    compile_googletest "$kind" || die 'GoogleTest does not compile'
  done
  for test in "${used[@]}"; do mkdir -p "$state/control.$test"; done
  each control "${used[@]}"
  each one "${chosen[@]}"
  sum $((${#used[@]} + ${#chosen[@]}))
}

# sum EXPECTED
sum() {
  local passed failed
  passed=$(grep -c passed "$results")
  failed=$(grep -c FAILED "$results")
  printf '%d passed, %d failed\n' "$passed" "$failed"
  [ "$failed" = 0 ] && [ "$passed" = "$1" ]
}

compile_googletest() {
  local object="$state/gtest.$1.o" flags=()
  [ "$1" = plain ] || flags+=(-fsanitize=thread)
  [ "$object" -nt "$gtest/src/gtest-all.cc" ] && [ "$(cat "$object.by" 2>/dev/null)" = "${cxx[*]}" ] &&
    return
  "${cxx[@]}" -std=c++20 -O1 -w ${flags[@]+"${flags[@]}"} "-I$gtest" "-I$gtest/include" \
    -c "$gtest/src/gtest-all.cc" -o "$object" && printf '%s\n' "${cxx[*]}" >"$object.by"
}

main "$@"
