# What the commands of ./nest share. Sourced; `top` is the repository, `driver` this folder.

state="$top/.nest"  # everything that ./nest builds or unpacks; ignored by git

if [ -t 1 ] && [ "${TERM:-dumb}" != dumb ] && [ -z "${NO_COLOR:-}" ]; then
  bold=$'\e[1m' red=$'\e[31m' green=$'\e[32m' reset=$'\e[0m'
else
  bold='' red='' green='' reset=''
fi

say() { printf '%s\n' "$*"; }
title() { printf '%s== %s ==%s\n' "$bold" "$*" "$reset"; }

# It could not be tried: one line, exit 2.
die() {
  printf 'nest: %s\n' "$*" >&2
  exit 2
}

have() { command -v "$1" >/dev/null 2>&1; }

first_of() {
  local name
  for name; do
    if have "$name"; then
      printf '%s\n' "$name"
      return 0
    fi
  done
  return 1
}

# The configurations' names, from the one list.
configurations() {
  sed -n 's/^    "\([a-z_]*\)": struct(.*/\1/p' "$top/configs/configs.bzl"
}

check_configuration() {
  configurations | grep -qx -- "$1" ||
    die "unknown configuration '$1'; there are: $(configurations | tr '\n' ' ' | sed 's/ $//')"
}

# The C++20 compiler for what needs no Bazel. Where there is none, Debian's is installed, and it is
# said so.
find_cxx() {
  if [ -n "${CXX:-}" ]; then
    have "${CXX%% *}" || die "CXX is '$CXX', and there is no such compiler"
    printf '%s\n' "$CXX"
    return
  fi
  first_of g++ clang++ clang++-19 && return
  . "$driver/cmd_setup.sh"
  is_debian || die "no C++ compiler: install g++ or clang++ (C++20), or set CXX"
  mkdir -p "$state" || die "cannot write to $state"
  needed_packages='g++ libc6-dev' install_packages >&2
  first_of g++ || die "g++ is installed, and not on the path: set CXX"
}

# compared_lock OPTION FILE: for --lock=FILE and --peer=FILE. Prints the file's full name, or dies.
compared_lock() {
  [ -n "$2" ] || die "$1 wants a file: a header that defines struct ComparedLock"
  [ -f "$2" ] || die "there is no file '$2'"
  case "$2" in
    *[\"\\]*) die "the file's name may hold no quote and no backslash" ;;
  esac
  grep -q ComparedLock -- "$2" ||
    die "'$2' does not define struct ComparedLock; see tools/compare/example_lock.h"
  printf '%s/%s\n' "$(cd "$(dirname -- "$2")" && pwd -P)" "${2##*/}"
}
# The first error of what a compiler said.
first_error() { sed -n 's/.*error: //p' | head -n 1; }

# step NAME COMMAND: runs it and prints one line, and its output if it failed or printed any.
steps_failed=0
step() {
  local name=$1 output status
  shift
  output=$("$@" 2>&1)
  status=$?
  if [ "$status" = 0 ] && [ -z "$output" ]; then
    say "${green}ok${reset}      $name"
  else
    say "${red}FAILED${reset}  $name"
    if [ -n "$output" ]; then
      head -n 60 <<<"$output"
      [ "$(wc -l <<<"$output")" -le 60 ] || say "... and so on"
    fi
    steps_failed=$((steps_failed + 1))
  fi
}

# at_once FUNCTION NAME...: FUNCTION NAME for each, as many at a time as there are processors. What each of them
# prints comes in one piece, in this order, and the steps that failed in it count here. (No error is
# overlooked: one that does not come to its end is a failure, too.)
at_once() {
  local function=$1 folder names i shown=0
  shift
  names=("$@")
  folder=$(mktemp -d) || exit 2
  trap 'kill $(jobs -p) 2>/dev/null; exit 130' INT TERM
  for i in "${!names[@]}"; do
    while [ "$(jobs -pr | wc -l)" -ge "$(nproc)" ]; do
      wait -n
      show_ended
    done
    (
      steps_failed=0
      "$function" "${names[i]}"
      say "$steps_failed" >"$folder/$i.failed"
    ) >"$folder/$i" 2>&1 </dev/null &
  done
  while [ -n "$(jobs -pr)" ]; do
    wait -n
    show_ended
  done
  for i in "${!names[@]}"; do
    [ -e "$folder/$i.failed" ] || say 1 >"$folder/$i.failed"
  done
  show_ended
  trap - INT TERM
  rm -rf -- "$folder"
}
# For at_once() alone: prints those that have ended, as far as all before them have.
show_ended() {
  while [ -e "$folder/$shown.failed" ]; do
    cat "$folder/$shown"
    steps_failed=$((steps_failed + $(<"$folder/$shown.failed")))
    shown=$((shown + 1))
  done
}

# steps_end NAME: the closing line, and the status.
steps_end() {
  if [ "$steps_failed" = 0 ]; then say "$1: all is well"; else say "$1: $steps_failed failed"; fi
  [ "$steps_failed" = 0 ]
}

# ---- Bazel --------------------------------------------------------------------------------------

# Where Bazel works. It refuses a path with a space, so there it gets a folder of links instead.
bazel_root() {
  case "$top" in
    *[[:space:]]*) ;;
    *) printf '%s\n' "$top"; return ;;
  esac
  local cache="${NEST_CACHE:-${XDG_CACHE_HOME:-${HOME:-}/.cache}}"
  case "$cache" in
    *[[:space:]]*) die "Bazel cannot work under a path with a space; set NEST_CACHE to a folder without one" ;;
  esac
  local mirror entry
  mirror="$cache/nestlock/$(printf '%s' "$top" | cksum | tr ' ' -)"
  mkdir -p "$mirror" || die "cannot write to $mirror"
  for entry in "$mirror"/* "$mirror"/.[!.]*; do  # what is gone from the repository
    if [ -L "$entry" ] && [ ! -e "$entry" ]; then rm -f -- "$entry"; fi
  done
  for entry in "$top"/* "$top"/.[!.]*; do
    case "${entry##*/}" in
      .git | bazel-*) continue ;;
    esac
    [ -e "$entry" ] && ln -sfn -- "$entry" "$mirror/${entry##*/}"
  done
  printf '%s\n' "$mirror"
}

# What takes a progress line back; empty where there is none to see.
clear_line=''
if [ -t 2 ] && [ "${TERM:-dumb}" != dumb ]; then clear_line=$'\r\e[K'; fi

# Debian's Bazel prints its sandbox's debug lines whatever it is told.
without_noise() {
  sift_noise | sed -u "s/^/$clear_line/"
}
sift_noise() {
  grep --line-buffered -v -E \
    -e '^src/main/tools/(linux-sandbox|process-)[^:]*:[0-9]+: ' \
    -e '^[0-9/]+ [0-9:.]+ src/main/tools/' \
    -e '^(Starting|WARNING: Running) .*local Bazel server' || true
}

# bazel_in FOLDER [STARTUP-OPTION ...] COMMAND ARGUMENTS, with its output filtered and its exit
# status kept.
bazel_in() {
  local folder=$1 status startup=() common=()
  shift
  have bazel || die "no bazel here; ./nest setup says what is needed"
  [ -n "${NEST_CACHE:-}" ] && startup+=("--output_user_root=$NEST_CACHE/bazel")
  while [[ "$1" == -* ]]; do
    startup+=("$1")
    shift
  done
  local command=$1
  shift
  if [ -t 2 ]; then
    common+=(--color=yes --curses=no)
  else
    common+=(--color=no --curses=no --noshow_progress)
  fi
  # Bazel's server outlives this and keeps what it inherits open: so a plain pipe, which it lets go
  # of, and no other descriptor.
  {
    (cd "$folder" && bazel ${startup[@]+"${startup[@]}"} "$command" "${common[@]}" "$@") \
      2>&1 >&3 3>&- | without_noise >&2
    status=${PIPESTATUS[0]}
  } 3>&1
  return "$status"
}

# The same in the repository.
run_bazel() {
  local root
  root=$(bazel_root) || exit 2
  bazel_in "$root" "$@"
}

# For the top of a report: when, on what, of which commit.
machine_notes() {
  say "$(date -u '+%Y-%m-%d %H:%M UTC'), commit $(git rev-parse --short HEAD 2>/dev/null || echo unknown)"
  say "$(nproc) processors: $(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo 2>/dev/null | head -n 1); $(uname -sr)"
  say "load before the run: $(cut -d' ' -f1-3 /proc/loadavg 2>/dev/null)"
}
