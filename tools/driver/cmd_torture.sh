help_torture() {
  cat <<'END'
random operations on many threads under a storm of signals: nothing lost, nothing given twice

usage: ./nest torture [--config NAME ...] [--tsan | --asan] [--seconds S] [--seed N] [--threads N]
                      [--subject NAME] [--lock busted] [--soak TIME]

  --config NAME   this configuration; repeat it for more. By default up and smp
  --config all    all of them
  --tsan          under ThreadSanitizer
  --asan          under AddressSanitizer
  --seconds S     for each configuration and subject (the kinds of lock share it); 10 by default
  --seed N        as an earlier run printed it; by default the clock's
  --threads N     4 by default; one in uniprocessor configurations
  --subject NAME  only this one: pages, objects, locks, or one kind of lock, as RawSpinLock; or fifo:
                  calls preempted by a higher SCHED_FIFO priority on the same processor must end.
                  Where SCHED_FIFO is not permitted, it says "skipped"
  --soak TIME     1h, 30m, 90s, for all configurations together: rounds of --seconds, each of one subject,
                  with a new seed that is printed, in a process of its own. The first error, crash or hang
                  ends it, with 1 and the command that tries that round again; ^C ends it, too, and either
                  prints what was done. With --seed the seeds are those of an earlier soak
  --lock busted   on locks that exclude nobody: must be caught, and ends with 1 as any error does

Says how many handlers found a lock held, and of locks how often each answer was known and given, and
the most and least sections of a thread. What was never hit is a failure.
Needs a C++20 compiler and nothing else.
END
}

run_torture() {
  local cxx config flags=(-O2) suffix='' configs=() args=() outs=() failed=0 out soak='' status
  while [ $# -gt 0 ]; do
    case "$1" in
      --config)
        [ $# -gt 1 ] || die "--config needs a name"
        if [ "$2" = all ]; then
          mapfile -t configs < <(configurations)
        else
          check_configuration "$2"
          configs+=("$2")
        fi
        shift 2
        ;;
      --tsan) flags=(-O1 -g1 -fsanitize=thread) suffix=.tsan && shift ;;
      --soak)
        [ $# -gt 1 ] || die "--soak needs a time, such as 1h"
        soak=$(seconds_of "$2") || die "--soak takes 90s, 30m, 1h"
        shift 2
        ;;
      --asan) flags=(-O1 -g1 -fsanitize=address) suffix=.asan && shift ;;
      *) args+=("$1") && shift ;;
    esac
  done
  [ ${#configs[@]} -gt 0 ] || configs=(up smp)
  # Shared among them.
  [ -z "$soak" ] || args+=(--soak "$(awk -v t="$soak" -v n=${#configs[@]} 'BEGIN { print t / n }')")
  mkdir -p "$state" || die "cannot write to $state"
  cxx=$(find_cxx) || exit 2
  for config in "${configs[@]}"; do
    out="$state/torture.$config$suffix"
    outs+=("$out")
    [ "$(jobs -rp | wc -l)" -lt "$(nproc)" ] || wait -n || failed=1
    build_torture "$config" "$out" "${flags[@]}" &
  done
  while [ -n "$(jobs -p)" ]; do wait -n || failed=1; done
  [ "$failed" = 0 ] || exit 1
  for out in "${outs[@]}"; do
    "$out" ${args[@]+"${args[@]}"}
    status=$?
    [ "$status" = 0 ] || failed=1
    [ -z "$soak" ] || [ "$status" = 0 ] || break
  done
  return "$failed"
}

build_torture() { # build_torture CONFIG PROGRAM FLAG...
  local out=$2 newer line="$cxx -std=c++20 ${*:3} -Iinclude -I. -DNESTLOCK_CONFIG=$1 tools/torture/all.cc lib/port/*.cc -pthread"
  newer=$(cd "$top" && find include lib/port tools/torture -type f -newer "$out" 2>/dev/null | head -n 1)
  [ ! -x "$out" ] || [ -n "$newer" ] || [ "$(cat "$out.line" 2>/dev/null)" != "$line" ] || return 0
  say "$line" >&2
  (cd "$top" && $cxx -std=c++20 "${@:3}" -Iinclude -I. "-DNESTLOCK_CONFIG=$1" \
    tools/torture/all.cc lib/port/*.cc -pthread -o "$out.new") || return
  mv -f "$out.new" "$out" && printf '%s\n' "$line" >"$out.line"
}

seconds_of() { # seconds_of 1h|30m|90s|90
  awk -v t="$1" 'BEGIN {
    if (t !~ /^[0-9]+(\.[0-9]+)?[smh]?$/ || t + 0 == 0) exit 1
    print t * (t ~ /h$/ ? 3600 : t ~ /m$/ ? 60 : 1)
  }'
}
