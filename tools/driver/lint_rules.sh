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

rule_choice() { # "NESTLOCK_CONFIG is read in config/ only"
  # shellcheck disable=SC2046  # file names without spaces, as everywhere below
  find_code '(^|[^A-Z_])NESTLOCK_(CONFIG|SMP|PREEMPT_RT|DEBUG)([^A-Z_]|$)' \
    $(sources include lib | grep -v '^include/nestlock/config/')
}

rule_conditions() { # "#if stands in the config and port floors and machine-bound harness parts only"
  # shellcheck disable=SC2046
  find_code '^[ \t]*#[ \t]*(if|ifdef|ifndef|elif)([^a-z]|$)' \
    $(sources include lib |
      grep -vxE 'include/nestlock/(config|port|testing/internal)/.*|lib/(port|c/bare)/.*')
}

rule_atomics() { # "std::atomic is the port's: K::Port::Atomic elsewhere"
  # A signal fence is no atomic: it orders this thread's own contexts, for the compiler.
  # shellcheck disable=SC2046
  find_code 'std::atomic(<|_ref|_flag|_bool|_thread_fence|[ \t]*$)' \
    $(sources include/nestlock | grep -vE '^include/nestlock/(port|testing)/')
}

rule_names() { # "configuration names stand in config.h, choice.h and configs.bzl only"
  local names
  names=$(configurations | grep _ | paste -sd '|' -)
  # shellcheck disable=SC2046
  find_code "(^|[^a-z_])($names)([^a-z_]|\$)" \
    $(sources include lib | grep -vxE 'include/nestlock/config/(config|choice)\.h')
  grep -nE "(^|[^a-z_])($names)([^a-z_]|\$)" configs/*.bzl \
    BUILD.bazel configs/BUILD.bazel include/nestlock/BUILD.bazel lib/BUILD.bazel lib/*/BUILD.bazel |
    grep -vE '^configs/configs\.bzl:|^[^:]*:[0-9]+: *#'
}

rule_lengths() { # "a lock's header has at most 150 lines, another at most 400"
  # shellcheck disable=SC2046
  awk '
    FNR == 1 { most = FILENAME ~ /^include\/nestlock\/lock\/[a-z_]*lock\.h$/ ? 150 : 400 }
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

# Prints "FLOOR HEADER" for each header, by its folder; those of include/nestlock/ itself by the lists
# of its BUILD.bazel. Floors are numbers, from the lowest.
floors() {
  find include/nestlock -name '*.h' | sed 's|^include/nestlock/||' | sort | awk '
    BEGIN {
      split("config port lock lockdep page slab malloc c testing", names, " ")
      for (n in names) number[names[n]] = n
      while ((getline line < "include/nestlock/BUILD.bazel") > 0) {
        if (match(line, /^[A-Z]+_HEADERS/)) floor = number[tolower(substr(line, 1, RLENGTH - 8))]
        if (match(line, /^    "[a-z_]+\.h"/)) listed[substr(line, 6, RLENGTH - 6)] = floor
        if (match(line, /\+ \["[a-z_]+\.h"\]/)) listed[substr(line, RSTART + 4, RLENGTH - 6)] = floor
      }
    }
    { folder = $0; if (!sub(/\/.*/, "", folder)) { print listed[$0] + 0, $0; next } print number[folder] + 0, $0 }
  '
}

rule_floors() { # "every header is on one floor, and includes no higher one"
  floors | awk '$1 == 0 { print "include/nestlock/" $2 ":1: is on no floor" }'
  # shellcheck disable=SC2046
  awk '
    NR == FNR { floor["include/nestlock/" $2] = $1; next }
    match($0, /^[ \t]*#[ \t]*include[ \t]*"nestlock\/[^"]+"/) {
      target = $0; sub(/^[^"]*"/, "include/", target); sub(/".*/, "", target)
      if (target in floor && FILENAME in floor && floor[target] > floor[FILENAME]) print FILENAME ":" FNR ":" $0
    }
  ' <(floors) $(sources include/nestlock)
}

# Every file that git does not ignore, also a new one that is not added yet.
our_files() {
  if git rev-parse --git-dir >/dev/null 2>&1; then
    git ls-files --cached --others --exclude-standard
  else
    find . -path ./.nest -prune -o -type f -print | sed 's|^\./||'
  fi | sort -u | while read -r file; do [ ! -f "$file" ] || printf '%s\n' "$file"; done
}

# Those of them that have comments, or are pages.
our_texts() { our_files | grep -E '\.(h|c|cc|md|sh|awk|bzl|bazel|cmake)$|^nest$|^\.ci/run$'; }

rule_tables() { # "a table has as many cells in each row as in its header"
  # shellcheck disable=SC2046
  awk -f "$driver/tables.awk" $(our_texts)
}

rule_references() { # "what a comment or a page names exists: files, tests, targets"
  # shellcheck disable=SC2046
  awk -f "$driver/references.awk" <(our_files) $(our_texts)
}

# The rules' names, in the order in which they stand above.
all_rules() { sed -n 's/^rule_\([a-z]*\)() {.*/\1/p' "$driver/lint_rules.sh"; }
text_of_rule() { sed -n "s/^rule_$1() { # \"\(.*\)\"\$/\1/p" "$driver/lint_rules.sh"; }
