help_compare() {
  cat <<'END'
the page and slab allocators on each lock that was proposed, in one table

usage: ./nest compare [--lock=FILE] [--only=NAME] [--json[=FILE]]

  --lock=FILE   with a lock of your own besides: a header that defines struct ComparedLock, with
                kName, try_lock(), unlock() and is_locked(); tools/compare/example_lock.h is one
  --only=NAME   the lock of this name only: 'per-lock byte', or what your lock's kName says
  --json        the figures for programs; =FILE: into FILE, besides the table

Six answers to one question: how shall a trylock on one CPU tell the truth to a handler that
interrupted the holder? `stateless` (Linux's UP spinlock: it does not), `irqs off` (the holder masks
irqs), `refused in NMI` (besides, an NMI is told no), `per-lock atomic` (an SMP spinlock),
`class atomic` (one atomic for all locks of a class), `per-lock byte` (Nestlock's TrySpinLock).
State, code, instructions, and what nested allocations get on each. Needs a C++20 compiler ($CXX, or
the first found of g++, clang++, clang++-19) and nothing else.
Exit status 1: something is not as known, or your lock does not keep the promise.
END
}

run_compare() {
  local cxx out="$state/compare" lock='' arguments=() options line object newer source errors
  while [ $# -gt 0 ]; do
    case "$1" in
      --lock=*) lock=$(compared_lock --lock "${1#--lock=}") || exit 2 ;;
      --lock) lock=$(compared_lock --lock "${2:-}") || exit 2; shift ;;
      --json=/* | --json= | --json | --only=*) arguments+=("$1") ;;
      --json=*) arguments+=("--json=$PWD/${1#--json=}") ;; # it is left below for $top
      *) die "compare: unknown argument '$1'; ./nest compare --help says more" ;;
    esac
    shift
  done
  mkdir -p "$out" || die "cannot write to $out"
  cxx=$(find_cxx) || exit 2
  options='-std=c++20 -O2 -Iinclude -I. -DNESTLOCK_CONFIG=up'
  cd "$top" || exit 2

  # An object for each file: only the user's lock is compiled again for another lock.
  line="$cxx $options"
  newer=$(find include lib/port tools/compare tools/shared -type f -newer "$out/line" 2>/dev/null | head -n 1)
  if [ -n "$newer" ] || [ "$(cat "$out/line" 2>/dev/null)" != "$line" ]; then
    rm -f -- "$out"/*.o "$out/line"
    say "$line -c tools/compare/*.cc tools/shared/*.cc lib/port/*.cc" >&2
    for source in tools/compare/*.cc tools/shared/*.cc lib/port/*.cc; do
      object=${source##*/}
      # $cxx and $options are split at their spaces.
      $cxx $options -c "$source" -o "$out/${object%.cc}.o" || exit 1
    done
    mv -f "$out/users_policy.o" "$out/none"
    printf '%s\n' "$line" >"$out/line"
  fi
  object="$out/none"
  if [ -n "$lock" ]; then
    object="$out/with_lock"
    errors=$($cxx $options "-DNESTLOCK_TOOLS_USERS_LOCK=\"$lock\"" -c tools/compare/users_policy.cc \
      -o "$object" 2>&1) ||
      die "$lock is no lock to compare: $(first_error <<<"$errors")"
  fi
  cp -f "$object" "$out/users.o" &&
    $cxx "$out"/*.o -pthread -o "$out/compare" || exit 1
  exec "$out/compare" ${arguments[@]+"${arguments[@]}"}
}
