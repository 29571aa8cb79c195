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

A failed row names the test that `./nest test` runs again: test=LABEL.

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
      rows_of_log "$kind" "$log" "$label" && continue
      if grep -q '^\[  SKIPPED \]' "$log"; then
        printf 'verify: tool=test subject=%s config=%s result=not_run test=%s\n' \
          "${label#//test/}" "$kind" "$label"
        continue
      fi
      why='passed, and has no row'
    fi
    red test "${label#//test/}" "$why" "$label"
  done < <(test_results "$events")
  if [ "$seen" = 0 ] || { [ "$status" != 0 ] && [ "$status" != 3 ]; }; then
    red test "bazel test, $kind" "status $status"
  fi
}

red() { # red TOOL SUBJECT WHY [LABEL]
  local text="verify: tool=$1 subject=${2// /_} config=- result=FAILED why=${3// /_}${4:+ test=$4}"
  printf '%s\n' "$text"
}

# False if the log has none. The torture program says what it was, and then how it went. With a
# label, each row names its test by it.
rows_of_log() { # rows_of_log KIND LOG [LABEL]
  awk -v tsan="$([ "$1" != tsan ] || echo +TSan)" -v test="${3:+ test=$3}" '
    function number(s) { sub(/^ */, "", s); sub(/ .*/, "", s); return s }
    / on .*, --seed [0-9]+, [0-9.]+ s$/ {
      split($0, part, ", ")
      subject = part[1]; config = part[2]; seconds = number(part[5])
      gsub(/ /, "_", subject)
    }
    /^ *[0-9]+ operations, [0-9]+ handler entries, [0-9]+ found a lock held/ && subject != "" {
      split($0, part, ", ")
      print "verify: tool=torture subject=" subject " config=" config tsan " result=ok seconds=" seconds \
        " operations=" number(part[1]) " hits=" number(part[3]) test
      rows++; subject = ""
    }
    /^torture: caught/ {
      print "verify: tool=torture subject=(broken) config=" config " mutant=busted_locks result=ok" test
      rows++
    }
    /^verify: / {
      if (tsan != "") sub(/ config=[^ ]*/, "&" tsan)
      print $0 test; rows++
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
  awk -f "$driver/verify_table.awk" "$verify/rows" >"$verify/table.md"
  status=$?
  cat "$verify/table.md"
  return "$status"
}
