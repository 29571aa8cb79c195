help_clients() {
  cat <<'END'
other people's code and tests over Nestlock's locks and allocators

usage: ./nest clients [STEP ...]

Steps, all by default; test/clients/README.md says what each shows:
  sqlite     SQLite with our locks as its mutexes and kmalloc as its allocator: its own speedtest1,
             alone and twice at once; what it says must be what the unmodified SQLite says
  ck         Concurrency Kit's validation of spinlocks
  abseil     Abseil's tests of its spinlock, which here is one of ours
  libstdcxx  libstdc++'s tests of std::mutex and of what takes one (lock_guard, unique_lock,
             scoped_lock, lock, try_lock, condition_variable_any): std::mutex is one of ours

Prints a line for each client and configuration: cases passed of cases run. A case that failed is
named, with the end of what it printed. On Debian it fetches the sources (some 100 MB) and installs
what is missing, and says so; what cannot be fetched counts as failed. Takes minutes, and much longer
on a busy machine, for the tests have more threads than it has processors: no other command runs it.
END
}

run_clients() {
  local name cxx work="$state/clients" files="$top/test/clients" steps=("$@") rows=() bad=0
  [ $# -gt 0 ] || steps=(sqlite ck abseil libstdcxx)
  for name in "${steps[@]}"; do
    case "$name" in
      sqlite | ck | abseil | libstdcxx) ;;
      *) die "unknown step '$name'; see ./nest clients --help" ;;
    esac
  done
  . "$driver/cmd_setup.sh"
  is_debian || die "the clients are built from Debian's packages, and this is not Debian"
  mkdir -p "$work" || die "cannot write to $work"
  needed_packages="g++ gcc make tcl dpkg-dev googletest xz-utils"
  install_packages
  cxx=$(find_cxx) || exit 2
  read -r -a cxx <<<"$cxx"  # $CXX may hold options of its own
  cxx+=(-std=gnu++20 -pthread "-I$top/include" "-I$files")
  client_libraries
  for name in "${steps[@]}"; do
    title "$name"
    mkdir -p "$work/$name" && cd "$work/$name" || exit 2
    if ! "clients_$name"; then
      say "${red}FAILED${reset}  $name could not be tried"
      rows+=("$name|-|could not be tried")
      bad=1
    fi
  done
  title "clients"
  printf '%s\n' "${rows[@]}" | awk -F'|' '{ printf "%-10s %-13s %s\n", $1, $2, $3 }'
  if [ "$bad" = 0 ]; then say "clients: all is well"; else say "clients: not all passed"; fi
  return "$bad"
}

# What the clients can show needs several threads: the configurations of several CPUs.
client_configurations() { configurations | grep '^smp'; }
client_locks="RawSpinLock SpinLock TrySpinLock"
# For what takes long: each kind of lock word once without and once with checks.
few_configurations="smp smp_rt_debug"

# ---- cases and rows -------------------------------------------------------------------------------

# row_begin; case_of NAME COMMAND ...; row_end CLIENT CONFIGURATION [REMARK].
row_begin() { passed=0 run=0; }
row_end() {
  rows+=("$1|$2|$passed of $run${3:+, $3}")
  say "$1, $2: $passed of $run${3:+, $3}"
  if [ "$passed" != "$run" ] || [ "$run" = 0 ]; then bad=1; fi
}

# A case is a command that ends with 0.
case_of() {
  local name=$1 status output
  shift
  run=$((run + 1))
  output=$("$@" 2>&1)
  status=$?
  if [ "$status" = 0 ]; then
    passed=$((passed + 1))
  else
    [ "$status" != 124 ] || status="did not end within $client_patience seconds"
    say "${red}FAILED${reset}  $name ($status)"
    tail -n 20 <<<"$output"
  fi
}

# What takes longer than this many seconds hangs: a busy machine can make ten minutes of ten seconds.
client_patience=1800

# quiet COMMAND ...: ends, and Nestlock reports no misuse (a report begins with its name).
quiet() {
  local output status
  output=$(timeout "$client_patience" "$@" 2>&1)
  status=$?
  say "$output"
  ! grep -q '^nestlock: ' <<<"$output" && return "$status"
}

# spawn COMMAND ...: in the background, as many at a time as there are processors; spawn_end waits.
spawn() {
  [ "$(jobs -rp | wc -l)" -lt "$(nproc)" ] || wait -n
  "$@" &
}
spawn_end() { wait; }

# compile PROGRAM ARGUMENT ...: as spawn. What failed is said, and is missing when a case wants it.
compile() { spawn compile_now "$@"; }
compile_now() {
  local program=$1
  shift
  rm -f -- "$program"
  "${cxx[@]}" "$@" -o "$program" >"$program.log" 2>&1 && return
  say "${red}FAILED${reset}  ${cxx[*]} $* -o $program"
  head -n 20 "$program.log"
}

# The library, once a configuration: $lib.CONFIGURATION.a
client_libraries() {
  local config part name
  lib="$work/lib/nestlock"
  rm -rf -- "$work/lib" && mkdir "$work/lib" || exit 2
  for config in $(client_configurations); do
    for part in "$top"/lib/{port,page,slab}/*.cc; do
      name=$(basename "$part" .cc)
      compile "$lib.$config.$name.o" -O1 "-DNESTLOCK_CONFIG=$config" -c "$part"
    done
  done
  spawn_end
  for config in $(client_configurations); do
    ar rcs "$lib.$config.a" "$lib.$config".*.o
  done
}

# fetched PACKAGE: its source is in .nest/src/PACKAGE, or the reason is printed.
fetched() { (fetch_source "$1"); }

# ---- SQLite ---------------------------------------------------------------------------------------

clients_sqlite() {
  local config name sqlite ours
  fetched sqlite3 || return
  sqlite_objects || return
  rm -f -- said.* ./*.db
  compile two.o -O1 -I. -c "$files/sqlite_threads.cc"
  spawn_end
  compile one.plain speedtest1.o sqlite3.o -ldl -lm
  compile two.plain two.o first.o second.o sqlite3.o -ldl -lm
  for config in $(client_configurations); do
    compile "hooks.$config.o" -O1 -I. "-DNESTLOCK_CONFIG=$config" -DCLIENT_LOCK=SpinLock -c \
      "$files/sqlite_hooks.cc"
  done
  spawn_end
  for config in $(client_configurations); do
    sqlite=sqlite3.o
    case "$config" in *debug) sqlite=sqlite3_debug.o ;; esac
    ours=("hooks.$config.o" "$sqlite" "$lib.$config.a" -ldl -lm)
    compile "one.$config" speedtest1.o "${ours[@]}"
    compile "two.$config" two.o first.o second.o "${ours[@]}"
  done
  spawn_end
  for config in plain $(client_configurations); do
    row_begin
    for name in main cte orm fp; do
      case_of "sqlite, $config, $name" sqlite_case one "$config" "$name" --size 20 --testset "$name"
    done
    case_of "sqlite, $config, rtree" sqlite_case one "$config" rtree --size 3 --testset rtree
    case_of "sqlite, $config, sorters" sqlite_case one "$config" sorters --size 20 --threads 2
    case_of "sqlite, $config, two threads" sqlite_case two "$config" threads 5
    # The first is the unmodified one, which the others are held against.
    if [ "$config" != plain ]; then row_end sqlite "$config"; elif [ "$passed" != "$run" ]; then return 1; fi
  done
}

# SQLite's own scripts, in Tcl, make the one large C file that it is compiled from. speedtest1 is
# compiled three times: as the program that it is, and with a main of another name, and no other name
# that is seen outside, for two of them in one program.
sqlite_objects() {
  local source="$state/src/sqlite3" name flags=(-w -I. -DSQLITE_THREADSAFE=1 -DSQLITE_ENABLE_RTREE)
  [ -f made ] && return
  say "building SQLite (once)"
  {
    "$source/configure" --disable-tcl && make sqlite3.c &&
      gcc -O1 "${flags[@]}" -c sqlite3.c -o sqlite3.o &&
      gcc -O0 "${flags[@]}" -DSQLITE_DEBUG -c sqlite3.c -o sqlite3_debug.o &&
      gcc -O1 "${flags[@]}" -c "$source/test/speedtest1.c" -o speedtest1.o &&
      for name in first second; do
        gcc -O1 "${flags[@]}" "-Dmain=speedtest1_$name" -c "$source/test/speedtest1.c" -o "$name.o" &&
          objcopy "--keep-global-symbol=speedtest1_$name" "$name.o" || break
      done && [ -f second.o ] && touch made
  } >build.log 2>&1 && return
  tail -n 20 build.log
  return 1
}

# sqlite_case PROGRAM CONFIG NAME ARGUMENT ...: what it printed, without the times, is what the
# unmodified SQLite printed.
sqlite_case() {
  local program=$1 config=$2 said="said.$3" more=() raw
  shift 3
  [ "$program" = two ] || more=(--verify "one.db")
  raw=$(timeout "$client_patience" "./$program.$config" "$@" ${more[@]+"${more[@]}"} 2>"$said.counts")
  local status=$?
  cat "$said.counts"
  [ "$status" = 0 ] || return "$status"
  if [ "$program" = two ]; then
    # Two of them print at once: only lines that are written in one call stay whole.
    raw=$(grep -oE 'Verification Hash: .*|^[01] [0-9]+ [0-9]+ $' <<<"$raw" | sort)
    [ "$(wc -l <<<"$raw")" = 4 ] || { say "not two hashes and two sums: $raw"; return 1; }
  fi
  sed -E 's/ +[0-9]+\.[0-9]+s$//' <<<"$raw" >"$said.$config"
  grep -q 'Verification Hash: [1-9]' "$said.$config" || { say "no hash was printed"; return 1; }
  [ "$config" = plain ] && return
  ! grep '^nestlock: ' "$said.counts" && diff "$said.plain" "$said.$config" || return
  [ "$program" = one ] || ! grep -E 'waited 0 |tried 0 ' "$said.counts"
}

# ---- Concurrency Kit ------------------------------------------------------------------------------

clients_ck() {
  local config lock threads
  fetched ck || return
  if [ ! -f copy/include/ck_md.h ]; then
    rm -rf copy && cp -R "$state/src/ck" copy || return
    (cd copy && ./configure) >build.log 2>&1 || { tail -n 20 build.log; return 1; }
  fi
  gcc -O2 -D_GNU_SOURCE -Icopy/include -Icopy/regressions/ck_spinlock/validate -c \
    "$files/ck_validate.c" -o validate.o || return
  for config in $(client_configurations); do
    for lock in $client_locks; do
      compile "validate.$config.$lock" -O1 "-DNESTLOCK_CONFIG=$config" "-DCLIENT_LOCK=$lock" \
        "$files/ck_lock.cc" validate.o "$lib.$config.a"
    done
  done
  spawn_end
  for config in $(client_configurations); do
    row_begin
    for lock in $client_locks; do
      for threads in 2 4; do
        case_of "ck, $config, $lock, $threads threads" quiet "./validate.$config.$lock" "$threads" 1
      done
    done
    row_end ck "$config"
  done
}

# ---- Abseil ---------------------------------------------------------------------------------------

# Ten threads hand a lock round, each section with ten yields: on few processors that takes its time.
clients_abseil() {
  local config lock name absl="$state/src/abseil" gtest=/usr/src/googletest/googletest
  local flags=(-O1 -w "-I$files/abseil" "-I$absl" "-I$gtest" "-I$gtest/include")
  fetched abseil || return
  [ -f gtest.o ] || compile_now gtest.o "${flags[@]}" -c "$gtest/src/gtest-all.cc"
  # A lock of a debug configuration looks at its end if somebody holds it, so it has a destructor.
  grep -v 'static_assert(std::is_trivially_destructible<SpinLock>' "$absl/absl/base/spinlock_test_common.cc" \
    >spinlock_test_common.cc || return
  for config in $few_configurations; do
    for lock in $client_locks; do
      compile "spinlock.$config.$lock" "${flags[@]}" "-DNESTLOCK_CONFIG=$config" "-DCLIENT_LOCK=$lock" \
        spinlock_test_common.cc "$files/abseil_main.cc" \
        "$absl"/absl/base/internal/{sysinfo,raw_logging,unscaledcycleclock,spinlock_wait}.cc \
        gtest.o "$lib.$config.a"
    done
  done
  spawn_end
  for config in $few_configurations; do
    row_begin
    for lock in $client_locks; do
      while read -r name; do
        case_of "abseil, $config, $lock, $name" quiet "./spinlock.$config.$lock" "--gtest_filter=$name"
      done < <("./spinlock.$config.$lock" --gtest_list_tests | awk '
        /^[^ ]/ { suite = $1 } /^ / { print suite $1 }' | grep -v WaitCyclesEncoding)
    done
    row_end abseil "$config" "WaitCyclesEncoding left out"
  done
}

# ---- libstdc++ ------------------------------------------------------------------------------------

clients_libstdcxx() {
  local config lock name tests kept=() cases=() prelude
  libstdcxx_source || return
  tests="$PWD/testsuite/30_threads"
  mapfile -t cases < <(cd "$tests" && grep -lwrE 'std::mutex' --include='*.cc' \
    mutex lock_guard unique_lock scoped_lock lock try_lock condition_variable_any | sort)
  for name in "${cases[@]}"; do
    case "$name" in mutex/native_handle/*) continue ;; esac
    grep -q native_handle "$tests/$name" || kept+=("$name")
  done
  for config in $few_configurations; do
    row_begin
    for lock in $client_locks; do
      prelude="$config.$lock.h"
      local flags=(-O0 -w "-DNESTLOCK_CONFIG=$config" "-DCLIENT_LOCK=$lock" -Itestsuite/util "-I$tests")
      cp "$files/libstdcxx_prelude.h" "$prelude"
      compile_now "$prelude.gch" "${flags[@]}" -x c++-header "$prelude"
      for name in "${kept[@]}"; do
        spawn libstdcxx_case "$config" "$name" "$prelude"
      done
      spawn_end
      for name in "${kept[@]}"; do
        case_of "libstdcxx, $config, $lock, $name" libstdcxx_result "$prelude.${name//\//_}"
      done
      rm -f -- "$config.$lock".*
    done
    row_end libstdcxx "$config" "$((${#cases[@]} - ${#kept[@]})) a lock left out (native_handle)"
  done
}

# The package of the compiler's whole source, of which one folder is kept.
libstdcxx_source() {
  local package
  package="gcc-$("${cxx[0]}" -dumpversion | cut -d. -f1)-source"
  [ -d testsuite/30_threads ] && return
  say "fetching the package $package (84 MB)"
  rm -rf -- fetch && mkdir fetch && cd fetch || return
  apt-get download "$package" >log 2>&1 || { tail -n 3 log; return 1; }
  dpkg-deb --fsys-tarfile "$package"_*.deb | tar xO --wildcards '*/gcc-*-dfsg.tar.xz' |
    tar xJ --strip-components=2 --wildcards 'gcc-*/libstdc++-v3/testsuite/30_threads' \
      'gcc-*/libstdc++-v3/testsuite/util'
  mv testsuite .. && cd .. && rm -rf -- fetch
}

# libstdcxx_case CONFIG NAME PRELUDE: the outcome goes to PRELUDE.NAME.
libstdcxx_case() {
  local config=$1 source="$tests/$2" out="$3.${2//\//_}"
  local line=("${cxx[@]}" "${flags[@]}" -include "./$3" -x c++ "$source")
  # These are read for what the test suite's own runner reads: what is to be done, what is refused.
  if grep -q 'dg-error' "$source"; then
    local wanted
    wanted=$(sed -n 's/.*dg-error "\([^"]*\)".*/\1/p' "$source" | tail -n 1)
    "${line[@]}" -fsyntax-only >"$out" 2>&1
    grep -q "error: .*$wanted" "$out"
  elif grep -q 'dg-do compile' "$source"; then
    "${line[@]}" -fsyntax-only >"$out" 2>&1
  else
    "${line[@]}" -x none "$lib.$config.a" -o "$out.run" >"$out" 2>&1 && libstdcxx_run "$2" "$config" "$out"
  fi
  say "status $?" >>"$out"
}

# One test unlocks a mutex that nobody holds, three end one that is held, which the standard leaves undefined:
# the debug configurations must report it.
libstdcxx_run() {
  timeout "$client_patience" "./$3.run" >"$3" 2>&1 || return
  case "$1,$2" in
    mutex/unlock/1.cc,*debug) grep -q '^nestlock: lock is not held' "$3" ;;
    condition_variable_any/members/[12].cc,*debug | mutex/dest/destructor_locked.cc,*debug)
      grep -q '^nestlock: a lock was destroyed while it was held' "$3"
      ;;
    *) ! grep '^nestlock: ' "$3" ;;
  esac
}

libstdcxx_result() {
  cat "$1"
  [ "$(tail -n 1 "$1")" = "status 0" ]
}
