help_docs() {
  cat <<'END'
builds all pages and the reference as one site, and checks them

usage: ./nest docs

The site is .nest/docs/html/index.html: the Markdown pages, and the reference from the headers. Checked
are, each an error: code blocks that do not compile by themselves, or do not print what is shown (but of
pages that a test of test/docs has compiled and run); links that lead nowhere; and public names
without a comment: everything in namespace nestlock that is not in a namespace `internal`, but for
enumerators and macros. The C face is described by families, at the top of each of its headers.
What else tools/docs/Doxyfile leaves out, and why, stands there.

Doxygen is installed if it is missing (Debian, as ./nest setup does it).
END
}

docs_pages() {
  find . -name '*.md' -not -path './.nest/*' -not -path './.git/*' -not -path './bazel-*' |
    sed 's|^\./||' | LC_ALL=C sort
}

docs_blocks() {
  local page
  . tools/docs/blocks.sh
  choose_compiler || die "no C++ compiler: install g++ or clang++ (C++20), or set CXX"
  for page in $(docs_pages); do
    ! grep -qwF "$page" test/docs/*.sh || continue
    compile_blocks "$page" "$work/compiled/$page" smp_debug
    run_blocks "$page" "$work/run/$page"
  done
}

docs_links() {
  local page
  for page in $(docs_pages); do
    head -n 1 "$page" | grep -q '^# ' || say "$page:1: a page begins with its title"
  done
  # shellcheck disable=SC2046  # file names without spaces
  LC_ALL=C awk -f tools/docs/links.awk $(docs_pages)
}

docs_reference() {
  rm -rf -- "$state/docs" && mkdir -p "$state/docs" || return
  # shellcheck disable=SC2046
  { cat tools/docs/Doxyfile && echo INPUT = include/nestlock $(docs_pages); } | doxygen - ||
    say "doxygen failed"
  sed "s|^$top/||" "$state/docs/warnings" |
    grep -vE '(^include/nestlock/c(/|\.h:)|\((macro definition|enumvalue)\) of) ?.* is not documented'
  dead_links "$state/docs/html"
}

# Links of the site's pages to what is not in it.
dead_links() {
  local page target
  grep -o 'href="[^"#]*' "$1"/index.html "$1"/page_*_md.html | sort -u |
    while IFS=: read -r page target; do
      target=${target#href=\"}
      [[ -z "$target" || "$target" == *://* ]] || [ -e "$1/$target" ] || say "${page##*/}: the link $target leads nowhere"
    done
}

run_docs() {
  local work
  [ $# = 0 ] || die "docs takes no arguments; see ./nest docs --help"
  if ! have doxygen; then
    . "$driver/cmd_setup.sh"
    is_debian || die "no doxygen here: install it, then try again"
    mkdir -p "$state" || die "cannot write to $state"
    needed_packages=doxygen
    install_packages
  fi
  cd "$top" || exit 2
  work=$(mktemp -d) || exit 2
  # shellcheck disable=SC2064  # now: it is local
  trap "rm -rf -- '$work'" EXIT
  step "each code block compiles, and prints what is shown" docs_blocks
  step "each link leads somewhere" docs_links
  step "the site is built, and each public name has a comment" docs_reference
  steps_end docs && say "the site is .nest/docs/html/index.html"
}
