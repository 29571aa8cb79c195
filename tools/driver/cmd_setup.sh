help_setup() {
  cat <<'END'
makes this machine ready for ./nest test and ./nest lint

usage: ./nest setup [--peers]

--peers installs what the benchmarks compare with as well: jemalloc, mimalloc, tcmalloc, Concurrency Kit.

On Debian, as root or where sudo asks no password, it installs the packages that are missing and
says which; otherwise it prints the line to run and exits with 1. The sources of Abseil and Google
Benchmark come from the distribution too. What Bazel shall use instead of downloads is written into
a marked block of user.bazelrc, which git ignores.

Elsewhere it only looks whether Bazel is there: WORKSPACE then fetches what it needs, pinned.
END
}

is_debian() {
  have apt-get && have dpkg-query && (
    . /etc/os-release 2>/dev/null
    case " ${ID:-} ${ID_LIKE:-} " in *" debian "*) exit 0 ;; esac
    exit 1
  )
}

# ---- packages -----------------------------------------------------------------------------------

needed_packages="g++ dpkg-dev bazel-bootstrap bazel-skylib bazel-platforms bazel-rules-java
  bazel-rules-proto googletest clang-19 libclang-rt-19-dev clang-tidy-19 clang-format-19"
# Programs that run under our malloc in the tests, besides what every Debian has. What is missing of them the
# tests leave out, and say so.
wanted_packages="redis-server redis-tools pigz sqlite3"
if [ -x /usr/bin/python3 ]; then
  wanted_packages+=" $(/usr/bin/python3 -c 'import sys; print("libpython%d.%d-testsuite" % sys.version_info[:2])')"
fi

missing_packages() {
  local package
  for package in $needed_packages; do
    [ "$(dpkg-query -W -f='${db:Status-Abbrev}' "$package" 2>/dev/null)" = "ii " ] ||
      printf '%s ' "$package"
  done
}

install_packages() {
  local missing as_root=()
  missing=$(missing_packages)
  [ -n "$missing" ] || return 0
  if [ "$(id -u)" != 0 ]; then
    if ! have sudo || ! sudo -n true 2>/dev/null; then
      say "nest: packages are missing; run as root, then try again:" >&2
      say "apt-get install -y --no-install-recommends ${missing% }"
      exit 1
    fi
    as_root=(sudo -n)
  fi
  say "installing: ${missing% }"
  local log="$state/apt.log"
  # The machine's package lists may be old or absent: then one update, and once more.
  local install=(env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends)
  # shellcheck disable=SC2086  # a list of packages
  ${as_root[@]+"${as_root[@]}"} "${install[@]}" $missing >"$log" 2>&1 && return
  ${as_root[@]+"${as_root[@]}"} apt-get update >>"$log" 2>&1
  # shellcheck disable=SC2086
  ${as_root[@]+"${as_root[@]}"} "${install[@]}" $missing >>"$log" 2>&1 ||
    die "apt-get could not install them (no network?); see .nest/apt.log"
}

# ---- sources ------------------------------------------------------------------------------------

# The machine's own package sources, turned from binary to source ones, in a folder of their own.
source_lists() {
  local parts=$1 codename file
  codename=$(. /etc/os-release && printf '%s' "${VERSION_CODENAME:-}")
  mkdir -p "$parts"
  for file in /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
    [ -f "$file" ] || continue
    sed -n "s/^deb\( .* $codename[^ ]* .*main.*\)/deb-src\1/p" "$file"
  done >"$parts/own.list"
  for file in /etc/apt/sources.list.d/*.sources; do
    [ -f "$file" ] || continue
    if grep -q "^Suites:.*\b$codename" "$file" && grep -q '^Components:.*\bmain\b' "$file"; then
      sed 's/^Types:.*/Types: deb-src/' "$file" >"$parts/own-${file##*/}"
    fi
  done
}

# fetch_source PACKAGE: unpacks the distribution's source package to .nest/src/PACKAGE.
fetch_source() {
  local package=$1 work options unpacked
  [ -d "$state/src/$package" ] && return
  say "fetching the source package $package"
  work="$state/fetch"
  rm -rf -- "$work" && mkdir -p "$work/lists/partial" "$work/unpack" "$state/src"
  source_lists "$work/parts"
  options=(
    -o "Dir::Etc::sourcelist=/dev/null"
    -o "Dir::Etc::sourceparts=$work/parts"
    -o "Dir::State::lists=$work/lists"
    -o "APT::Sandbox::User="
  )
  (
    cd "$work/unpack" &&
      apt-get "${options[@]}" update &&
      apt-get "${options[@]}" source "$package"
  ) >"$state/apt.log" 2>&1
  unpacked=$(find "$work/unpack" -mindepth 1 -maxdepth 1 -type d)
  [ -d "$unpacked" ] ||
    die "apt-get could not fetch the source package $package (no network?); see .nest/apt.log"
  mv -- "$unpacked" "$state/src/$package" && rm -rf -- "$work"
}

# ---- Bazel's repositories -----------------------------------------------------------------------

# GoogleTest is packaged without Bazel files: a folder of links, and our own BUILD file.
googletest_repository() {
  local repo="$state/repos/googletest"
  mkdir -p "$repo"
  ln -sfn /usr/src/googletest/googletest "$repo/googletest"
  ln -sfn /usr/src/googletest/googlemock "$repo/googlemock"
  cp "$top/configs/repos/googletest.BUILD" "$repo/BUILD.bazel"
  printf 'workspace(name = "com_google_googletest")\n' >"$repo/WORKSPACE"
}

rc_begin='# ---- written by ./nest setup; do not edit between these lines ----'
rc_end='# ---- end of what ./nest setup wrote ----'

debian_bazelrc() {
  local root=$1
  say "$rc_begin"
  override bazel_skylib /usr/share/bazel/tools/skylib
  override platforms /usr/share/bazel/tools/platforms
  override rules_java /usr/share/bazel/rules/java
  override rules_proto /usr/share/bazel/rules/proto
  override rules_cc "$root/configs/stubs/rules_cc"
  override remote_coverage_tools "$root/configs/stubs/remote_coverage_tools"
  override com_google_googletest "$root/.nest/repos/googletest"
  override com_google_absl "$root/.nest/src/abseil"
  override com_github_google_benchmark "$root/.nest/src/benchmark"
  if ! have clang-19 && have clang; then say 'build:clang --repo_env=CC=clang'; fi
  say "$rc_end"
}

override() { say "common --override_repository=$1=$2"; }

# Replaces the marked block of user.bazelrc and leaves the rest of it alone.
write_bazelrc() {
  local rc="$top/user.bazelrc" rest=''
  [ -f "$rc" ] && rest=$(awk -v b="$rc_begin" -v e="$rc_end" '
    $0 == b { skip = 1 } !skip { print } $0 == e { skip = 0 }' "$rc")
  { printf '%s\n' "$1"; [ -z "$rest" ] || printf '%s\n' "$rest"; } >"$rc.new"
  if cmp -s "$rc.new" "$rc"; then rm -f "$rc.new"; else mv -f "$rc.new" "$rc"; fi
}

# Does what is missing, and is silent when nothing is.
prepare() {
  local root block
  mkdir -p "$state" || die "cannot write to $state"
  if ! is_debian; then
    have bazel || die "install Bazel 4 to 6 (or Bazelisk) and a C++20 compiler, then try again"
    return
  fi
  install_packages
  [ "$(id -u)" != 0 ] || (needed_packages=$wanted_packages && install_packages) ||
    say "the tests leave out what needs these: $wanted_packages"
  fetch_source abseil
  fetch_source benchmark
  googletest_repository
  root=$(bazel_root) || exit 2
  block=$(debian_bazelrc "$root") || exit 2
  write_bazelrc "$block"
}

run_setup() {
  local peers=
  case "$#${1:-}" in
    0) ;;
    1--peers) peers="libjemalloc2 libmimalloc2.0 libtcmalloc-minimal4 libck-dev" ;;
    *) die "setup takes --peers or nothing; see ./nest setup --help" ;;
  esac
  # What the foreign projects and the boards need as well; ./nest test needs none of it.
  . "$driver/cmd_embed.sh"
  . "$driver/cmd_firmware.sh"
  needed_packages+=" $(embed_packages | tr '\n' ' ') $(firmware_packages | tr '\n' ' ') $peers"
  prepare
  is_debian || say "Bazel fetches the pinned archives of WORKSPACE by itself"
  say "ready"
}
