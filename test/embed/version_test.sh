#!/usr/bin/env bash
# The version stands in include/nestlock/version.h. What cannot read it there repeats it, and this says
# where a copy differs. Run in the repository's top folder. CMakeLists.txt,
# meson.build and what CMake installs read it, so they are not here.
set -u -o pipefail

part() { sed -n "s/^#define NESTLOCK_VERSION_$1 \([0-9]*\)\$/\1/p" include/nestlock/version.h; }
version="$(part MAJOR).$(part MINOR).$(part PATCH)"
[[ "$version" =~ ^[0-9]+\.[0-9]+\.[0-9]+$ ]] || {
  echo "include/nestlock/version.h: no version can be read, only '$version'"
  exit 1
}

failures=0
# states FILE SED-EXPRESSION: the expression prints the version that the file states, once.
states() {
  local stated
  stated=$(sed -n "$2" "$1")
  [ "$stated" = "$version" ] && return
  echo "$1: states '$stated'; include/nestlock/version.h says $version"
  failures=$((failures + 1))
}

states MODULE.bazel 's/^    version = "\(.*\)",$/\1/p'
states CHANGELOG.md '0,/^## \[/s/^## \[\([^]]*\)\].*/\1/p'
states packaging/debian/changelog '1s/^nestlock (\(.*\)-[0-9]*) .*/\1/p'
states packaging/vcpkg/vcpkg.json 's/^  "version": "\(.*\)",$/\1/p'
states packaging/conan/conandata.yml 's/^  "\(.*\)":$/\1/p'
states packaging/conan/conanfile.py 's/^    version = "\(.*\)"$/\1/p'
states packaging/esp-idf/nestlock/idf_component.yml 's/^version: "\(.*\)"$/\1/p'
[ "$failures" = 0 ]
