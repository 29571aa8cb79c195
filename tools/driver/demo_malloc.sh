# ./nest demo malloc: what handlers of real programs do, on each malloc() that is here. Sourced by cmd_demo.sh.

# Prints NAME and the library to preload, a line each; nothing to preload: the C library's own.
mallocs() {
  printf 'glibc -\n'
  others | grep -v ' $'
  printf 'nestlock %s\n' "$out/libnestlock_malloc.so"
}
# The same of the others, with no library behind the name of one that is not here.
others() {
  local file name library
  for name in jemalloc.so.2 mimalloc.so.2 tcmalloc_minimal.so.4; do
    library=
    for file in /usr/lib/*/lib$name /usr/lib/lib$name /usr/local/lib/lib$name; do
      [ ! -e "$file" ] || { library=$file && break; }
    done
    printf '%s %s\n' "${name%%[._]*}" "$library"
  done
}
# A line for each that is not here; but NAME..., which are named otherwise.
missing_mallocs() { # missing_mallocs NAME...
  local name library
  while read -r name library; do
    case " $* " in *" $name "*) continue ;; esac
    [ -n "$library" ] || say "$name: not here; ./nest setup --peers installs it"
  done < <(others)
}

build_the_demo_of_malloc() {
  local cxx newer object
  cxx=$(find_cxx) || exit 2
  mkdir -p "$out" || die "cannot write to $out"
  newer=$(find include lib tools/demo_malloc -type f -newer "$out/patterns" 2>/dev/null | head -n 1)
  [ ! -x "$out/patterns" ] || [ -n "$newer" ] || return 0
  say "compiling the library to preload and the patterns" >&2
  # $cxx may hold options of its own.
  $cxx -std=c++20 -O2 -fPIC -fno-exceptions -fno-rtti -Iinclude -DNESTLOCK_CONFIG=smp -DNESTLOCK_MAX_CPUS=1024 \
    -DNESTLOCK_OWN_STATE -DNESTLOCK_FROM_THE_START \
    -shared -Wl,--as-needed -Wl,--gc-sections -static-libgcc -o "$out/libnestlock_malloc.so" lib/malloc/*.cc \
    lib/malloc/standard/*.cc lib/page/*.cc lib/slab/*.cc lib/port/config_stamp.cc \
    -Wl,--version-script=lib/malloc/standard/exports.map || exit 1
  $cxx -std=c++20 -O2 -fPIC -shared tools/demo_malloc/lazy_tls.cc -o "$out/lazy.so" || exit 1
  for object in $(seq 40); do cp "$out/lazy.so" "$out/lazy_$object.so" || exit 1; done
  $cxx -std=c++20 -O2 tools/demo_malloc/patterns.cc -pthread -ldl -lrt -o "$out/patterns" || exit 1
}

# one PATTERN LIBRARY: what became of it.
one() {
  local status preload=$2
  [ "$preload" != - ] || preload=
  (ulimit -c 0; LD_PRELOAD=$preload exec timeout -s KILL 4 "$out/patterns" "$1" 1.5 "$out"/lazy_*.so) \
    >"$out/said" 2>&1
  status=$?
  case $status in
    0) printf 'ok' ;;
    1) printf 'corrupt' ;;
    137) printf 'hang' ;;
    *) if [ $status -gt 128 ]; then printf 'crash'; else printf 'error %s' $status; fi ;;
  esac
}

run_demo_malloc() {
  local out="$state/demo_malloc" pattern text name library cell failed=0
  [ $# = 0 ] || die "./nest demo malloc takes no arguments"
  cd "$top" || exit 2
  build_the_demo_of_malloc
  say "A handler, 5000 times a second, does what the row says, on a thread that allocates and frees. 1.5 s each; no"
  say "progress to the end after 4 s is a hang. corrupt: blocks overlap."
  missing_mallocs
  say
  printf '%-44s' ''
  while read -r name library; do printf '%-10s' "$name"; done < <(mallocs)
  printf '\n'
  while IFS='|' read -r pattern text; do
    printf '%-44s' "$text"
    while read -r name library; do
      cell=$(one "$pattern" "$library" 2>/dev/null)
      printf '%-10s' "$cell"
      [ "$name" != nestlock ] || [ "$cell" = ok ] || failed=1
    done < <(mallocs)
    printf '\n'
  done <<'END'
sample|keeps a profiler's samples
message|composes a message by realloc()
backtrace|names its stack, as crash reporters do
lazy-data|first touches lazy thread-local data
dlopen|the same after one more dlopen()
END
  return $failed
}
