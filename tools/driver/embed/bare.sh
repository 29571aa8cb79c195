# freestanding, with a port of the embedder's own: no exceptions, no RTTI, no library

embed_bare() {
  local cxx config
  cxx=$(find_cxx) || exit 2
  read -r -a cxx <<<"$cxx"
  cxx+=(-std=c++20 -O1 -Wall -Wextra -Werror -ffreestanding -fno-exceptions -fno-rtti -I. -Iinclude -Itest/embed/bare)
  for config in $(configurations | grep -v rt); do
    step "bare, $config" bare_object "$config"
    step "bare, $config, the whole library" bare_library "$config"
  done
  step "bare, a configuration that sleeps is refused" bare_refused 'needs a port whose locks can sleep' bare up_rt
  step "an unknown port is refused" bare_refused 'bear is no port: hosted bare custom' bear up
}
# No exceptions, no RTTI, and nothing asked of any library.
bare_object() {
  "${cxx[@]}" -DNESTLOCK_PORT=bare "-DNESTLOCK_CONFIG=$1" -c test/embed/bare/bare.cc -o "$work/bare.o" &&
    nm -u "$work/bare.o"
}
# The allocators and the C face, for as many CPUs as the port has (two where there are several), each template
# instantiated whole; the port has the eight functions and no more.
bare_library() {
  local file
  for file in lib/{page/page,slab/slab,port/config_stamp,c/c_{locks,local_locks,pages,slab},c/bare/memory}.cc; do
    "${cxx[@]}" -O0 -DNESTLOCK_PORT=bare "-DNESTLOCK_CONFIG=$1" -DNESTLOCK_MAX_CPUS=2 -fsyntax-only "$file" || return
  done
}
# bare_refused REGEX PORT CONFIG: by one error, and not by what follows from it.
bare_refused() {
  local command=("${cxx[@]}" "-DNESTLOCK_PORT=$2" "-DNESTLOCK_CONFIG=$3" -fsyntax-only test/embed/bare/bare.cc) errors
  refuses "$1" "${command[@]}"
  errors=$("${command[@]}" 2>&1 | grep -c 'error: ')
  [ "$errors" = 1 ] || say "$errors errors, not one"
}
