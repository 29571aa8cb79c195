# The rules of the house that a compiler does not check. Each rule_* prints what breaks it, as
# file:line:text, and nothing when all is well. Sourced by cmd_lint.sh; runs in the repository.

sources() { # sources FOLDERS: the C++ files below them
  find "$@" -type f \( -name '*.h' -o -name '*.cc' \) | sort
}

# find_code REGEX FILES: as grep -nE, but not in // comments.
find_code() {
  local regex=$1
  shift
  [ $# = 0 ] || regex="$regex" awk '
    { code = $0; sub(/\/\/.*/, "", code) }
    code ~ ENVIRON["regex"] { print FILENAME ":" FNR ":" $0 }
  ' "$@"
}

rule_choice() { # "NESTLOCK_CONFIG is read in config.h only"
  # shellcheck disable=SC2046  # file names without spaces, as everywhere below
  find_code '(^|[^A-Z_])NESTLOCK_(CONFIG|SMP|PREEMPT_RT|DEBUG)([^A-Z_]|$)' \
    $(sources include lib | grep -vx include/nestlock/config.h)
}

rule_conditions() { # "#if stands in config.h, annotations.h, ports and machine-bound harness parts only"
  # shellcheck disable=SC2046
  find_code '^[ \t]*#[ \t]*(if|ifdef|ifndef|elif)([^a-z]|$)' \
    $(sources include lib |
      grep -vxE 'include/nestlock/(config|annotations)\.h|include/nestlock/(ports|testing/internal)/.*|lib/port/.*')
}

rule_atomics() { # "std::atomic is the port's: K::Port::Atomic elsewhere"
  # A signal fence is no atomic: it orders this thread's own contexts, for the compiler.
  # shellcheck disable=SC2046
  find_code 'std::atomic(<|_ref|_flag|_bool|_thread_fence|[ \t]*$)' \
    $(sources include/nestlock | grep -vE '^include/nestlock/(ports|testing)/')
}

rule_names() { # "configuration names stand in config.h and configs.bzl only"
  local names
  names=$(configurations | grep _ | paste -sd '|' -)
  # shellcheck disable=SC2046
  find_code "(^|[^a-z_])($names)([^a-z_]|\$)" \
    $(sources include lib | grep -vx include/nestlock/config.h)
  grep -nE "(^|[^a-z_])($names)([^a-z_]|\$)" configs/*.bzl \
    BUILD.bazel configs/BUILD.bazel include/nestlock/BUILD.bazel lib/BUILD.bazel lib/*/BUILD.bazel |
    grep -vE '^configs/configs\.bzl:|^[^:]*:[0-9]+: *#'
}

rule_lengths() { # "a lock's header has at most 150 lines, another at most 400"
  # shellcheck disable=SC2046
  awk '
    FNR == 1 { most = FILENAME ~ /^include\/nestlock\/[a-z_]*(lock|trylock|spinlock)\.h$/ ? 150 : 400 }
    FNR == most + 1 { print FILENAME ":" FNR ": longer than " most " lines" }
  ' $(sources include lib | grep '\.h$')
}

rule_guards() { # "#pragma once in every header"
  # shellcheck disable=SC2046
  grep -L '^#pragma once$' $(sources include lib | grep '\.h$')
}

rule_alone() { # "the library includes the standard library and itself only"
  # shellcheck disable=SC2046
  find_code '^[ \t]*#[ \t]*include[ \t]*[<"](absl|gtest|gmock|benchmark|boost)/' $(sources include lib)
  # shellcheck disable=SC2046
  find_code '^[ \t]*#[ \t]*include[ \t]*<(iostream|functional)>' $(sources include lib) |
    grep -v '^include/nestlock/testing/' # which run on a host
}

rule_tests() { # "every test is in its BUILD file: else it would never run"
  local file name
  while read -r file; do
    name=${file##*/}
    grep -q "\"${name%.cc}\(\.cc\)\?\"" "${file%/*}/BUILD.bazel" 2>/dev/null ||
      echo "$file:1: no target of this name in ${file%/*}/BUILD.bazel"
  done < <(find test -name '*_test.cc' | sort)
}

# Prints "FLOOR HEADER" for each header, from the lists of include/nestlock/BUILD.bazel: these stand
# there from the lowest floor to the highest.
floors() {
  awk '
    /^[A-Z]+_HEADERS = \[/ { floor++; listing = 1; next }
    /^\]/ { listing = 0 }
    listing && match($0, /"[^"]+"/) { print floor, substr($0, RSTART + 1, RLENGTH - 2) }
  ' include/nestlock/BUILD.bazel
}

rule_floors() { # "every header is on one floor, and includes no higher one"
  local header
  while read -r header; do
    case "$(floors | awk -v h="$header" '$2 == h' | wc -l)" in
      1) ;;
      0) echo "include/nestlock/$header:1: is in no list of include/nestlock/BUILD.bazel" ;;
      *) echo "include/nestlock/$header:1: is in two lists of include/nestlock/BUILD.bazel" ;;
    esac
  done < <(cd include/nestlock && find . -name '*.h' | sed 's|^\./||' | sort)
  # shellcheck disable=SC2046
  awk '
    NR == FNR { floor["include/nestlock/" $2] = $1; next }
    match($0, /^[ \t]*#[ \t]*include[ \t]*"nestlock\/[^"]+"/) {
      target = $0; sub(/^[^"]*"/, "include/", target); sub(/".*/, "", target)
      if (target in floor && FILENAME in floor && floor[target] > floor[FILENAME]) print FILENAME ":" FNR ":" $0
    }
  ' <(floors) $(sources include/nestlock)
}

# The rules' names, in the order in which they stand above.
all_rules() { sed -n 's/^rule_\([a-z]*\)() {.*/\1/p' "$driver/lint_rules.sh"; }
text_of_rule() { sed -n "s/^rule_$1() { # \"\(.*\)\"\$/\1/p" "$driver/lint_rules.sh"; }
