#!/usr/bin/env bash
# A compiler for lines that name the library's sources, of which there are many with the same options:
# each of lib/*/*.cc is compiled once for each set of options, and its object is linked again and again.
# Everything else is handed to the compiler as it stands. Runs in a folder that has lib/ and include/.
#
#   COMPILE_ONCE_CXX='g++' COMPILE_ONCE_FOLDER=FOLDER compile_once.sh ARGUMENTS
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

folder=$COMPILE_ONCE_FOLDER/$(md5sum <<<"${options[*]}" | cut -c1-32)
mkdir -p "$folder" || exit 2
for source in "${sources[@]}"; do
  object=${source//\//_} object=$folder/${object%.cc}.o
  [ -f "$object" ] || "${compiler[@]}" "${options[@]}" -c "$source" -o "$object" || exit
  line+=("$object")
done
exec "${compiler[@]}" "${line[@]}"
