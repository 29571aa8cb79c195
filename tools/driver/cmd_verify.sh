help_verify() {
  cat <<'END'
runs the whole proof and prints it as one table

usage: ./nest verify [--quick] [--require-genmc] [--seconds S] [--jobs N] [BAZEL TEST ARGUMENTS]

  --quick           the tests as `./nest test --plain` runs them (after it they are not run again),
                    and GenMC on what takes a second; no mutants, no torture but the tests' own
  --require-genmc   without a genmc on the path (or in $GENMC) it fails; else those rows say "not run"
  --seconds S       of torture, for each configuration and subject; 3 by default
  --jobs N          mutants, and Bazel's processes, at a time; 2 by default

In the table: the explorer (schedules of the simulator, all or within which bound), the instruction
sweep and the unwind sweep (boundaries), torture (time), GenMC (executions of the weak memory model),
and the mutants, each with what caught it. docs/verification.md says what each proves, and what not.

A row comes from any line `verify: ...` that a test prints (test/support/verify_line.h); the tests
that do are those tagged `verify`. Arguments go to `bazel test`. The table is also in
.nest/verify/table.md. A failed row or a surviving mutant ends with 1; the last line says how many.
END
}

# The functions rows_of_* print lines `verify: ...`; what people are to read goes to stderr.

# From the tests' logs. A program that failed, or that has said nothing, has a red row of its own.
rows_of_tests() { # rows_of_tests KIND BAZEL-ARGUMENTS
  local kind=$1 events="$verify/tests-$1.json" status label result xml log seen=0 why
  shift
  title "tests, $kind" >&2
  rm -f -- "$events"
  run_bazel test --keep_going --test_summary=none --test_tag_filters=verify \
    "--build_event_json_file=$events" "$@" //test/... >&2
  status=$?
  [ -f "$events" ] || : >"$events"
  while read -r label result xml; do
    seen=$((seen + 1))
    log=${xml%.xml}.log why=$result
    if [ "$result" = PASSED ]; then
      rows_of_log "$kind" "$log" && continue
      if grep -q '^\[  SKIPPED \]' "$log"; then
        printf 'verify: tool=test subject=%s config=%s result=not_run\n' "${label#//test/}" "$kind"
        continue
      fi
      why='passed, and has no row'
    fi
    red test "${label#//test/}" "$why"
  done < <(test_results "$events")
  if [ "$seen" = 0 ] || { [ "$status" != 0 ] && [ "$status" != 3 ]; }; then
    red test "bazel test, $kind" "status $status"
  fi
}

red() { # red TOOL SUBJECT WHY
  local text="verify: tool=$1 subject=${2// /_} config=- result=FAILED why=${3// /_}"
  printf '%s\n' "$text"
}

# False if the log has none. The torture program says what it was, and then how it went.
rows_of_log() { # rows_of_log KIND LOG
  awk -v tsan="$([ "$1" != tsan ] || echo +TSan)" '
    function number(s) { sub(/^ */, "", s); sub(/ .*/, "", s); return s }
    / on .*, --seed [0-9]+, [0-9.]+ s$/ {
      split($0, part, ", ")
      subject = part[1]; config = part[2]; seconds = number(part[5])
      gsub(/ /, "_", subject)
    }
    /^ *[0-9]+ operations, [0-9]+ handler entries, [0-9]+ found a lock held/ && subject != "" {
      split($0, part, ", ")
      print "verify: tool=torture subject=" subject " config=" config tsan " result=ok seconds=" seconds \
        " operations=" number(part[1]) " hits=" number(part[3])
      rows++; subject = ""
    }
    /^torture: caught/ {
      print "verify: tool=torture subject=(broken) config=" config " mutant=busted_locks result=ok"
      rows++
    }
    /^verify: / {
      if (tsan != "") sub(/ config=[^ ]*/, "&" tsan)
      print; rows++
    }
    END { exit rows == 0 }
  ' "$2"
}

rows_of_torture() { # rows_of_torture SECONDS
  local log="$verify/torture.log" status
  title torture >&2
  (. "$driver/cmd_torture.sh" && run_torture --config all --seconds "$1") >"$log" 2>&1
  status=$?
  rows_of_log plain "$log" && [ "$status" = 0 ] && return
  tail -n 3 "$log" >&2
  red torture torture "see $log"
}

rows_of_mutants() {
  title mutants >&2
  (. "$driver/cmd_mutants.sh" && run_mutants -j "$jobs") >"$verify/mutants.log" 2>&1
  awk '
    function bad(why) { print "verify: tool=mutants subject=mutants config=- result=FAILED why=" why; rows++ }
    $2 == "(the" { if ($1 != "passed") bad("the_library_as_it_is:_" $NF); next }
    $1 == "passed" || $1 == "FAILED" {
      by = $0; sub(/^[^ ]+ +[^ ]+ +(caught by )?/, "", by); gsub(/ /, "_", by)
      print "verify: tool=mutants subject=(broken) config=- mutant=" $2 \
        ($1 == "passed" ? " result=ok by=" : " result=FAILED why=") by
      rows++
    }
    END { if (!rows) bad("no_line") }
  ' "$verify/mutants.log"
}

rows_of_genmc() { # rows_of_genmc NAME...
  title GenMC >&2
  NEST_STATE=$state "$top/test/genmc/run.sh" "$@" 2>"$verify/genmc.log"
  case $? in
    0 | 1) ;;
    3) [ "$require_genmc" = 0 ] || red genmc genmc 'not on the path' ;;
    *) red genmc genmc "see $verify/genmc.log" ;;
  esac
}

# The table. What has the same subject, configuration and tool is one row, numbers added up, each
# bound by itself; each mutant has a row, with all that caught it. Then a line that counts.
table_of() { # table_of ROWS
  awk '
    function text(s) { gsub(/_/, " ", s); gsub(/\|/, "/", s); return s }
    function with_commas(n,  s, t) {
      s = sprintf("%d", n)
      for (t = ""; length(s) > 3; s = substr(s, 1, length(s) - 3)) t = "," substr(s, length(s) - 2) t
      return s t
    }
    function joined(a, b) { return a == "" ? b : a "; " b }
    function tool_of(t) { return t in tools ? tools[t] : t }
    function add(label, n) {
      if (!((id, label) in sum)) label_of[id, ++labels[id]] = label
      sum[id, label] += n
    }
    # What ran tells more than what did not.
    function worse(a, b) { return a != b && (b == "not_run" || (a != "ok" && a != "not_run")) }
    function within() {
      if (v["complete"] == "yes") return v["bound"] == "" ? "all" : "all within " v["bound"]
      return v["bound"] == "" ? "a sample" : v["bound"]
    }
    function mutant(name,  what) {
      if (!(name in known)) { known[name] = 1; mutants[++nr_mutants] = name }
      what = tool_of(v["tool"]) (v["by"] == "" ? "" : ": " v["by"])
      if (v["result"] == "ok") {
        if (v["tool"] != "genmc") seen_by_other[name] = 1
        if (index("; " caught[name] "; ", "; " what "; ") == 0) caught[name] = joined(caught[name], what)
      } else if (v["result"] == "FAILED") {
        survived[name] = joined(survived[name], tool_of(v["tool"]) ": " v["why"])
      }
      if (v["tool"] != "genmc") has_other[name] = 1
    }
    BEGIN {
      tools["explore"] = "explorer"; tools["genmc"] = "GenMC"; tools["mutants"] = "test"
      tools["unwind"] = "unwind sweep"
      print "| what | configuration | by | seen | result |"
      print "|---|---|---|---|---|"
    }
    /^verify: / {
      split("", v)
      for (i = 2; i <= NF; i++) { at = index($i, "="); v[substr($i, 1, at - 1)] = substr($i, at + 1) }
      rows++
      if (v["result"] == "not_run") not_run++; else if (v["result"] != "ok") failed++
      if ("mutant" in v) { mutant(v["mutant"]); next }
      id = v["subject"] SUBSEP v["config"] SUBSEP v["tool"]
      if (!(id in result)) { ids[++nr_ids] = id; result[id] = v["result"] }
      else if (worse(v["result"], result[id])) result[id] = v["result"]
      if (v["result"] == "FAILED") why[id] = joined(why[id], v["case"] (v["case"] == "" ? "" : ": ") v["why"])
      if ("schedules" in v) add((v["tool"] == "genmc" ? "executions" : "schedules") " (" within() ")", v["schedules"])
      if ("boundaries" in v) add("boundaries (" within() ")", v["boundaries"])
      if ("seconds" in v) add("s", v["seconds"])
      if ("operations" in v) add("operations", v["operations"])
      if ("hits" in v) add("hits", v["hits"])
      for (i = 2; i <= NF; i++) {
        k = substr($i, 1, index($i, "=") - 1)
        if (k ~ /^count\./) add(substr(k, 7), v[k])
      }
    }
    END {
      for (r = 1; r <= nr_ids; r++) {
        id = ids[r]; split(id, part, SUBSEP); seen = ""
        for (j = 1; j <= 2 * labels[id]; j++) {  # schedules and the like, then what was counted
          k = label_of[id, j > labels[id] ? j - labels[id] : j]
          if ((k ~ /\)$/) != (j <= labels[id])) continue
          seen = joined(seen, (k == "s" ? sum[id, k] : with_commas(sum[id, k])) " " k)
        }
        printf "| %s | %s | %s | %s | %s |\n", text(part[1]), part[2], tool_of(part[3]),
          text(joined(seen, why[id]) == "; " ? "" : why[id] == "" ? seen : joined(seen, why[id])),
          result[id] == "ok" ? "ok" : result[id] == "not_run" ? "not run" : "**FAILED**"
      }
      for (r = 1; r <= nr_mutants; r++) {
        k = mutants[r]; seen = caught[k]
        if (k in survived) seen = joined(seen, survived[k])
        if (!(k in has_other)) seen = joined(seen, "by GenMC alone")
        printf "| mutant: %s | | | %s | %s |\n", text(k), text(seen),
          k in survived ? "**FAILED**" : caught[k] == "" ? "not run" : "caught"
        if (caught[k] != "" && !(k in survived)) nr_caught++
      }
      printf "\n%d rows, %d mutants caught, %d not run, %d failed\n", rows, nr_caught, not_run, failed
      exit failed != 0 || rows == 0
    }
  ' "$1"
}

run_verify() {
  local quick=0 require_genmc=0 seconds=3 jobs=2 args=() verify="$state/verify" status
  while [ $# -gt 0 ]; do
    case "$1" in
      --quick) quick=1 && shift ;;
      --require-genmc) require_genmc=1 && shift ;;
      --seconds)
        [ $# -gt 1 ] || die "--seconds needs a number"
        seconds=$2 && shift 2
        ;;
      --jobs)
        [ $# -gt 1 ] || die "--jobs needs a number"
        jobs=$2 && shift 2
        ;;
      *) args+=("$1") && shift ;;
    esac
  done
  args+=("--jobs=$jobs")
  . "$driver/cmd_setup.sh"
  . "$driver/cmd_test.sh"
  prepare
  mkdir -p "$verify" || die "cannot write to $verify"
  rm -f -- "$verify"/rows.*
  rows_of_tests plain "${args[@]}" >"$verify/rows.1"
  if [ "$quick" = 1 ]; then
    rows_of_genmc 'fifo_2*' list_2 'list_push*' 'list_take*' >"$verify/rows.4"
  else
    rows_of_tests tsan --config=tsan "${args[@]}" >"$verify/rows.2"
    rows_of_genmc >"$verify/rows.4" &  # one processor's work; half of the torture is, too
    rows_of_torture "$seconds" >"$verify/rows.3"
    rows_of_mutants >"$verify/rows.5"
    wait
  fi
  cat "$verify"/rows.* | grep '^verify: ' >"$verify/rows"
  table_of "$verify/rows" >"$verify/table.md"
  status=$?
  cat "$verify/table.md"
  return "$status"
}
