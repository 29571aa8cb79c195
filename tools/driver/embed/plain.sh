# a compiler line and -Iinclude, in each configuration; wrong choices and mixtures are refused

embed_plain() {
  local cxx config
  cxx=$(find_cxx) || exit 2
  # $CXX may hold options of its own.
  read -r -a cxx <<<"$cxx"
  cxx+=(-std=c++20 -Wall -Wextra -Werror -Iinclude)
  for config in $(configurations); do
    step "plain, $config" plain_program "$config"
  done
  step "plain, by the three flags" plain_flags
  step "no choice is refused" \
    refuses 'choose a configuration' "${cxx[@]}" -fsyntax-only test/embed/plain.cc
  step "an unknown choice is refused" \
    refuses 'no_such' "${cxx[@]}" -fsyntax-only -DNESTLOCK_CONFIG=no_such test/embed/plain.cc
  step "plain, the whole library" plain_whole
  step "two configurations do not link" plain_mixed up_ -DNESTLOCK_CONFIG=smp
  step "two layouts do not link" \
    plain_mixed 'up_.*_max_cpus_64' -DNESTLOCK_CONFIG=up -DNESTLOCK_MAX_CPUS=63
  step "two page sizes do not link" \
    plain_mixed 'up_.*_page_shift_12' -DNESTLOCK_CONFIG=up -DNESTLOCK_PAGE_SHIFT=13
  step "the lean form and another do not link" \
    plain_mixed 'up_.*_page_shift_12' -DNESTLOCK_CONFIG=up -DNESTLOCK_LEAN=1
  step "two versions do not link" plain_other_version
}
plain_program() {
  "${cxx[@]}" "-DNESTLOCK_CONFIG=$1" test/embed/plain.cc -o "$work/plain" &&
    prints "$1" "$work/plain"
}
plain_flags() {
  "${cxx[@]}" -DNESTLOCK_SMP=0 -DNESTLOCK_PREEMPT_RT=1 test/embed/plain.cc -o "$work/plain" &&
    prints up_rt "$work/plain"
}

plain_whole() {
  mkdir "$work/plain_objects" && printf '%s\0' lib/*/*.cc | xargs -0 -P "$(nproc)" -I FILE \
    bash -c 'name=${2##*/}; "${@:3}" -c "$2" -o "$1/${name%.cc}.o"' objects "$work/plain_objects" FILE \
    "${cxx[@]}" -DNESTLOCK_CONFIG=up || return
  "${cxx[@]}" -DNESTLOCK_CONFIG=up -c test/embed/app/main.cc -o "$work/app.o" &&
    "${cxx[@]}" "$work/app.o" "$work/plain_objects"/*.o -pthread -o "$work/app" &&
    runs_as up "$work/app"
}
# plain_mixed WORD OPTIONS: the program above, with the library's stamp as built with the options. The
# error names what the program was built with.
plain_mixed() {
  local word=$1 objects=("$work/plain_objects"/*.o)
  shift
  "${cxx[@]}" "$@" -c lib/port/config_stamp.cc -o "$work/stamp.o" || return
  refuses "undefined reference to .nestlock_built_as_$word" \
    "${cxx[@]}" "$work/app.o" "${objects[@]/*config_stamp.o/$work/stamp.o}" -pthread -o "$work/app"
}
plain_other_version() {
  cp -R include "$work/other" &&
    sed -i 's/^\(#define NESTLOCK_VERSION_PATCH\) .*/\1 999/' "$work/other/nestlock/version.h" || return
  local cxx=("${cxx[@]/#-Iinclude/-I$work/other}")
  plain_mixed 'up_v[0-9]+_[0-9]+_[0-9]+_' -DNESTLOCK_CONFIG=up
}
