help_test() {
  cat <<'END'
runs the tests in every configuration, plain and under ThreadSanitizer

usage: ./nest test [--quick | --plain | --tsan | --long | --aarch64] [BAZEL TEST ARGUMENTS]

  --quick   without sanitizers, and only those tests that are tagged `quick`: every lock in every
            context, the port's masks, the allocators' calls; it says what it left out
  --plain   without sanitizers only
  --tsan    under ThreadSanitizer only
  --long    without sanitizers, those tests that take samples or a second by default (NESTLOCK_LONG in the
            source says which): all boundaries, or more of them where all take a day, storms of 20 s, more of real
            programs' own tests; hours
  --aarch64 without sanitizers, as programs for AArch64 Linux, run on this machine by QEMU's user mode
            (qemu-aarch64); two configurations of each test. Debian's cross compiler and QEMU are installed
            where they are missing. What QEMU cannot do is left out by name: test/qemu_user/left_out.txt says
            what, and why. Some 20 minutes from nothing; no part of .ci/run

On a terminal a line says how many of the test programs have run. Arguments go to `bazel test`; targets
among them replace //test/...:
  ./nest test --plain //test/lock:lock_types_test //test/lock:kernel_names_test.up_rt
  ./nest test --plain --config=asan
  ./nest test --test_tag_filters=cfg_up
  ./nest test --aarch64 //test/port:port_mask_test

The last line is `N passed, N failed`: the single GoogleTest cases of all runs. No case at all
counts as a failure.
END
}

# Reads Bazel's event file and prints a line for each test program that ran: label, status, and
# the paths of its test.xml. Of several attempts the last counts.
test_results() {
  awk '
    /"id":\{"testResult":/ {
      match($0, /"label":"[^"]*"/); label = substr($0, RSTART + 9, RLENGTH - 10)
      shard = match($0, /"shard":[0-9]+/) ? substr($0, RSTART, RLENGTH) : ""
      run = match($0, /"run":[0-9]+/) ? substr($0, RSTART, RLENGTH) : ""
      status = match($0, /"status":"[A-Z_]*"/) ? substr($0, RSTART + 10, RLENGTH - 11) : "NO_STATUS"
      xml = match($0, /"name":"test.xml","uri":"file:\/\/[^"]*"/) ? substr($0, RSTART + 31, RLENGTH - 32) : "-"
      result[label " " run " " shard] = label " " status " " xml
    }
    END { for (key in result) print result[key] }
  ' "$1" | sort
}

# count_cases XML: prints "passed failed skipped" of one GoogleTest report.
count_cases() {
  awk '
    /<testcase / {
      close_case(); open = 1; bad = 0
      ran = !/status="notrun"/
      skip = /result="skipped"/
      if (/\/>[ \t]*$/) close_case()
    }
    /<failure|<error/ { if (open) bad = 1 }
    /<\/testcase>/ { close_case() }
    function close_case() {
      if (open && ran) { if (bad) failed++; else if (skip) skipped++; else passed++ }
      open = 0
    }
    END { close_case(); print passed + 0, failed + 0, skipped + 0 }
  ' "$1" 2>/dev/null
}

# programs_done EVENTS: "n of m", as far as Bazel has written its event file.
programs_done() {
  awk '
    function label() { return match($0, /"label":"[^"]*"/) ? substr($0, RSTART, RLENGTH) : "" }
    /^\{"id":\{"targetConfigured":/ && /"testSize":/ { of[label()] }
    /^\{"id":\{"targetCompleted":/ && /"aborted":/ { delete of[label()] }
    /^\{"id":\{"testResult":/ { done[label()] }
    END {
      for (key in of) m++
      for (key in done) n++
      printf "%d of %d programs", n, m
    }
  ' "$1" 2>/dev/null
}

# Until it is ended: rewrites one line of the terminal. What Bazel says meanwhile begins with
# $clear_line (common.sh).
show_progress() { # show_progress EVENTS
  local begin=$SECONDS elapsed done
  while sleep 1; do
    elapsed=$((SECONDS - begin))
    done=$(programs_done "$1")
    printf '%s%s, %d:%02d' "$clear_line" "${done:-building}" $((elapsed / 60)) $((elapsed % 60)) >&2
  done
}

total_passed=0 total_failed=0

# run_tests KIND BAZEL-ARGUMENTS: one run of bazel test, added to the totals.
run_tests() {
  local kind=$1 events="$state/test-$1.json" status label result xml counts
  local passed=0 failed=0 skipped=0 programs=0 names='' watch=''
  shift
  title "$kind"
  rm -f -- "$events"
  if [ -n "$clear_line" ]; then
    set -- --noshow_progress "$@"
    show_progress "$events" &
    watch=$!
  fi
  run_bazel test --keep_going --test_summary=terse "--build_event_json_file=$events" "$@"
  status=$?
  if [ -n "$watch" ]; then
    kill "$watch"
    wait "$watch" 2>/dev/null
    printf '%s' "$clear_line" >&2
  fi
  [ -f "$events" ] || : >"$events"
  while read -r label result xml; do
    counts=$(count_cases "$xml")
    # shellcheck disable=SC2086  # three numbers
    set -- ${counts:-0 0 0}
    # A program that dies has no report of its own, or one without its last case.
    if [ "$result" != PASSED ] && [ "$2" = 0 ]; then set -- "$1" 1 "$3"; fi
    programs=$((programs + 1))
    passed=$((passed + $1)) failed=$((failed + $2)) skipped=$((skipped + $3))
    names+="${label##*.}"$'\n'
  done < <(test_results "$events")
  # Bazel says 3 when tests failed; anything else but 0 is a failure that no test has counted.
  if [ "$status" != 0 ] && { [ "$status" != 3 ] || [ "$failed" = 0 ]; }; then
    say "bazel test ended with $status: not everything was built"
    failed=$((failed + 1))
  fi
  names=$(printf '%s' "$names" | sort -u | grep -cxF -f <(configurations))
  local skip_note=''
  [ "$skipped" = 0 ] || skip_note=", $skipped skipped"
  say "$kind: $passed passed, $failed failed$skip_note ($programs test programs, $names configurations)"
  total_passed=$((total_passed + passed)) total_failed=$((total_failed + failed))
}

# By their names, without the configuration.
tell_what_is_not_quick() {
  local all left
  all='(kind("_test rule", //test/...) except attr(tags, "[\[ ](manual|quick)[],]", //test/...))'
  left=$(run_bazel query "$all" 2>/dev/null |
    sed -n 's/.*:\([^.]*\).*/\1/p' | sort -u | tr '\n' ' ')
  say "left out: ThreadSanitizer, and ${left:-what Bazel could not list }"
  say "./nest test runs all of it"
}

run_test() {
  local plain=1 tsan=1 quick=0 long=0 aarch64=0 targets=0 args=() arg
  for arg; do
    case "$arg" in
      --quick) quick=1 tsan=0 args+=(--test_tag_filters=quick) ;;
      --plain) tsan=0 ;;
      --long)
        tsan=0
        args+=(--test_env=NESTLOCK_LONG=1 --test_env=NESTLOCK_STORM_SECONDS=20 --test_timeout=20000)
        long=1
        ;;
      --tsan) plain=0 ;;
      --aarch64) aarch64=1 ;;
      //* | :* | @*) targets=1 args+=("$arg") ;;
      *) args+=("$arg") ;;
    esac
  done
  [ "$plain$tsan" != 00 ] || die "--quick, --plain, --tsan: give one of them, or none for all"
  if [ "$aarch64" = 1 ]; then
    [ "$plain$tsan" = 11 ] || die "--aarch64 is without sanitizers, and not --quick, --plain or --long"
    . "$driver/test_aarch64.sh"
  elif [ "$targets" = 0 ] && [ "$long" = 1 ]; then
    # By file: the tests that ask for it themselves, and those with a header that does.
    args+=(//test/malloc/... //test/slab:slab_sweep_test.smp_debug //test/slab:slab_rows_test.smp_debug
      //test/page:page_sweep_test.smp_debug //test/lock:lock_sweep_test.smp_debug
      //test/lock:event_test.smp_debug //test/testing:unwind_sweep_test.smp_debug)
  elif [ "$targets" = 0 ]; then
    args+=(//test/...)
  fi

  . "$driver/cmd_setup.sh"
  if [ "$aarch64" = 1 ]; then
    run_test_aarch64 "${args[@]}"
  else
    prepare
    [ "$plain" = 0 ] || run_tests plain "${args[@]}"
    [ "$tsan" = 0 ] || run_tests tsan --config=tsan "${args[@]}"
  fi

  if [ "$total_passed" = 0 ] && [ "$total_failed" = 0 ]; then
    say "no test ran"
    total_failed=1
  fi
  [ "$quick" = 0 ] || tell_what_is_not_quick
  say "$total_passed passed, $total_failed failed"
  [ "$total_failed" = 0 ]
}
