# ./nest bench malloc: workloads on each malloc() that is here. Sourced by cmd_bench.sh.

help_bench_malloc() {
  cat <<'END'
usage: ./nest bench malloc [--rounds N] [--text] [--peer=NAME=LIBRARY]...

Workloads in a process each, on every malloc() that is here in turn, N rounds (5). Prints the median of
the processor time of an operation in nanoseconds, so that other load on the machine counts little, and
beside ours the ratio to the best of the others in that row; the peak resident memory; and the spread of
each row, (largest - least) / median of ours. The same of real programs, those of python3, perl, sqlite3, g++, git and
xz that are installed, in milliseconds a run. Then who survives handlers that allocate, 1,000 and 10,000
times a second, on a thread that allocates, for 1.5 s: `ok` and how many blocks the thread had, or what
became of it (hang, crash, corrupt). All of it is a page, too: report/malloc.html, with every single
figure in report/malloc.csv beside it; --text leaves these away.

A malloc that is missing: ./nest setup --peers. More of what handlers may do: ./nest demo malloc.
END
}

run_bench_malloc() {
  local out="$state/demo_malloc" rounds=5 peers=() page=1 round name library workload rate what cxx
  while [ $# -gt 0 ]; do
    case $1 in
      --help | -h) help_bench_malloc; return ;;
      --rounds)
        rounds=${2:-}
        [[ $rounds =~ ^[1-9][0-9]*$ ]] || die "--rounds wants a number; ./nest bench malloc --help"
        shift
        ;;
      --text) page= ;;
      --peer=*=*) peers+=("${1#--peer=}") ;;
      *) die "unknown argument '$1'; ./nest bench malloc --help" ;;
    esac
    shift
  done
  for name in ${peers[@]+"${peers[@]}"}; do
    [ -e "${name#*=}" ] || die "--peer=$name: there is no such library"
  done
  . "$driver/demo_malloc.sh"
  cd "$top" || exit 2
  build_the_demo_of_malloc
  cxx=$(find_cxx) || exit 2
  $cxx -std=c++20 -O2 tools/bench_malloc/workloads.cc -pthread -o "$out/workloads" || exit 1
  {
    mallocs
    for name in ${peers[@]+"${peers[@]}"}; do printf '%s %s\n' "${name%%=*}" "${name#*=}"; done
  } >"$out/mallocs"
  missing_mallocs ${peers[@]+"${peers[@]%%=*}"} | tee "$out/missing"
  printf 'round,malloc,workload,cpu_ns,wall_ns,peak_kib\n' >"$out/bench.csv"
  for ((round = 1; round <= rounds; ++round)); do
    for workload in pair-64 pair-4096 batch-64 random larson xmalloc cache-scratch threads sh8 mstress; do
      while read -r name library; do
        [ "$library" != - ] || library=
        LD_PRELOAD=$library timeout 120 "$out/workloads" "$workload" </dev/null |
          awk -v r="$round" -v m="$name" '{ printf "%s,%s,%s,%s,%s,%s\n", r, m, $1, $2, $3, $4; n = 1 }
            END { if (!n) printf "%s,%s,%s,,,\n", r, m, "'"$workload"'" }' >>"$out/bench.csv"
      done <"$out/mallocs"
    done
  done
  real_programs "$rounds"
  printf 'rate,malloc,what,blocks\n' >"$out/survival.csv"
  for rate in 1000 10000; do
    while read -r name library; do
      what=$(export HANDLERS_PER_SECOND=$rate; one sample "$library" 2>/dev/null)
      printf '%s,%s,%s,%s\n' "$rate" "$name" "$what" "$(awk '/handlers/ { print $3 }' "$out/said")"
    done <"$out/mallocs" >>"$out/survival.csv"
  done
  say "processor time of a malloc() and its free(), ns; ours / best of the others; spread of ours"
  table_of 4 "$out/bench.csv"
  say
  say "peak resident memory, KiB"
  table_of 6 "$out/bench.csv"
  say
  say "processor time of a program, ms"
  table_of 4 "$out/programs.csv"
  say
  say "its peak resident memory, KiB"
  table_of 6 "$out/programs.csv"
  say
  say "handlers that allocate, a second: the blocks that the thread had meanwhile, or what became of it"
  survival_table "$out/survival.csv"
  [ -z "$page" ] || malloc_page
}

# Runs what there is of the programs `rounds` times on each malloc: $out/programs.csv.
real_programs() {
  local rounds=$1 round name library program
  printf 'round,malloc,program,cpu_ms,wall_ms,peak_kib\n' >"$out/programs.csv"
  seq 1 400000 >"$out/numbers"
  cat >"$out/dumps.py" <<'END'
import json
for i in range(3000):
    text = json.dumps({"n": i, "list": list(range(i % 300)), "text": "x" * (i % 500)})
    json.loads(text)
END
  cat >"$out/hashes.pl" <<'END'
my %h; for my $i (1 .. 200000) { $h{"k$i"} = "x" x ($i % 300) . $i }
my $n = grep { /7/ } values %h; delete $h{"k$_"} for 1 .. 100000; print "$n\n";
END
  cat >"$out/table.sql" <<'END'
create table t(a integer primary key, b text);
with recursive n(i) as (select 1 union all select i + 1 from n where i < 200000) insert into t select i, hex(i * 7919) from n;
create index tb on t(b);
select count(*), min(b), max(b) from t where b > "3";
END
  cat >"$out/maps.cc" <<'END'
#include <algorithm>
#include <map>
#include <regex>
#include <string>
#include <vector>
std::map<std::string, std::vector<int>> m;
int main(int, char** v) { std::sort(m["x"].begin(), m["x"].end()); return std::regex_match(v[0], std::regex("a*b")); }
END
  for ((round = 1; round <= rounds; ++round)); do
    while read -r name library; do
      [ "$library" != - ] || library=
      one_program python3 python3 "$out/dumps.py"
      one_program perl perl "$out/hashes.pl"
      one_program sqlite3 sqlite3 :memory: ".read $out/table.sql"
      one_program g++ g++ -std=c++17 -O1 -c -o "$out/maps.o" "$out/maps.cc"
      one_program git git -C "$top" log -n 300 --stat --format=%s
      one_program xz xz -T2 --block-size=500000 -k -c "$out/numbers"
    done <"$out/mallocs"
  done
}
# NAME COMMAND...: on $library, if it is installed.
one_program() {
  program=$1
  shift
  command -v "$1" >/dev/null || return 0
  LD_PRELOAD=$library timeout 120 "$out/workloads" --program "$program" "$@" </dev/null 2>>"$out/programs.log" |
    awk -v r="$round" -v m="$name" -v p="$program" '{ printf "%s,%s,%s,%s,%s,%s\n", r, m, $1, $2, $3, $4; n = 1 }
      END { if (!n) printf "%s,%s,%s,,,\n", r, m, p }' >>"$out/programs.csv"
}

survival_table() {
  awk -F, 'NR == 1 { next }
    !($1 in seen) { seen[$1] = 1; rate[++rates] = $1 }
    rates == 1 { malloc[++mallocs] = $2 }
    { cell[$1, $2] = $3 == "ok" ? "ok " $4 : $3 }
    END {
      printf "%-10s", ""
      for (m = 1; m <= mallocs; ++m) printf "%15s", malloc[m]
      for (r = 1; r <= rates; ++r) {
        printf "\n%-10s", rate[r]
        for (m = 1; m <= mallocs; ++m) printf "%15s", cell[rate[r], malloc[m]]
      }
      print ""
    }' "$1"
}

# report/malloc.html and .csv, from the figures in $out.
malloc_page() {
  mkdir -p report || die "cannot write to report"
  {
    echo group,name,round,kind,value
    awk -F, 'NR > 1 {
        print $3 "," $2 "," $1 ",processor time of a malloc() and its free() (ns)," ($4 == "" ? "failed" : $4)
        print $3 "," $2 "," $1 ",wall time (ns)," ($5 == "" ? "failed" : $5)
        print $3 "," $2 "," $1 ",peak resident memory (KiB)," ($6 == "" ? "failed" : $6)
      }' "$out/bench.csv"
    awk -F, 'NR > 1 {
        print $3 "," $2 "," $1 ",processor time of the program (ms)," ($4 == "" ? "failed" : $4)
        print $3 "," $2 "," $1 ",wall time of the program (ms)," ($5 == "" ? "failed" : $5)
        print $3 "," $2 "," $1 ",peak resident memory of the program (KiB)," ($6 == "" ? "failed" : $6)
      }' "$out/programs.csv"
    awk -F, 'NR > 1 {
        print "a handler allocates " $1 " times a second," $2 ",1,blocks of the thread in 1.5 s," ($3 == "ok" ? $4 : $3)
      }' "$out/survival.csv"
  } >report/malloc.csv
  {
    machine_notes
    while read -r name library; do say "$name: $([ "$library" = - ] && ldd --version 2>&1 | head -n 1 || readlink -f "$library")"; done <"$out/mallocs"
    cat "$out/missing"
    say "A figure in red is a failure: what became of the program in that row."
  } >"$out/notes"
  awk -v title="malloc(), beside its peers" -v notes="$out/notes" -v ours='^nestlock' \
    -f "$driver/report_page.awk" report/malloc.csv >report/malloc.html
  say
  say "report/malloc.html, and every figure in report/malloc.csv"
}

# table_of COLUMN CSV: medians, a row for each workload; an empty figure is a failure.
table_of() {
  awk -F, -v column="$1" '
    NR == 1 { next }
    !($2 in known) { known[$2] = 1; malloc[++mallocs] = $2 }
    !($3 in seen) { seen[$3] = 1; workload[++workloads] = $3 }
    { n = ++count[$2, $3]; figure[$2, $3, n] = $column; if ($column == "") failed[$2, $3] = 1 }
    function sort_of(m, w, n, i, j, x) {
      n = count[m, w]
      for (i = 1; i <= n; ++i) sorted[i] = figure[m, w, i] + 0
      for (i = 2; i <= n; ++i)
        for (j = i; j > 1 && sorted[j - 1] > sorted[j]; --j) { x = sorted[j]; sorted[j] = sorted[j - 1]; sorted[j - 1] = x }
      return n
    }
    END {
      printf "%-15s", ""
      for (m = 1; m <= mallocs; ++m) printf "%12s", malloc[m]
      printf "%8s%9s\n", "ratio", "spread"
      for (w = 1; w <= workloads; ++w) {
        best = ours = 0
        printf "%-15s", workload[w]
        for (m = 1; m <= mallocs; ++m) {
          if ((malloc[m], workload[w]) in failed) { printf "%12s", "failed"; continue }
          n = sort_of(malloc[m], workload[w])
          median = sorted[int((n + 1) / 2)]
          printf "%12.1f", median
          if (malloc[m] == "nestlock") { ours = median; spread = median ? (sorted[n] - sorted[1]) / median : 0 }
          else if (!best || median < best) best = median
        }
        if (ours && best) printf "%8.2f%8.0f%%\n", ours / best, 100 * spread
        else printf "%8s\n", "-"
      }
    }' "$2"
}
