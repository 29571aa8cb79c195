help_demo() {
  cat <<'END'
builds and runs the demonstration; needs a C++20 compiler and nothing else

usage: ./nest demo [--config=NAME] [ARGUMENTS OF THE DEMONSTRATION]

  --config=NAME   the configuration it is built for; up by default

The compiler is $CXX, or the first found of g++, clang++, clang++-19. The compile line is printed:
it is all that embedding without Bazel takes.
END
}

run_demo() {
  local config=up cxx out newest
  case "${1:-}" in
    --config=*)
      config=${1#--config=}
      check_configuration "$config"
      shift
      ;;
  esac
  cxx=$(find_cxx) || exit 2
  compgen -G "$top/tools/demo/*.cc" >/dev/null || die "tools/demo has no sources"
  mkdir -p "$state" || die "cannot write to $state"
  out="$state/demo.$config"

  # A string first, so that a changed compiler or option rebuilds as a changed source does.
  local line="$cxx -std=c++20 -O2 -Iinclude -DNESTLOCK_CONFIG=$config tools/demo/*.cc lib/port/*.cc -pthread"
  newest=$(cd "$top" && find include lib/port tools/demo -type f -newer "$out" 2>/dev/null | head -n 1)
  if [ ! -x "$out" ] || [ -n "$newest" ] || [ "$(cat "$out.line" 2>/dev/null)" != "$line" ]; then
    say "$line -o .nest/demo.$config"
    # $cxx may hold options of its own: it is split at its spaces.
    (cd "$top" && $cxx -std=c++20 -O2 -Iinclude "-DNESTLOCK_CONFIG=$config" \
      tools/demo/*.cc lib/port/*.cc -pthread -o ".nest/demo.$config.new") || exit 1
    mv -f "$out.new" "$out" && printf '%s\n' "$line" >"$out.line"
  fi
  "$out" "$@"
}
