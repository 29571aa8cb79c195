#!/usr/bin/env bash
# Programs into which //:malloc is linked: the blocks are ours, operator new fails as the language says, and a C
# program has no C++ library. Each says so itself.
#
#   linked_test.sh PROGRAM...
set -u

failed=0
for program; do
  case ${program##*/} in
    malloc*) wanted="ours, no C++ library" ;;
    new_in_library*) wanted="ours, 1 thrown, 1 asked" ;;
    new*) wanted="ours, 4 thrown, 2 null" ;;
  esac
  got=$("$program" 2>&1) && [ "$got" = "$wanted" ] && continue
  echo "FAILED: ${program##*/} prints '$got', not '$wanted'"
  failed=1
done
exit $failed
