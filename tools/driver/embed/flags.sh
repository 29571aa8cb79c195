# the library and a program without exceptions and RTTI, with hidden symbols

embed_flags() {
  local cxx
  cxx=$(find_cxx) || exit 2
  read -r -a cxx <<<"$cxx"
  cxx+=(-std=c++20 -Wall -Wextra -Werror -Iinclude -DNESTLOCK_CONFIG=smp_debug
    -fno-exceptions -fno-rtti -fvisibility=hidden -fvisibility-inlines-hidden)
  step "flags" built_and_run smp_debug "$work/flags" "${cxx[@]}"
}

# built_and_run CONFIG FOLDER COMPILER OPTIONS...: library and program by one compiler line, also linked.
built_and_run() {
  local config=$1 folder=$2
  shift 2
  objects "$folder" "$@" &&
    "$@" test/embed/app/main.cc "$folder"/*.o -pthread -o "$folder/app" && runs_as "$config" "$folder/app"
}
