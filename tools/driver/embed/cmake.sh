# CMake: add_subdirectory, FetchContent, find_package; static and shared; wrong options refused

things_cmake="cmake=cmake ninja=ninja-build g++=g++"

embed_cmake() {
  local source="$work/nestlock" shared="$work/shared"
  step "add_subdirectory, static" cmake_program by_subdirectory up \
    "-DNESTLOCK_SOURCE=$source" -DWITH=add_subdirectory
  step "only what is used is compiled" cmake_built "$work/by_subdirectory/build" nestlock-up.a
  # The layout travels: the program and the library agree on another size, or would not link.
  step "FetchContent, shared, hidden symbols, as one file" cmake_program by_fetch smp_debug \
    "-DNESTLOCK_SOURCE=$source" -DWITH=FetchContent -DBUILD_SHARED_LIBS=ON \
    -DCMAKE_CXX_VISIBILITY_PRESET=hidden -DCMAKE_VISIBILITY_INLINES_HIDDEN=ON -DNESTLOCK_MAX_CPUS=7 -DCMAKE_UNITY_BUILD=ON
  step "install, static" installed
  step "find_package, static" cmake_program by_package smp "-DCMAKE_PREFIX_PATH=$common/installed"
  step "find_package, malloc for the whole program" cmake_malloc by_package
  step "find_package, another of the same prefix" cmake_program by_package_rt up_rt \
    "-DCMAKE_PREFIX_PATH=$common/installed"
  step "install, shared" cmake_install "$shared" up -DBUILD_SHARED_LIBS=ON -DCMAKE_UNITY_BUILD=ON
  step "find_package, shared, hidden symbols" cmake_program by_shared_package up \
    "-DCMAKE_PREFIX_PATH=$shared" -DCMAKE_CXX_VISIBILITY_PRESET=hidden
  step "find_package names what is not there" refuses 'nestlock::up_debug is not in it' \
    cmake_configure by_component up_debug "-DCMAKE_PREFIX_PATH=$shared"
  step "two configurations in one target are refused" refuses 'NESTLOCK_CONFIG.*does not agree' \
    cmake_configure by_two up_rt "-DCMAKE_PREFIX_PATH=$common/installed" -DAND_ALSO=smp
  step "find_package refuses another minor version" refuses 'compatible with requested version "0\.1"' \
    cmake_configure by_version up "-DCMAKE_PREFIX_PATH=$shared" -DVERSION_WANTED=0.1
  local wrong
  for wrong in NESTLOCK_MAX_CPUS=0 NESTLOCK_MAX_CPUS=4097 NESTLOCK_PAGE_SHIFT=7 NESTLOCK_PAGE_SHIFT=17 \
    NESTLOCK_PAGE_SHIFT=12u NESTLOCK_PORT=moon NESTLOCK_PORT=bare NESTLOCK_CONFIGS=smp_fast \
    NESTLOCK_CONFIGS=; do
    step "$wrong is refused" refuses "Nestlock: .*${wrong%=*} .*'?${wrong#*=}" cmake_wrong "$wrong"
  done
  step "the bare port" cmake_bare
}

# cmake_configure NAME CONFIG OPTIONS: the foreign project in a folder of its own.
cmake_configure() {
  local name=$1 config=$2
  shift 2
  rm -rf -- "${work:?}/cmake" "${work:?}/$name" && project cmake && mv "$work/cmake" "$work/$name" &&
    cmake -S "$work/$name" -B "$work/$name/build" -G Ninja "-DCONFIG=$config" "$@"
}
cmake_program() {
  quietly cmake_configure "$@" && quietly cmake --build "$work/$1/build" &&
    runs_as "$2" "$work/$1/build/app" && prints "$2" "$work/$1/build/locks" &&
    c_program_runs "$work/$1/build/in_c"
}
# cmake_malloc NAME: the programs of that project that link malloc.
cmake_malloc() {
  local form build="$work/$1/build"
  for form in '' _static; do
    new_runs "$build/new$form" && new_in_library_runs "$build/new_in_library$form" || return
  done
  malloc_in_c_runs "$build/malloc"
}
# cmake_built FOLDER NAME: of our libraries this one was built, and no other.
cmake_built() {
  prints "lib$2" find "$1" -name 'libnestlock*' -type f -printf '%f\n'
}
cmake_wrong() {
  rm -rf -- "$work/cmake_wrong"
  cmake -S "$work/nestlock" -B "$work/cmake_wrong" -G Ninja "-D$1"
}
# The library for a machine of the embedder's: compiled, since nothing here could run it.
cmake_bare() {
  quietly cmake -S "$work/nestlock" -B "$work/cmake_bare" -G Ninja -DNESTLOCK_CONFIGS=up \
    -DNESTLOCK_PORT=bare "-DNESTLOCK_PORT_DIR=$work/nestlock/test/embed/bare" \
    -DCMAKE_UNITY_BUILD=ON "-DCMAKE_CXX_FLAGS=-ffreestanding -fno-exceptions -fno-rtti" &&
    quietly cmake --build "$work/cmake_bare"
}
