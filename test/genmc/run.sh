#!/usr/bin/env bash
# Has GenMC, a model checker for the C++ memory model, run every execution of small programs over
# the library's own headers, and refuse weaker copies of them: table.sh.
#
#   test/genmc/run.sh [NAME...]      names as in table.sh, with * as in file names
#
# Threads are CPUs: GenMC knows no interrupts. One line each, for ./nest verify, that begins with
# `verify: tool=genmc`. Without a genmc on the path (or in $GENMC) they say result=not_run.
# Exit status: 0 all as expected, 1 not, 2 it could not be tried, 3 no genmc.
# GENMC_MODELS: the memory models, `rc11 imm` by default. NEST_STATE is where it works.
set -u -o pipefail

here=$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")" && pwd -P) || exit 2
top=${here%/test/genmc}
state=${NEST_STATE:-$top/.nest}/genmc
time_limit=300  # seconds, of one program; one needs more than 120 beside the mutants
read -ra models <<<"${GENMC_MODELS:-rc11 imm}"

die() {
  printf 'genmc: %s\n' "$*" >&2
  exit 2
}

names=() kinds=() subjects=() sources=() flags=() only=() reasons=() edits=()
program() {
  names+=("$1") kinds+=(program) subjects+=("$2") sources+=("$3") flags+=("$4")
  only+=("${5:-}") reasons+=('') edits+=('')
}
weaker() {
  local of=-1 i joined
  for i in "${!names[@]}"; do
    if [ "${names[i]}" = "$2" ]; then of=$i; fi
  done
  [ "$of" -ge 0 ] || die "$1: no program '$2' above it"
  names+=("$1") kinds+=(weaker) subjects+=("${subjects[of]}") sources+=("${sources[of]}")
  flags+=("${flags[of]}") only+=("${only[of]}") reasons+=("$3")
  shift 3
  joined=$(printf '%s\001' "$@")
  edits+=("$joined")
}
. "$here/table.sh"

# check TREE INDEX MODEL LOG: what genmc says of it; its exit status.
check() {
  local defines
  read -ra defines <<<"${flags[$2]}"
  # Two reductions that an exchange cannot have, and two passes that GenMC does not survive in larger
  # programs, are off. The two _H keep parts of <iterator> out that want a whole <pthread.h>, where
  # GenMC has its own; its <stdlib.h> has no rand(), for functions that are deprecated; and it knows
  # no memset().
  (timeout -k 5 "$time_limit" "$genmc" "--$3" --check-liveness --disable-estimation \
    --disable-ipr --disable-sr --disable-loop-jump-threading --disable-load-annotation -- \
    -std=c++20 -O1 -g0 -fno-builtin -fno-exceptions -fno-rtti -D_STREAM_ITERATOR_H=1 \
    -D_STREAMBUF_ITERATOR_H=1 -D_GLIBCXX_USE_DEPRECATED=0 -DNESTLOCK_CONFIG=smp \
    -DNESTLOCK_PORT=custom "${defines[@]}" "-I$1/include" "-I$here" "$here/${sources[$2]}") \
    >"$4" 2>&1
}

# changed TREE INDEX: a copy of the library with the edits; says what does not apply.
changed() {
  local tree=$1 list=() pattern script file hits
  rm -rf -- "$tree" && mkdir -p "$tree"
  cp -R "$top/include" "$tree/"
  IFS=$'\001' read -r -a list <<<"${edits[$2]}"
  while [ ${#list[@]} -ge 2 ]; do
    pattern=${list[0]} script=${list[1]} hits=0
    list=("${list[@]:2}")
    for file in "$tree"/include/nestlock/$pattern; do
      cp "$file" "$tree/before"
      sed -z -i "$script" "$file"
      cmp -s "$file" "$tree/before" || hits=$((hits + 1))
    done
    if [ "$hits" != 1 ]; then
      printf 'changes_%s_files_of_%s\n' "$hits" "$pattern"
      return
    fi
  done
}

bad=0
row() { # row RESULT KEY=VALUE...: spaces in a value become underscores
  local text='verify: tool=genmc' field result=$1
  shift
  for field; do text+=" ${field// /_}"; done
  printf '%s\n' "$text result=$result"
  [ "$result" != FAILED ] || bad=1
}

# What GenMC complains of.
complaint() {
  sed -n 's/^Error: \(.*[^!]\)!*$/\1/p' "$1" | head -n 1
}

one_program() {
  local i=$1 model=$2 log="$state/${names[$1]}.$2.log" status complete
  check "$top" "$i" "$model" "$log"
  status=$?
  complete=$(sed -n 's/^Number of complete executions explored: //p' "$log")
  if [ "$status" = 0 ] && [ "${complete:-0}" -ge 1 ]; then
    row ok "subject=${subjects[i]}" config=smp "case=${names[i]}, $model" "schedules=$complete" complete=yes
  else
    row FAILED "subject=${subjects[i]}" config=smp "case=${names[i]}, $model" \
      "why=$(complaint "$log") (status $status, $log)"
  fi
}

# By the first model that can tell.
one_weaker() {
  local i=$1 model log status why
  why=$(changed "$state/${names[i]}" "$i")
  if [ -n "$why" ]; then
    row FAILED 'subject=(broken)' config=smp "mutant=${names[i]}" "why=$why"
    return
  fi
  for model in ${only[i]:-"${models[@]}"}; do
    log="$state/${names[i]}.$model.log"
    check "$state/${names[i]}" "$i" "$model" "$log"
    status=$?
    [ "$status" = 0 ] || break
  done
  why=$(complaint "$log")
  # 42 is its word for an error in the program; anything else is trouble with the run.
  if [ "$status" = 42 ] && [ -n "$why" ]; then
    row ok 'subject=(broken)' config=smp "mutant=${names[i]}" "by=$why ($model)"
  elif [ "$status" = 0 ]; then
    row FAILED 'subject=(broken)' config=smp "mutant=${names[i]}" "why=survived: ${reasons[i]}"
  else
    row FAILED 'subject=(broken)' config=smp "mutant=${names[i]}" "why=status $status, $log"
  fi
  rm -rf -- "${state:?}/${names[i]}"
}

main() {
  local i pattern model found chosen=()
  for pattern in "${@:-*}"; do
    found=0
    for i in "${!names[@]}"; do
      # shellcheck disable=SC2053  # a pattern
      if [[ ${names[i]} == $pattern ]]; then chosen+=("$i") found=1; fi
    done
    [ "$found" = 1 ] || die "nothing of the name '$pattern'"
  done
  genmc=${GENMC:-genmc}
  if ! command -v "$genmc" >/dev/null; then
    for i in "${chosen[@]}"; do
      if [ "${kinds[i]}" = program ]; then
        row not_run "subject=${subjects[i]}" config=smp "case=${names[i]}"
      else
        row not_run 'subject=(broken)' config=smp "mutant=${names[i]}"
      fi
    done
    exit 3
  fi
  mkdir -p "$state" || die "cannot write to $state"
  for i in "${chosen[@]}"; do
    if [ "${kinds[i]}" = program ]; then
      for model in "${models[@]}"; do
        case ${only[i]:-$model} in "$model") one_program "$i" "$model" ;; esac
      done
    else
      one_weaker "$i"
    fi
  done
  return "$bad"
}

main "$@"
