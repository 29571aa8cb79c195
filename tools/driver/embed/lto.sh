# link-time optimisation, by g++ and clang, with kernels of two configurations side by side

things_lto="g++=g++ clang++-19=clang-19 ld.lld-19=lld-19"

embed_lto() {
  step "lto, g++" lto_program g++
  step "lto, clang" lto_program clang++-19 --ld-path=ld.lld-19
}
lto_program() {
  local folder="$work/lto_$1"
  # One definition rule violations, which link-time optimisation can see, are errors.
  local cxx=("$@" -std=c++20 -O2 -flto=auto -Wall -Wextra -Werror -Iinclude -DNESTLOCK_CONFIG=up)
  # clang names the linker, which a line that only compiles does not use.
  [ "$1" = g++ ] || cxx+=(-Wno-unused-command-line-argument)
  objects "$folder" "${cxx[@]}" &&
    "${cxx[@]}" test/embed/lto/two_kernels.cc "$folder"/*.o -pthread -o "$folder/app" &&
    prints 'up: 3 taken, 1 refused; smp_debug: 3 taken, 1 refused; 112 bytes' "$folder/app"
}
