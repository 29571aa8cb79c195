# an installed library found by pkg-config, with Make

things_pkgconfig="cmake=cmake ninja=ninja-build g++=g++ make=make pkg-config=pkg-config"

embed_pkgconfig() {
  step "installed" installed
  step "pkg-config, up_rt" pkgconfig_program up_rt
  step "pkg-config, smp" pkgconfig_program smp
  step "pkg-config, two configurations are refused" refuses 'two configurations on one compiler line' \
    pkgconfig_compiles up_rt smp
  step "pkg-config, malloc in a static program" malloc_in_a_static_program
  step "pkg-config says the version" \
    prints "$(sed -n 's/^#define NESTLOCK_VERSION_[A-Z]* //p' include/nestlock/version.h | sed '/[^0-9]/d' |
      paste -sd .)" pkgconfig --modversion nestlock-smp
}
pkgconfig_compiles() { # CONFIG...
  local flags
  read -ra flags < <(pkgconfig --cflags "${@/#/nestlock-}")
  g++ -std=c++20 -fsyntax-only "${flags[@]}" test/embed/plain.cc
}
# The C library allocates there before it knows the program's own headers.
malloc_in_a_static_program() {
  local libs
  read -ra libs < <(pkgconfig --static --libs nestlock-malloc)
  printf '#include <stdlib.h>\nint main(void) { free(malloc(1)); return 0; }\n' >"$work/static.c" &&
    quietly g++ -x c -static -o "$work/static" "$work/static.c" -x none "${libs[@]}" && # the linker warns of dlopen()
    "$work/static"
}
pkgconfig() { PKG_CONFIG_PATH="$common/installed/lib/pkgconfig" pkg-config "$@"; }
pkgconfig_program() {
  rm -rf -- "$work/pkgconfig" && project pkgconfig &&
    PKG_CONFIG_PATH="$common/installed/lib/pkgconfig" quietly make -C "$work/pkgconfig" "CONFIG=$1" &&
    runs_as "$1" "$work/pkgconfig/app" && prints "$1" "$work/pkgconfig/locks" &&
    c_program_runs "$work/pkgconfig/in_c"
}
