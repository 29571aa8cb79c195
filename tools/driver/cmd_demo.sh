help_demo() {
  cat <<'END'
builds and runs the demonstration; needs a C++20 compiler and nothing else

usage: ./nest demo [--config NAME] [--all] [--json[=FILE]]
       ./nest demo malloc

  --config NAME   one configuration only
  --all           a row for each configuration, even where they answer alike
  --json          the figures for programs; =FILE: into FILE, besides the tables
  malloc          what handlers of real programs do, on each malloc() that is here (glibc, jemalloc,
                  mimalloc, tcmalloc, Nestlock's): ok, hang, crash or corrupt; a minute

The compiler is $CXX, or the first found of g++, clang++, clang++-19; if there is none, on Debian, as
root or where sudo asks no password, g++ is installed. The compile line is printed
when it is needed: it is all that embedding without Bazel takes.
END
}

run_demo() {
  if [ "${1:-}" = malloc ]; then
    . "$driver/demo_malloc.sh"
    run_demo_malloc "${@:2}"
    exit
  fi
  local cxx line out="$state/demo" newer
  compgen -G "$top/tools/demo/*.cc" >/dev/null || die "tools/demo has no sources"
  mkdir -p "$state" || die "cannot write to $state"
  cxx=$(find_cxx) || exit 2
  line="$cxx -std=c++20 -O2 -Iinclude -I. -DNESTLOCK_CONFIG=up tools/demo/*.cc tools/shared/*.cc lib/port/*.cc -pthread -o .nest/demo"

  # Another line (another compiler) rebuilds as a newer source does.
  newer=$(cd "$top" && find include lib/port tools/demo tools/shared -type f -newer "$out" 2>/dev/null | head -n 1)
  if [ ! -x "$out" ] || [ -n "$newer" ] || [ "$(cat "$out.line" 2>/dev/null)" != "$line" ]; then
    say "$line" >&2
    # $cxx may hold options of its own: it is split at its spaces.
    (cd "$top" && $cxx -std=c++20 -O2 -Iinclude -I. -DNESTLOCK_CONFIG=up \
      tools/demo/*.cc tools/shared/*.cc lib/port/*.cc -pthread -o .nest/demo.new) || exit 1
    mv -f "$out.new" "$out" && printf '%s\n' "$line" >"$out.line"
  fi
  exec "$out" "$@"
}
