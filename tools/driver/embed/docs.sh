# docs/embedding.md to the letter: its program, by each of its compiler, CMake, pkg-config and Meson lines

things_docs="g++=g++ cmake=cmake make=make ninja=ninja-build pkg-config=pkg-config meson=meson"

guide=docs/embedding.md

embed_docs() {
  local docs="$work/docs"
  mkdir -p "$docs/home" && cp -R "$work/nestlock" "$docs/nestlock" && docs_block cpp 1 >"$docs/main.cc" &&
    cp test/embed/plain.cc "$docs/locks.cc" || return
  step "the guide's compiler lines" docs_plain
  step "the guide's CMake, add_subdirectory" docs_cmake 'add_subdirectory' -DCMAKE_UNITY_BUILD=ON
  step "the guide's installation" docs_lines 'cmake -S nestlock' 'cmake --build build' 'cmake --install build'
  step "the guide's CMake, find_package" docs_cmake 'find_package' "-DCMAKE_PREFIX_PATH=$docs/home/nestlock"
  step "the guide's pkg-config" docs_pkgconfig
  step "the guide's Meson" docs_meson
}

# docs_block LANGUAGE NUMBER: the guide's block of this language, counted from 1.
docs_block() {
  awk -v language="\`\`\`$1" -v wanted="$2" '
    $0 == language && ++n == wanted { on = 1; next }
    on && /^```$/ { exit }
    on' "$guide"
}
# docs_lines START ...: runs the guide's indented lines that start so, in the order given. Each is there.
docs_lines() {
  local start line
  for start; do
    line=$(grep -F -m 1 -- "    $start" "$guide") || { say "the guide has no line '$start'"; return; }
    (cd "$work/docs" && HOME="$work/docs/home" quietly bash -c "$line") || return
  done
}
docs_prints() { prints "1 got, 1 refused, memory" "$1"; }

docs_plain() {
  docs_lines 'g++ -std=c++20 -Inestlock' 'g++ -std=c++20 -O2' &&
    prints up "$work/docs/locks" && docs_prints "$work/docs/main"
}
# docs_cmake WORD OPTION: the guide's target, with the block that has the word before it.
docs_cmake() {
  local folder="$work/docs/$1" block
  mkdir "$folder" && cp "$work/docs/main.cc" "$folder/" && ln -s ../nestlock "$folder/nestlock" || return
  {
    printf 'cmake_minimum_required(VERSION 3.20)\nproject(mine CXX)\n'
    for block in 1 2 3; do docs_block cmake "$block" | grep -- "^$1"; done
    docs_block cmake 1 | sed -n '/^add_executable/,$p'
  } >"$folder/CMakeLists.txt"
  quietly cmake -S "$folder" -B "$folder/build" "$2" && quietly cmake --build "$folder/build" -j "$(nproc)" &&
    docs_prints "$folder/build/main"
}
docs_pkgconfig() {
  rm -f -- "$work/docs/main" &&
    PKG_CONFIG_PATH="$work/docs/home/nestlock/lib/pkgconfig" docs_lines 'g++ -std=c++20 main.cc $(pkg-config' &&
    docs_prints "$work/docs/main"
}
docs_meson() {
  local folder="$work/docs/meson"
  mkdir -p "$folder/subprojects" && cp "$work/docs/main.cc" "$folder/" &&
    cp -R "$work/nestlock" "$folder/subprojects/nestlock" && docs_block meson 1 >"$folder/meson.build" &&
    quietly meson setup --unity=on "$folder/build" "$folder" && quietly ninja -C "$folder/build" &&
    docs_prints "$folder/build/main"
}
