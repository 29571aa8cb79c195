help_mutants() {
  cat <<'END'
breaks copies of the library in known ways and expects the tests to see each

usage: ./nest mutants [-a] [-j JOBS] [NAME...]

  -a        looks only whether each still changes what it is to change; ./nest lint does
  -j JOBS   how many at a time; 2 by default
  NAME      as in test/mutants/table.sh, with * as in file names; all of them by default

A mutant is a line of that table: what is changed, in which file, and which test must fail then. The
tests are built by the plain compiler line ($CXX, or g++) and first run on the library as it is.
One line each: caught by which test, or SURVIVED, or that it no longer applies. The last line is
`N passed, N failed`.
END
}

run_mutants() {
  local cxx
  cxx=$(find_cxx) || exit 2
  CXX=$cxx NEST_STATE=$state "$top/test/mutants/run.sh" "$@"
}
