# What the tests of examples/ share. The head of an example says how it is built and what it prints:
#
#   // Build: g++ -std=c++20 ... examples/NAME.cc
#   //            lib/port/*.cc -pthread -o NAME      (goes on until "Prints:")
#   // Prints:
#   //   a line of its output; ~12 stands for any number
#
# and this runs that line, with a compiler that compiles what several lines name once. Sourced; the caller ends with `examples_end`.
set -u -o pipefail

top=$PWD
work=$(mktemp -d "${TEST_TMPDIR:-/tmp}/examples.XXXXXX") || exit 2
trap 'rm -rf -- "$work"' EXIT
# The lines are for the repository's top folder; what they write is not to lie there.
for folder in include lib examples; do
  [ ! -e "$folder" ] || ln -s "$top/$folder" "$work/$folder"
done

# One compiler is enough: the headers are compiled by all of them elsewhere.
compiler=
for c in g++ clang++-19 clang++; do
  [ -z "$compiler" ] && command -v "$c" >/dev/null && compiler=$c
done

checks=0 failures=0
fail() {
  echo "FAILED: $*"
  failures=$((failures + 1))
}

build_line() { # FILE
  sed -n '/^\/\/ Build: /,/^\/\/ Prints:$/p' "$1" | sed '$d; s|^// *Build: *||; s|^// *||' | paste -sd ' ' -
}
expected_of() { # FILE
  awk '/^\/\/ Prints:$/ { on = 1; next } !/^\/\/   / { on = 0 } on { print substr($0, 6) }' "$1"
}
# as_shown EXPECTED SAID: the same lines, but for numbers written as ~12, and for what the program says
# that this machine cannot do.
as_shown() {
  local expected said
  [ "$(wc -l <"$1")" = "$(wc -l <"$2")" ] || return
  while IFS= read -r expected && IFS= read -r said <&3; do
    case "$said" in *' not supported: '*) echo "not compared: $said" && continue ;; esac
    expected=$(sed 's/[][\\.*^$+?(){}|]/\\&/g; s/~[0-9][0-9]*/[0-9]+/g' <<<"$expected")
    grep -qxE -- "$expected" <<<"$said" || return
  done <"$1" 3<"$2"
}
# shows DOCUMENT FILE: the document's first C++ block is the program, from its first #include on.
shows() {
  diff <(sed -n '/^```cpp$/,/^```$/p; /^```$/q' "$1" | sed '1d;$d') <(sed -n '/^#include/,$p' "$2") ||
    fail "the program in $1 is not $2"
}
# in_work COMMAND LINE: run where the example's folders are.
in_work() { (cd "$work" && bash -c "$1"); }

# check_example FILE: it is short, builds without a warning, and prints what its head says.
check_example() {
  local file=$1 name line
  name=${file##*/} name=${name%.*}
  checks=$((checks + 1))
  [ "$(wc -l <"$file")" -le 120 ] || fail "$file has more than 120 lines"
  line=$(build_line "$file")
  case "$line" in
    'g++ '*"$file"*" -o $name") ;;
    *) fail "$file: its head has no line 'Build: g++ ... $file ... -o $name': '$line'"; return ;;
  esac
  expected_of "$file" >"$work/$name.expected"
  [ -s "$work/$name.expected" ] || { fail "$file: its head does not say what it prints"; return; }
  # The same, as Bazel built it.
  if [ -f "examples/$name" ]; then
    prints_as_shown "$name" "examples/$name"
    # A caller that compiles a variant by the same line need not compile this one as well.
    if [ -n "${variant_follows:-}" ]; then cp "examples/$name" "$work/$name" && return; fi
  fi
  if build_example "$file"; then prints_as_shown "$name" "$work/$name"; fi
}
build_example() { # FILE: by the line in its head
  local line
  line=$(build_line "$1")
  COMPILE_ONCE_CXX=$compiler COMPILE_ONCE_FOLDER="$work/objects" COMPILE_ONCE_BUILT="$top/tools/docs/built" \
    in_work "$top/tools/docs/compile_once.sh ${line#g++ } -Wall -Wextra -Wshadow -Werror" >"$work/log" 2>&1 ||
    { fail "$1 does not build: $(cat "$work/log")"; return 1; }
}
prints_as_shown() { # NAME PROGRAM
  if ! "$2" >"$work/$1.said" 2>"$work/log"; then
    fail "$1 failed: $(cat "$work/$1.said" "$work/log")"
  elif ! as_shown "$work/$1.expected" "$work/$1.said"; then
    fail "$1 printed something else than its head says:"
    diff "$work/$1.expected" "$work/$1.said"
  fi
}

examples_end() {
  echo "$checks examples, $failures failures"
  [ "$checks" -gt 0 ] && [ "$failures" = 0 ]
}
[ -n "$compiler" ] || { echo "FAILED: no compiler"; exit 1; }
