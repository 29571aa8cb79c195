# freestanding, with a port of the embedder's own: no exceptions, no RTTI, no library

embed_bare() {
  local cxx config
  cxx=$(find_cxx) || exit 2
  read -r -a cxx <<<"$cxx"
  for config in $(configurations | grep -v rt); do
    step "bare, $config" bare_object "$config"
  done
}
# No exceptions, no RTTI, and nothing asked of any library.
bare_object() {
  "${cxx[@]}" -std=c++20 -O1 -Wall -Wextra -Werror -ffreestanding -fno-exceptions -fno-rtti \
    -Iinclude -Itest/embed/bare -DNESTLOCK_PORT=bare "-DNESTLOCK_CONFIG=$1" \
    -c test/embed/bare/bare.cc -o "$work/bare.o" && nm -u "$work/bare.o"
}
