# a Bazel workspace of its own, that names Nestlock and nothing else

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
  runs_as "$wanted" "$work/app/bazel-bin/$target"
}
