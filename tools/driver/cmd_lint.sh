help_lint() {
  cat <<'END'
checks format, warnings, clang-tidy and the rules of the house

usage: ./nest lint [STEP ...]

Steps, all by default:
  format    clang-format on every C++ file
  headers   every public header, by itself and all together, in each configuration: clang's warnings
            and its thread-safety analysis are errors
  tidy      clang-tidy on lib/ and on all headers
  clang     the library built by clang in two configurations: warnings as errors, thread-safety
            analysis, and each file including only what its target depends on (layering_check)
  tests     what clang says of the tests and what they share: warnings as errors
  rules     what no tool knows: where configuration may be read, which floor includes which, ...
END
}

# Every C++ file but what git ignores, also a new one that is not added yet.
our_sources() {
  if git rev-parse --git-dir >/dev/null 2>&1; then
    git ls-files --cached --others --exclude-standard -- '*.h' '*.cc' '*.c' | sort -u
  else
    find . -path ./.nest -prune -o -type f \( -name '*.h' -o -name '*.cc' -o -name '*.c' \) -print
  fi | while read -r file; do [ ! -f "$file" ] || printf '%s\0' "$file"; done
}

lint_format() {
  local format
  format=$(first_of clang-format-19 clang-format) || die "no clang-format; ./nest setup installs it"
  step "format" format_all "$format"
}
format_all() { our_sources | xargs -0 -r "$1" --dry-run -Werror; }

headers() { (cd include && find nestlock -name '*.h' | sort); }

# Without the deprecation warning: clang gives it for what libstdc++ 12 uses in its own stable_sort.
clang_options=(-std=c++20 -Iinclude -Itest/embed/bare -Wno-deprecated-declarations)

lint_headers() {
  local clang config
  clang=$(first_of clang++-19 clang++) || die "no clang++; ./nest setup installs it"
  # By itself, where a header leans on another's includes: nearly the same in all configurations. The
  # last has the most code. Of the public ones ./nest embed does it.
  config=$(configurations | tail -n 1)
  step "each header that is not public by itself, $config" check_each_header "$clang" "$config"
  for config in $(configurations); do
    step "all headers, $config" check_file "$clang" "$config" "$state/lint/all_headers.cc"
  done
}
check_file() {
  "$1" "${clang_options[@]}" -fsyntax-only -Wall -Wextra -Wthread-safety -Werror \
    "-DNESTLOCK_CONFIG=$2" "$3"
}
check_each_header() {
  # Included, not given as it is: a header would be its own main file. bare.h is asked for as a build for bare
  # metal asks for it, where nothing sleeps. Parts of hosted.h call what a later part defines.
  headers | grep -vE '^nestlock/(testing/)?[^/]*$' | xargs -P "$(nproc)" -I HEADER bash -c '
    config=-DNESTLOCK_CONFIG=$2 port=
    [ "$1" != nestlock/port/bare.h ] || config=${config/_rt/} port=-DNESTLOCK_PORT=bare
    echo "#include \"$1\"" | "${@:3}" $config $port -x c++ - 2>&1 ||
      echo "the header was $1"
  ' lint HEADER "$2" "$1" "${clang_options[@]}" -fsyntax-only -Wall -Wextra -Wthread-safety -Werror \
    -Wno-undefined-inline
}
# One file with all public headers; but bare.h, which excludes the hosted ones.
write_all_headers() {
  headers | grep -v '/port/bare\.h$' | sed 's/.*/#include "&"/' >"$state/lint/all_headers.cc"
}

lint_tidy() {
  local tidy config
  tidy=$(first_of clang-tidy-19 clang-tidy) || die "no clang-tidy; ./nest setup installs it"
  # The two configurations that have the most code between them; lib/ is nearly the same in both.
  for config in $(configurations | sed -n '1p;$p'); do
    step "tidy, $config" tidy_all "$tidy" "$config"
  done
}
# The library's files as two: most of what each takes is the headers, which they share. (lib/malloc/standard is
# of smp alone.) clang-tidy counts what it suppresses on stderr; a file that does not compile is on stdout too.
tidy_all() {
  local config=$2 part folders
  {
    echo "$state/lint/all_headers.cc"
    [ "$config" != "$(configurations | tail -n 1)" ] ||
      for part in port,c page,slab,malloc; do
        IFS=, read -ra folders <<<"$part"
        find "${folders[@]/#/lib/}" -maxdepth 1 -name '*.cc' | sort |
          sed 's|.*|#include "&"  // NOLINT(bugprone-suspicious-include)|' >"$state/lint/lib_$part.cc"
        echo "$state/lint/lib_$part.cc"
      done && find lib/c/bare -name '*.cc'
  } | tr '\n' '\0' |
    xargs -0 -P "$(nproc)" -I FILE bash -c '"${@:2}" 2>/dev/null || echo "the file was $1"' \
      lint FILE "$1" --quiet --config-file=.clang-tidy "--header-filter=include/nestlock/.*|lib/.*" FILE -- \
      "${clang_options[@]}" -I. "-DNESTLOCK_CONFIG=$config"
}

lint_clang() {
  local config
  . "$driver/cmd_setup.sh"
  prepare
  for config in up smp_rt_debug; do
    step "clang builds the library, $config" clang_builds "//:nestlock.$config" "//:c.$config"
  done
}
clang_builds() {
  # What clang says is the same without the optimiser, which takes half of the time.
  run_bazel build --config=clang --config=werror --per_file_copt=.*@-O0 --keep_going "$@" \
    >"$state/lint/clang.log" 2>&1 ||
    grep -vE '^(INFO|Loading|Analyzing|Target|  /|  exec|    |  \(cd )' "$state/lint/clang.log"
}

# In the configuration that the tests which hold all kernels are built in. No code is made of them: g++ does.
# What most of them begin with is read once.
lint_tests() {
  local clang config=smp_debug googletest=/usr/src/googletest/googletest options
  clang=$(first_of clang++-19 clang++) || die "no clang++; ./nest setup installs it"
  [ -d "$googletest" ] || die "no sources of GoogleTest in $googletest; ./nest setup installs them"
  # Tests take locks where the analysis cannot follow, and misuse them on purpose.
  options=(-I. -isystem "$googletest/include" -Wall -Wextra -Wshadow -Wnon-virtual-dtor
    -Wno-missing-field-initializers -Werror "-DNESTLOCK_CONFIG=$config")
  step "each test, $config" check_tests
}
check_tests() {
  local begin="$state/lint/precompiled.pch"
  "$clang" "${clang_options[@]}" "${options[@]}" -x c++-header -fpch-instantiate-templates \
    test/support/precompiled.h -o "$begin" || return
  # (Two are for a sanitizer alone, one for the lean form.)
  find test/*/*_test.cc test/support/*.cc -not -name 'tsan_interrupts*' -not -name '*_asan_*' -not -name 'lean_*' -print0 |
    xargs -0 -P "$(nproc)" -I FILE bash -c '"${@:2}" "$1" 2>&1 || echo "the file was $1"' lint FILE \
      "$clang" "${clang_options[@]}" "${options[@]}" -fsyntax-only -include-pch "$begin"
  "$clang" "${clang_options[@]}" "${options[@]}" -DNESTLOCK_LEAN=1 -DNESTLOCK_PAGE_SHIFT=8 -fsyntax-only \
    test/lean/lean_test.cc 2>&1 || echo "the file was test/lean/lean_test.cc"
}

lint_rules() {
  local rule
  . "$driver/lint_rules.sh"
  for rule in $(all_rules); do
    step "$(text_of_rule "$rule")" findings_of "rule_$rule"
  done
  step "each mutant changes what it is to change" findings_of mutants_that_do_not_apply
}
mutants_that_do_not_apply() { NEST_STATE=$state "$top/test/mutants/run.sh" -a | grep FAILED; }

# A rule's findings count, not the status of the grep that came last.
findings_of() { "$1" || true; }

lint_one() {
  title "$1"
  "lint_$1"
}

run_lint() {
  local steps=("$@") name
  [ $# -gt 0 ] || steps=(format headers tidy clang tests rules)
  for name in "${steps[@]}"; do
    case "$name" in
      format | headers | tidy | clang | tests | rules) ;;
      *) die "unknown step '$name'; see ./nest lint --help" ;;
    esac
  done
  cd "$top" && mkdir -p "$state/lint" || exit 2
  write_all_headers
  at_once lint_one "${steps[@]}"
  steps_end lint
}
