#!/usr/bin/env bash
# Two files of one program that put a lock by its plain name into the same struct link only if they were
# built for the same configuration and layout, with and without link-time optimisation; with explicit
# kernels they link, whatever they were built for.
#
# Run in the repository's top folder, or by Bazel.
set -u -o pipefail

work=$(mktemp -d) || exit 2
trap 'rm -rf "$work"' EXIT
failures=0 checks=0

build() { # FILE FLAGS...: $work/FILE.o
  "${compile[@]}" "${@:2}" -c "test/compiled/one_choice/$1.cc" -o "$work/$1.o" || exit 1
}
check() { # TEXT COMMAND...
  checks=$((checks + 1))
  "${@:2}" && return
  echo "FAILED by ${compile[*]}: $1"
  failures=$((failures + 1))
}
links() {
  "${compile[@]}" "$work/first.o" "$work/second.o" -pthread -o "$work/program" 2>"$work/errors" && "$work/program"
}
is_refused() {
  ! links && grep -E 'nestlock_plain_names_of_|different configurations use its plain names' "$work/errors" >/dev/null
}

for options in 'g++ -O0' 'g++ -O1 -flto' 'clang++-19 -O1 -flto'; do
  read -ra compile <<<"$options -std=c++20 -Iinclude"
  command -v "${compile[0]}" >/dev/null || continue
  build first -DNESTLOCK_CONFIG=smp
  build second -DNESTLOCK_CONFIG=smp
  case $options in
  *-flto) links || continue ;; # it needs a linker's plug-in
  *) check "the same choice does not link" links ;;
  esac
  build second -DNESTLOCK_CONFIG=up
  check "two configurations link" is_refused
  build second -DNESTLOCK_CONFIG=smp -DNESTLOCK_MAX_CPUS=2
  check "two numbers of CPUs link" is_refused
  [ "$options" = 'g++ -O0' ] || continue
  build first -DNESTLOCK_CONFIG=smp -DEXPLICIT
  build second -DNESTLOCK_CONFIG=up -DEXPLICIT
  check "explicit kernels do not link" links
done

[ "$checks" -gt 0 ] || { echo "FAILED: no compiler was found"; exit 1; }
echo "$checks checks, $failures failed"
[ "$failures" = 0 ]
