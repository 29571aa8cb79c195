#!/usr/bin/env bash
# A program that is started under a limit of its addresses (RLIMIT_AS) or its data (RLIMIT_DATA), with
# libnestlock_malloc.so preloaded: what the limit has room for is there, threads' stacks and blocks large and small.
#
#   limits_test.sh LIBRARY PROGRAM
#
# PROGRAM is what limits.cc makes.
set -u

usage="usage: limits_test.sh LIBRARY PROGRAM"
library=$(readlink -f "${1:?$usage}") || exit 2
program=$(readlink -f "${2:?$usage}") || exit 2
failed=0 checks=0

# limited OPTION MIB WHAT WANTED: the program prints this. OPTION is ulimit's.
limited() {
  local got
  checks=$((checks + 1))
  got=$( (ulimit "$1" $(($2 << 10)) && LD_PRELOAD=$library exec "$program" "$3" $(($2 << 20))) 2>&1)
  [ "$got" != "$4" ] || return 0
  failed=$((failed + 1))
  printf 'FAILED: ulimit %s, %s MiB, %s: expected\n%s\ngot\n%s\n' "$1" "$2" "$3" "$4" "$got"
}

large="blocks of 1048576 bytes: all"
small="blocks of 200 bytes: all"
for option in -v -d; do
  for mib in 256 1024 4096; do
    limited $option $mib threads "8 threads"
    limited $option $mib large "$large"
    limited $option $mib half "blocks of $((mib << 19)) bytes: all"
    limited $option $mib in_the_way $'blocks of 8192 bytes: all\nwhat was in the way is kept'
    # (Small blocks are in memory: of 4 GiB they would take more than a small machine has.)
    [ $mib -lt 4096 ] || continue
    limited $option $mib small "$small"
    limited $option $mib all "$large"$'\n'"$small"$'\n8 threads'
  done
done
# What the allocator keeps of its own is in proportion to the limit, not to the machine.
limited -d 32 half "blocks of $((32 << 19)) bytes: all"
echo "$checks checks, $failed failed"
[ $failed = 0 ]
