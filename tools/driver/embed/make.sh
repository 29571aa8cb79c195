# a Makefile that compiles the library's sources with the program

things_make="make=make g++=g++ ar=binutils"

embed_make() {
  step "make" make_program
}
make_program() {
  project make && quietly make -C "$work/make" -j "$(nproc)" "NESTLOCK=$work/nestlock" CONFIG=up_debug &&
    runs_as up_debug "$work/make/app" && prints up_debug "$work/make/locks"
}
