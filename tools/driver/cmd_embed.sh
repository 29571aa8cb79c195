help_embed() {
  cat <<'END'
builds the foreign programs of test/embed/: with Bazel, without it, and for bare metal

usage: ./nest embed [STEP ...]

Steps, all by default:
  plain   a compiler line and -Iinclude, in each configuration; and that a missing or wrong choice,
          and objects of two configurations, are refused with a readable message
  bare    the same, freestanding, with a port of the embedder's own
  bazel   a workspace of its own, that names Nestlock and nothing else
END
}

# prints WANTED COMMAND: the command's output is this and nothing else.
prints() {
  local wanted=$1 got
  shift
  got=$("$@" 2>&1)
  [ "$got" = "$wanted" ] || say "expected '$wanted', got: $got"
}

# refuses REGEX COMMAND: the command fails, and says something that matches.
refuses() {
  local wanted=$1 got
  shift
  if got=$("$@" 2>&1); then
    say "was not refused: $*"
  elif ! grep -qE -- "$wanted" <<<"$got"; then
    say "was refused, but not with '$wanted':"
    say "$got"
  fi
}

embed_plain() {
  local cxx config
  cxx=$(find_cxx) || exit 2
  # $CXX may hold options of its own.
  read -r -a cxx <<<"$cxx"
  cxx+=(-std=c++20 -Wall -Wextra -Werror -Iinclude)
  for config in $(configurations); do
    step "plain, $config" plain_program "$config"
  done
  step "plain, by the three flags" plain_flags
  step "no choice is refused" \
    refuses 'choose a configuration' "${cxx[@]}" -fsyntax-only test/embed/plain.cc
  step "an unknown choice is refused" \
    refuses 'no_such' "${cxx[@]}" -fsyntax-only -DNESTLOCK_CONFIG=no_such test/embed/plain.cc
  step "two configurations do not link" plain_mixed
}
plain_program() {
  "${cxx[@]}" "-DNESTLOCK_CONFIG=$1" test/embed/plain.cc -o "$work/plain" &&
    prints "$1" "$work/plain"
}
plain_flags() {
  "${cxx[@]}" -DNESTLOCK_SMP=0 -DNESTLOCK_PREEMPT_RT=1 test/embed/plain.cc -o "$work/plain" &&
    prints up_rt "$work/plain"
}
plain_mixed() {
  "${cxx[@]}" -DNESTLOCK_CONFIG=up -c test/embed/app/main.cc -o "$work/app.o" || return
  "${cxx[@]}" -DNESTLOCK_CONFIG=up "$work/app.o" lib/port/*.cc -pthread -o "$work/app" &&
    prints up "$work/app"
  refuses 'nestlock_built_as_up' \
    "${cxx[@]}" -DNESTLOCK_CONFIG=smp "$work/app.o" lib/port/*.cc -pthread -o "$work/app"
}

embed_bare() {
  local cxx config
  cxx=$(find_cxx) || exit 2
  read -r -a cxx <<<"$cxx"
  for config in $(configurations | grep -v rt); do
    step "bare, $config" bare_object "$config"
  done
}
# No exceptions, no RTTI, and nothing asked of any library.
bare_object() {
  "${cxx[@]}" -std=c++20 -O1 -Wall -Wextra -Werror -ffreestanding -fno-exceptions -fno-rtti \
    -Iinclude -Itest/embed/bare -DNESTLOCK_PORT=bare "-DNESTLOCK_CONFIG=$1" \
    -c test/embed/bare/bare.cc -o "$work/bare.o" && nm -u "$work/bare.o"
}

# A copy outside of the repository: nothing can be found by accident.
embed_bazel() {
  . "$driver/cmd_setup.sh"
  prepare
  root=$(bazel_root) || exit 2
  cp -R test/embed/app "$work/app"
  step "bazel, by name" bazel_program pinned up_rt
  step "bazel, by name whatever the flags say" bazel_program pinned up_rt --@nestlock//configs:debug
  step "bazel, the default" bazel_program chosen smp
  step "bazel, by the flags" bazel_program chosen up_debug \
    --@nestlock//configs:smp=false --@nestlock//configs:debug
  (cd "$work/app" && bazel "--output_base=$work/out" shutdown) >/dev/null 2>&1
  chmod -R u+w "$work/out"
}
bazel_program() {
  local target=$1 wanted=$2 rc=/dev/null
  shift 2
  [ ! -f "$root/user.bazelrc" ] || rc="$root/user.bazelrc"
  bazel_in "$work/app" "--output_base=$work/out" "--bazelrc=$rc" build --nosandbox_debug \
    "--override_repository=nestlock=$root" "$@" "//:$target" >"$work/log" 2>&1 || {
    cat "$work/log"
    return 1
  }
  prints "$wanted" "$work/app/bazel-bin/$target"
}

run_embed() {
  local steps=("$@") name work
  [ $# -gt 0 ] || steps=(plain bare bazel)
  for name in "${steps[@]}"; do
    case "$name" in
      plain | bare | bazel) ;;
      *) die "unknown step '$name'; see ./nest embed --help" ;;
    esac
  done
  cd "$top" || exit 2
  work=$(mktemp -d) || exit 2
  case "$work" in *[[:space:]]*) die "Bazel cannot work under a path with a space; set TMPDIR" ;; esac
  # shellcheck disable=SC2064  # now: it is local
  trap "rm -rf -- '$work'" EXIT
  for name in "${steps[@]}"; do
    title "$name"
    "embed_$name"
  done
  steps_end embed
}
