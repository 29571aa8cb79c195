#!/usr/bin/env bash
# A compiler for lines that name the library's sources, of which there are many with the same options:
# what of lib/*/*.cc a line names is compiled once for each set of options, and linked again and again.
# Where Bazel has built the same files for the configuration that a line names, and nothing else that it
# names can matter to them, what Bazel built is linked (./nest embed compiles such lines from nothing).
# Everything else is handed to the compiler as it stands. Runs in a folder that has lib/ and include/.
#
#   COMPILE_ONCE_CXX='g++' COMPILE_ONCE_FOLDER=FOLDER [COMPILE_ONCE_BUILT=FOLDER] compile_once.sh ARGUMENTS
#
# COMPILE_ONCE_BUILT has CONFIGURATION.o: all of lib/port, lib/page and lib/slab.
set -u -o pipefail

read -r -a compiler <<<"$COMPILE_ONCE_CXX"
options=() sources=() line=() compiles_only=false
for argument; do
  case "$argument" in
    lib/*/*.cc) sources+=("$argument") ;;
    *) line+=("$argument") ;;
  esac
  case "$argument" in
    -c | -fsyntax-only) compiles_only=true ;;
    -[DIOWfgm]* | -std=* | -pthread) options+=("$argument") ;;
  esac
done
if $compiles_only || [ ${#sources[@]} = 0 ]; then exec "${compiler[@]}" "$@"; fi

# built_object: the path of what Bazel built for this line, if all agrees.
built_object() {
  local option config=
  for option in "${options[@]}"; do
    case "$option" in
      -DNESTLOCK_CONFIG=*) config=${option#*=} ;;
      -std=c++20 | -Iinclude | -O[0-3] | -W* | -g | -pthread) ;;
      *) return 1 ;;
    esac
  done
  for option in "${sources[@]}"; do
    case "$option" in lib/port/* | lib/page/* | lib/slab/*) ;; *) return 1 ;; esac
  done
  option=${COMPILE_ONCE_BUILT:+$COMPILE_ONCE_BUILT/$config.o}
  [ -n "$config" ] && [ -f "$option" ] && printf '%s\n' "$option"
}
if object=$(built_object); then exec "${compiler[@]}" "${line[@]}" "$object"; fi

folder=$COMPILE_ONCE_FOLDER/$(md5sum <<<"${options[*]}" | cut -c1-32)
mkdir -p "$folder" || exit 2
# A folder's sources as one file: most of the time goes to the headers that they share.
for part in $(printf '%s\n' "${sources[@]%/*}" | sort -u); do
  named=$(printf '#include "%s"\n' "${sources[@]}" | grep -F "\"$part/")
  object=$folder/${part//\//_}-$(cksum <<<"$named" | cut -d' ' -f1).o
  [ -f "$object" ] || "${compiler[@]}" "${options[@]}" -I. -c -x c++ - -o "$object" <<<"$named" || exit
  line+=("$object")
done
exec "${compiler[@]}" "${line[@]}"
