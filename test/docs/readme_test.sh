#!/usr/bin/env bash
# The README's programs: each is built by the line that the README shows, and prints what it shows.
# The first one prints the same on several CPUs, and where spinlocks sleep: the promise holds there.
#
# Run in the repository's top folder, or by Bazel.
set -u -o pipefail
. tools/docs/blocks.sh

choose_compiler || { echo "FAILED: no compiler"; exit 1; }
work=$(mktemp -d) || exit 2
trap 'rm -rf -- "$work"' EXIT

check() {
  local program shown config said
  compile_blocks README.md "$work/compiled" up smp_rt_debug
  run_blocks README.md "$work/run"
  [ "$(find "$work/run" -name said | wc -l)" = 2 ] || echo "not two programs with their output were run"
  program=$(find "$work/run" -name counted.cc)
  shown=$(sed -n '/^\$ .*counted\.cc/{n;p;q}' README.md)
  for config in smp up_rt smp_rt; do
    said=$("${compiler[@]}" -std=c++20 -Iinclude "-DNESTLOCK_CONFIG=$config" "$program" \
      -o "$work/counted" 2>&1 && "$work/counted")
    [ "$said" = "$shown" ] || echo "in the configuration $config not '$shown', but: $said"
  done
}
problems=$(check 2>&1)
[ -z "$problems" ] || { printf 'FAILED: %s\n' "$problems"; exit 1; }
echo "the README's programs print what it shows"
