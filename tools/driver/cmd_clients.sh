help_clients() {
  cat <<'END'
other people's code and tests over Nestlock's locks and allocators (test/clients/README.md)

usage: ./nest clients [STEP ...]

Steps, all by default:
  sqlite     SQLite with our locks as its mutexes and kmalloc as its allocator: its own speedtest1,
             alone and twice at once; what it says must be what the unmodified SQLite says
  ck         Concurrency Kit's validation of spinlocks

Prints a line for each client and configuration: cases passed of cases run; a case that failed is
named, with the end of what it printed. On Debian it fetches the sources and installs what is missing,
and says so; what cannot be fetched counts as failed. Takes minutes, so no other command runs it.
END
}

run_clients() {
  local name cxx work="$state/clients" steps=("$@") rows=() bad=0 sources="$top/test/clients"
  [ $# -gt 0 ] || steps=(sqlite ck)
  for name in "${steps[@]}"; do
    case "$name" in
      sqlite | ck) ;;
      *) die "unknown step '$name'; see ./nest clients --help" ;;
    esac
  done
  . "$driver/cmd_setup.sh"
  is_debian || die "the clients' sources are Debian's source packages, and this is not Debian"
  mkdir -p "$work" || die "cannot write to $work"
  needed_packages="g++ gcc make tcl dpkg-dev"
  install_packages
  cxx=$(find_cxx) || exit 2
  read -r -a cxx <<<"$cxx"  # $CXX may hold options of its own
  cxx+=(-std=c++20 -O1 -g1 "-I$top/include" "-I$sources")
  for name in "${steps[@]}"; do
    title "$name"
    mkdir -p "$work/$name"
    if ! "clients_$name"; then
      say "${red}FAILED${reset}  $name could not be tried"
      rows+=("$name|-|could not be tried")
      bad=1
    fi
  done
  title "clients"
  printf '%s\n' "${rows[@]}" | awk -F'|' '{ printf "%-11s %-14s %s\n", $1, $2, $3 }'
  if [ "$bad" = 0 ]; then say "clients: all is well"; else say "clients: not all passed"; fi
  return "$bad"
}

# ---- cases and rows -------------------------------------------------------------------------------

# What the clients can show needs several threads: the configurations of several CPUs.
client_configurations() { configurations | grep '^smp'; }
client_locks="RawSpinLock SpinLock TrySpinLock"

# row_begin; case_of NAME COMMAND ...; row_end CLIENT CONFIGURATION.
row_begin() { passed=0 run=0; }
row_end() {
  rows+=("$1|$2|$passed of $run")
  say "$1, $2: $passed of $run"
  if [ "$passed" != "$run" ] || [ "$run" = 0 ]; then bad=1; fi
}

# A case is a command that ends with 0 within five minutes; nor may Nestlock report a misuse (its
# reports begin with its name). Its output stays in $work/out.
case_of() {
  local name=$1 status
  shift
  run=$((run + 1))
  "$@" >"$work/out" 2>&1
  status=$?
  if [ "$status" = 0 ] && grep -q '^nestlock: ' "$work/out"; then status="a report"; fi
  if [ "$status" = 0 ]; then
    passed=$((passed + 1))
  else
    say "${red}FAILED${reset}  $name ($status)"
    tail -n 20 "$work/out"
  fi
}

# The source package's folder, or the line that says why not and failure.
client_source() { # client_source PACKAGE
  (fetch_source "$1")
}

# build PROGRAM COMMAND ...: in the background, as many at a time as there are processors.
builds=()
build() {
  local log="$1.log"
  shift
  [ "$(jobs -rp | wc -l)" -lt "$(nproc)" ] || wait -n
  { "$@" >"$log" 2>&1 || { say "${red}FAILED${reset}  $*"; head -n 20 "$log"; }; } &
}
build_end() { wait; }

# ---- SQLite ---------------------------------------------------------------------------------------

sqlite_flags="-w -DSQLITE_THREADSAFE=1 -DSQLITE_ENABLE_RTREE"

clients_sqlite() {
  local there="$work/sqlite" config name
  client_source sqlite3 || return
  cd "$there" || return
  sqlite_objects || return
  local flags=(-I. -pthread) libs=("$top"/lib/{port,page,slab}/*.cc -ldl -lm)
  rm -f -- one.* two.* ./*.db
  build two.o "${cxx[@]}" -I. -c "$sources/sqlite_threads.cc" -o two.o
  build_end
  build one.plain "${cxx[@]}" speedtest1.o sqlite3.o "${flags[@]}" -ldl -lm -o one.plain
  build two.plain "${cxx[@]}" two.o first.o second.o sqlite3.o "${flags[@]}" -ldl -lm -o two.plain
  for config in $(client_configurations); do
    local sqlite=sqlite3.o hooks=("-DNESTLOCK_CONFIG=$config" -DCLIENT_LOCK=SpinLock "$sources/sqlite_hooks.cc")
    case "$config" in *debug) sqlite=sqlite3_debug.o ;; esac
    build "one.$config" "${cxx[@]}" "${flags[@]}" "${hooks[@]}" speedtest1.o "$sqlite" "${libs[@]}" \
      -o "one.$config"
    build "two.$config" "${cxx[@]}" "${flags[@]}" "${hooks[@]}" two.o first.o second.o "$sqlite" \
      "${libs[@]}" -o "two.$config"
  done
  build_end
  for config in plain $(client_configurations); do
    row_begin
    for name in main cte orm fp; do
      case_of "sqlite, $config, $name" sqlite_case one "$config" "$name" --size 20 --testset "$name"
    done
    case_of "sqlite, $config, rtree" sqlite_case one "$config" rtree --size 3 --testset rtree
    case_of "sqlite, $config, sorter threads" sqlite_case one "$config" sorters --size 20 --threads 2
    case_of "sqlite, $config, two threads" sqlite_case two "$config" threads 20
    # The first is the unmodified one: what the others are held against.
    if [ "$config" = plain ]; then
      [ "$passed" = "$run" ] || return
    else
      row_end sqlite "$config"
    fi
  done
}

# The one large C file that SQLite is compiled from is made by SQLite's own scripts, in Tcl.
sqlite_objects() {
  local source="$state/src/sqlite3" name
  [ -f objects_made ] && return
  say "building SQLite (once)"
  # shellcheck disable=SC2086  # flags
  ("$source/configure" --disable-tcl && make sqlite3.c &&
    gcc -O1 $sqlite_flags -c sqlite3.c -o sqlite3.o &&
    gcc -O1 $sqlite_flags -DSQLITE_DEBUG -c sqlite3.c -o sqlite3_debug.o &&
    gcc -O1 $sqlite_flags -I. -c "$source/test/speedtest1.c" -o speedtest1.o &&
    for name in first second; do
      gcc -O1 $sqlite_flags -I. "-Dmain=speedtest1_$name" -c "$source/test/speedtest1.c" -o "$name.o" &&
        objcopy "--keep-global-symbol=speedtest1_$name" "$name.o" || exit
    done && touch objects_made) >build.log 2>&1 && return
  tail -n 20 build.log
  return 1
}

# sqlite_case PROGRAM CONFIG NAME ARGUMENT ...: runs it, and compares what it printed, without the
# times and in any order, with what the unmodified SQLite printed.
sqlite_case() {
  local program=$1 config=$2 name=$3 said="said.$3" more=()
  shift 3
  [ "$program" = two ] || more=(--verify "alone.db")
  timeout 300 "./$program.$config" "$@" ${more[@]+"${more[@]}"} >"$said.$config.raw" 2>"$said.$config.err"
  local status=$?
  cat "$said.$config.err"
  [ "$status" = 0 ] || return "$status"
  if [ "$program" = two ]; then
    # Two print at once, so only lines that are written in one call stay whole.
    grep -oE 'Verification Hash: .*|^[01] [0-9]+ [0-9]+ $' "$said.$config.raw" | sort >"$said.$config"
  else
    sed -E 's/ +[0-9]+\.[0-9]+s$//' "$said.$config.raw" >"$said.$config"
  fi
  grep -q 'Verification Hash: [1-9]' "$said.$config" || { say "no hash was printed"; return 1; }
  [ "$config" = plain ] && return
  diff "$said.plain" "$said.$config" || return
  [ "$program" = one ] || ! grep -q 'waited 0 \|tried 0 ' "$said.$config.err" || {
    say "nobody ever waited for a mutex, or tried one"
    return 1
  }
}

# ---- Concurrency Kit ------------------------------------------------------------------------------

clients_ck() {
  local config lock threads program
  client_source ck || return
  cd "$work/ck" || return
  [ -f copy/include/ck_md.h ] || (rm -rf copy && cp -R "$state/src/ck" copy && cd copy && ./configure) \
    >build.log 2>&1 || { tail -n 20 build.log; return 1; }
  rm -f -- validate.*
  gcc -O2 -D_GNU_SOURCE -Icopy/include -Icopy/regressions/ck_spinlock/validate -c \
    "$sources/ck_validate.c" -o validate.o || return
  for config in $(client_configurations); do
    for lock in $client_locks; do
      build "validate.$config.$lock" "${cxx[@]}" "-DNESTLOCK_CONFIG=$config" "-DCLIENT_LOCK=$lock" \
        "$sources/ck_lock.cc" validate.o "$top"/lib/port/*.cc -pthread -o "validate.$config.$lock"
    done
  done
  build_end
  for config in $(client_configurations); do
    row_begin
    for lock in $client_locks; do
      for threads in 2 4; do
        program="./validate.$config.$lock"
        case_of "ck, $config, $lock, $threads threads" timeout 300 "$program" "$threads" 1
      done
    done
    row_end ck "$config"
  done
}
