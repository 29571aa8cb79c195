#!/usr/bin/env bash
# Each program of examples/ builds by the line in its head and prints what stands there.
#
# Run in the repository's top folder, or by Bazel; with names of examples, those only.
. test/examples/example.sh

names=("$@")
if [ $# = 0 ]; then
  for file in examples/*.cc; do
    name=${file##*/}
    # Takes a while to compile, and has a test of its own that looks at more.
    [ "$name" = explore_your_own.cc ] || names+=("${name%.cc}")
  done
fi
for name in "${names[@]}"; do
  check_example "examples/$name.cc"
  grep -qF "($name.cc)" examples/README.md || fail "examples/README.md does not name $name.cc"
done

# This test can fail: what was printed is compared, number by number.
said="$work/${names[0]}.said"
if [ -s "$said" ]; then
  sed 's/[0-9]/&7/' "$work/${names[0]}.expected" >"$work/changed"
  as_shown "$work/changed" "$said" && fail "a changed number was not seen"
fi
examples_end
