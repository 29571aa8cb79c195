# clang with its own standard library, libc++

things_libcxx="clang++-19=clang-19 /usr/lib/llvm-19/include/c++/v1=libc++-19-dev
  /usr/lib/llvm-19/lib/libc++abi.a=libc++abi-19-dev"

embed_libcxx() {
  step "libc++" libcxx_program
}
libcxx_program() {
  built_and_run up_debug "$work/libcxx" clang++-19 -std=c++20 -stdlib=libc++ -Wall -Wextra -Werror \
    -Iinclude -DNESTLOCK_CONFIG=up_debug || return
  ! readelf -d "$work/libcxx/app" | grep 'libstdc++'
}
