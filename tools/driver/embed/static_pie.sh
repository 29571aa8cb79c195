# one static, position-independent program

embed_static_pie() {
  local cxx
  cxx=$(find_cxx) || exit 2
  read -r -a cxx <<<"$cxx"
  cxx+=(-std=c++20 -Wall -Wextra -Werror -Iinclude -DNESTLOCK_CONFIG=smp)
  step "static-pie" static_pie_program
}
static_pie_program() {
  objects "$work/static_pie" "${cxx[@]}" -fpie &&
    "${cxx[@]}" -fpie -static-pie test/embed/app/main.cc "$work/static_pie"/*.o -pthread \
      -o "$work/static_pie/app" || return
  readelf -h "$work/static_pie/app" | grep -q 'Type: *DYN' || say "it is not position-independent"
  ! readelf -d "$work/static_pie/app" | grep NEEDED
  runs_as smp "$work/static_pie/app"
}
