# a Meson subproject, static and shared; wrong options refused

things_meson="meson=meson ninja=ninja-build pkg-config=pkg-config g++=g++"

embed_meson() {
  step "meson, static" meson_program static up --default-library=static -Dnestlock:max_cpus=7
  step "meson, only what is used is compiled" meson_built
  step "meson, shared" meson_program shared smp_rt --default-library=shared --unity=on
  step "meson, max_cpus=0 is refused" refuses 'max_cpus.*0' meson_setup wrong -Dnestlock:max_cpus=0
  step "meson, page_shift=17 is refused" refuses 'page_shift.*17' meson_setup wrong -Dnestlock:page_shift=17
}
# meson_setup NAME OPTIONS: the foreign project, with a copy of Nestlock among its subprojects.
meson_setup() {
  local folder="$work/meson_$1"
  shift
  rm -rf -- "${work:?}/meson" "$folder" && project meson && mv "$work/meson" "$folder" &&
    mkdir "$folder/subprojects" && cp -R "$work/nestlock" "$folder/subprojects/nestlock" &&
    PKG_CONFIG_LIBDIR="$folder" meson setup "$folder/build" "$folder" "$@"
}
meson_program() {
  local folder="$work/meson_$1" name=$1 config=$2
  shift 2
  quietly meson_setup "$name" "-Dconfig=$config" "$@" && quietly ninja -C "$folder/build" &&
    runs_as "$config" "$folder/build/app" && prints "$config" "$folder/build/locks" &&
    c_program_runs "$folder/build/in_c"
}
meson_built() {
  prints libnestlock-up.a find "$work/meson_static/build" -name 'libnestlock*.a' -type f -printf '%f\n'
}
