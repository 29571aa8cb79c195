#!/usr/bin/env bash
# What needs a compiler and nothing else (./nest demo), on a Debian machine without one: it is
# installed and said so; where that is not allowed, the line to run is said. The path holds stubs.
set -u
driver=tools/driver
bin=$(mktemp -d) && trap 'rm -rf "$bin"' EXIT
fail() {
  echo "FAILED: $*"
  exit 1
}

for tool in env grep ln mkdir; do ln -s "$(command -v "$tool")" "$bin/$tool" || fail "no $tool here"; done
stub() { # stub NAME LINE...
  printf '%s\n' '#!/bin/sh' "${@:2}" >"$bin/$1" && chmod +x "$bin/$1"
}
stub dpkg-query 'exit 1'  # no package is installed
stub apt-get '[ "$1" = install ] && ln -s /bin/true "${0%/*}/g++"'
# found: its answer, then what it said.
found() {
  (
    PATH=$bin top=$bin driver=$PWD/$driver
    unset CXX
    . "$driver/common.sh"
    is_a_debian_machine=$(. "$driver/cmd_setup.sh" && is_debian && echo yes)
    [ -n "$is_a_debian_machine" ] || exit 77
    find_cxx 2>&1
  )
}

stub id 'echo 1000'
said=$(found)
case $? in
  77) echo "not tried: no Debian here" && exit ;;
  0) fail "who is not root got '$said'" ;;
esac
grep -q '^apt-get install .*g++' <<<"$said" || fail "who is not root is told '$said'"
[ ! -e "$bin/g++" ] || fail "installed, and not allowed to"

stub id 'echo 0'
said=$(found) || fail "root: '$said'"
[ "$said" = $'installing: g++ libc6-dev\ng++' ] || fail "root: '$said'"
said=$(found) && [ "$said" = g++ ] || fail "once it is there: '$said'"
echo "all is well"
