# an installed library found by pkg-config, with Make

things_pkgconfig="cmake=cmake ninja=ninja-build g++=g++ make=make pkg-config=pkg-config"

embed_pkgconfig() {
  step "installed" installed
  step "pkg-config, up_rt" pkgconfig_program up_rt
  step "pkg-config, smp" pkgconfig_program smp
  step "pkg-config, two configurations are refused" refuses 'two configurations on one compiler line' \
    pkgconfig_compiles up_rt smp
  local form
  for form in '' -static-libstdc++ -static; do
    step "pkg-config, malloc in a C++ program${form:+, $form}" malloc_in_cxx $form
  done
  for form in '' -static; do step "pkg-config, malloc in a C program${form:+, $form}" malloc_in_c $form; done
  step "pkg-config says the version" \
    prints "$(sed -n 's/^#define NESTLOCK_VERSION_[A-Z]* //p' include/nestlock/version.h | sed '/[^0-9]/d' |
      paste -sd .)" pkgconfig --modversion nestlock-smp
}
pkgconfig_compiles() { # CONFIG...
  local flags
  read -ra flags < <(pkgconfig --cflags "${@/#/nestlock-}")
  g++ -std=c++20 -fsyntax-only "${flags[@]}" test/embed/plain.cc
}
# malloc_in_cxx [-static...]: linked into the C++ programs, with the C++ library in this form.
malloc_in_cxx() {
  local program flags libs
  read -ra flags < <(pkgconfig --cflags nestlock-malloc)
  read -ra libs < <(pkgconfig --static --libs nestlock-malloc)
  for program in new new_in_library; do
    quietly g++ -std=c++20 "$@" "${flags[@]}" -o "$work/$program" "test/embed/$program.cc" "${libs[@]}" &&
      "${program}_runs" "$work/$program" || return # (the linker warns of dlopen())
  done
}
# malloc_in_c [-static]: linked into the C program, by the C compiler. In a static one the C library allocates before
# it knows the program's own headers.
malloc_in_c() {
  local flags libs
  read -ra flags < <(pkgconfig --cflags nestlock-malloc)
  read -ra libs < <(pkgconfig --static --libs nestlock-malloc)
  quietly gcc "$@" "${flags[@]}" -o "$work/malloc" test/embed/malloc.c "${libs[@]}" && malloc_in_c_runs "$work/malloc"
}
pkgconfig() { PKG_CONFIG_PATH="$common/installed/lib/pkgconfig" pkg-config "$@"; }
pkgconfig_program() {
  rm -rf -- "$work/pkgconfig" && project pkgconfig &&
    PKG_CONFIG_PATH="$common/installed/lib/pkgconfig" quietly make -C "$work/pkgconfig" "CONFIG=$1" &&
    runs_as "$1" "$work/pkgconfig/app" && prints "$1" "$work/pkgconfig/locks" &&
    c_program_runs "$work/pkgconfig/in_c"
}
