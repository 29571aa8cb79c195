help_lockstat() {
  cat <<'END'
runs a program with one hot lock under the statistics observer, and shows what it saw

usage: ./nest lockstat [--svg=FILE] [--sections=N]

  --svg=FILE     the hottest lock's waits and sections as histograms
  --sections=N   of each of two threads, 1 or more; 5000

A line for each class of locks, which is where they were initialised, and the program's own count
beside. For a program of your own: nestlock/testing/lockstat.h. Needs a C++20 compiler and nothing
else.
END
}

run_lockstat() {
  local cxx out="$state/lockstat" line
  cxx=$(find_cxx) || exit 2
  mkdir -p "$out" || die "cannot write to $out"
  line="$cxx -std=c++20 -O2 -I$top/include -DNESTLOCK_CONFIG=smp_debug $top/tools/lockstat/main.cc \
$top/lib/port/*.cc -pthread -o $out/lockstat"
  say "$line" >&2
  $line || exit 1
  exec "$out/lockstat" "$@"
}
