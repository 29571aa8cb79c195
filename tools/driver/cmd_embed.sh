help_embed() {
  cat <<'END'
builds the foreign programs of test/embed/: with each build system, without one, and for bare metal

usage: ./nest embed [STEP ...]

Each step builds from scratch, outside of the repository, what docs/embedding.md shows; as many at a
time as there are processors. Debian's packages that they lack are installed; where that cannot be,
the step says what is missing and fails.
Steps, all by default:
END
  local name
  for name in $(embed_steps); do
    printf '  %-10s  %s\n' "$name" "$(sed -n '1s/^# //p' "$(embed_file "$name")")"
  done
}

# What needs least comes first. Each is a file of tools/driver/embed/: its first line says what it
# shows, things_STEP what it needs as THING=PACKAGE (a command or a path, and where Debian has it),
# and embed_STEP runs it.
embed_steps() {
  printf '%s\n' version plain make bare flags static_pie libcxx lto headers cmake pkgconfig meson docs debian bazel
}
embed_file() { printf '%s/embed/%s.sh\n' "$driver" "$1"; }
for embed_step in $(embed_steps); do . "$(embed_file "$embed_step")"; done

things_of() { local -n things="things_$1" 2>/dev/null && printf '%s' "${things:-}" | xargs -n 1; }

# Every package that a step asks for: ./nest setup installs them too.
embed_packages() {
  local name
  for name in $(embed_steps); do things_of "$name"; done | sed 's/.*=//' | sort -u
}

# have_things STEP: what the step needs is here, or was installed just now.
have_things() {
  local thing needed_packages=''
  missing_things "$1" | grep -q . || return 0
  if is_debian; then
    for thing in $(missing_things "$1"); do needed_packages+=" ${thing#*=}"; done
    (install_packages)
  fi
  for thing in $(missing_things "$1"); do
    step "$1: ${thing%%=*} is here" say "it is not; Debian has it in the package ${thing#*=}"
  done
  ! missing_things "$1" | grep -q .
}
missing_things() {
  local thing
  for thing in $(things_of "$1"); do
    case "$thing" in
      /*) [ -e "${thing%%=*}" ] || printf '%s\n' "$thing" ;;
      *) have "${thing%%=*}" || printf '%s\n' "$thing" ;;
    esac
  done
}

# ---- for the steps ------------------------------------------------------------------------------

# prints WANTED COMMAND: the command's output is this and nothing else.
prints() {
  local wanted=$1 got
  shift
  got=$("$@" 2>&1)
  [ "$got" = "$wanted" ] || say "expected '$wanted', got: $got"
}

# refuses REGEX COMMAND: the command fails, and says something that matches.
refuses() {
  local wanted=$1 got
  shift
  if got=$("$@" 2>&1); then
    say "was not refused: $*"
  elif ! tr '\n' ' ' <<<"$got" | tr -s ' ' | grep -qE -- "$wanted"; then
    say "was refused, but not with '$wanted':"
    say "$got"
  fi
}

# quietly COMMAND: its output only if it fails.
quietly() {
  local got
  got=$("$@" 2>&1) || {
    say "failed: $*"
    tail -n 40 <<<"$got"
    return 1
  }
}

# runs_as CONFIG PROGRAM: it is test/embed/app/main.cc, built in this configuration, and works. On
# PREEMPT_RT an interrupt may not own a sleeping lock: there the handler is always refused.
runs_as() {
  case "$1" in
    *_rt | *_rt_debug) prints "$1: 0 added, 3 refused, 112 bytes" "$2" ;;
    *) prints "$1: 2 added, 1 refused, 112 bytes" "$2" ;;
  esac
}

# c_program_runs PROGRAM: it is test/embed/in_c.c, and works.
c_program_runs() { prints "1 taken, 1 refused, 112 bytes" "$1"; }

# The programs into which malloc is linked, and work.
new_runs() { prints "ours, 4 thrown, 2 null" "$1"; }
new_in_library_runs() { prints "ours, 1 thrown, 1 asked" "$1"; }
malloc_in_c_runs() { prints "ours, no C++ library" "$1"; }

# The sources, as an embedder has them: outside of the repository, and only what belongs to it.
copy_sources() {
  if git rev-parse --git-dir >/dev/null 2>&1; then
    git ls-files -z --cached --others --exclude-standard
  else
    find . \( -path ./.nest -o -name 'bazel-*' \) -prune -o -type f -print0
  fi | while IFS= read -r -d '' file; do [ ! -f "$file" ] || printf '%s\0' "$file"; done |
    xargs -0 cp --parents -t "$1"
}

# project NAME: a fresh copy of the foreign project test/embed/NAME with the programs, as $work/NAME.
project() {
  cp -R "test/embed/$1" "$work/$1" && cp test/embed/app/main.cc "$work/$1/" &&
    cp test/embed/plain.cc "$work/$1/locks.cc" &&
    cp test/embed/{in_c.c,malloc.c,new.cc,new_in_library.cc} "$work/$1/"
}

# objects FOLDER COMMAND: compiles lib/ with this compiler line, a folder of it as one file: what the options
# change is seen all the same, in a fifth of the time.
objects() {
  local folder=$1
  shift
  mkdir -p "$folder" &&
    printf '%s\0' lib/{port,page,slab,c,malloc} | xargs -0 -P "$(nproc)" -I FOLDER \
      bash -c 'printf "#include \"%s\"\n" "$2"/*.cc | "${@:3}" -I. -c -x c++ - -o "$1/${2##*/}.o"' \
      objects "$folder" FOLDER "$@"
}

# cmake_install PREFIX CONFIGS OPTIONS: builds and installs the library from the copy.
cmake_install() {
  local prefix=$1 configs=$2
  shift 2
  rm -rf -- "$work/install_build"
  quietly cmake -S "$work/nestlock" -B "$work/install_build" -G Ninja \
    "-DCMAKE_INSTALL_PREFIX=$prefix" "-DNESTLOCK_CONFIGS=$configs" "$@" &&
    quietly cmake --build "$work/install_build" && quietly cmake --install "$work/install_build" || return
  # Nothing that was installed knows where it was built.
  ! grep -rl -- "$work/nestlock" "$prefix"/lib*/cmake "$prefix"/lib*/pkgconfig
}

# Static libraries of two configurations, with pages of another size than the default, in
# $common/installed; not where they were installed, since what was installed may be moved.
installed() {
  (
    flock 9 # two steps want it
    [ -d "$common/installed" ] ||
      { cmake_install "$work/prefix" "up_rt;smp" -DNESTLOCK_PAGE_SHIFT=13 -DCMAKE_UNITY_BUILD=ON && mv "$work/prefix" "$common/installed"; }
  ) 9>"$common/installing"
}

# A step, in a folder of its own with the sources in it.
embed_apart() {
  work="$common/of_$1"
  mkdir "$work" && cp -R "$common/nestlock" "$work/nestlock" || return
  title "$1"
  "embed_$1"
  rm -rf -- "${work:?}"
}

run_embed() {
  local steps=("$@") ready=() name work common
  [ $# -gt 0 ] || read -r -d '' -a steps < <(embed_steps)
  for name in "${steps[@]}"; do
    embed_steps | grep -qxF -- "$name" || die "unknown step '$name'; see ./nest embed --help"
  done
  . "$driver/cmd_setup.sh"
  cd "$top" && mkdir -p "$state" || exit 2
  # What is shown is that it builds and runs, not how fast: half of the time is the optimiser's.
  export CXXFLAGS=-O0 CFLAGS=-O0
  common=$(mktemp -d) || exit 2
  case "$common" in *[[:space:]]*) die "Bazel cannot work under a path with a space; set TMPDIR" ;; esac
  # shellcheck disable=SC2064  # now: it is local
  trap "rm -rf -- '$common'" EXIT
  mkdir "$common/nestlock" && copy_sources "$common/nestlock" || exit 2
  for name in "${steps[@]}"; do
    if have_things "$name"; then ready+=("$name"); fi
  done
  at_once embed_apart ${ready[@]+"${ready[@]}"}
  steps_end embed
}
