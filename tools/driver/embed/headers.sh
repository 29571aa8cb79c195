# every public header by itself, by three compilers, in C++20 and C++23, with their strictest warnings

things_headers="g++=g++ clang++-14=clang-14 clang++-19=clang-19"

# What is not called is not compiled, so what calls it all comes after the headers that stand together: a program of
# locks, and the allocators as the library has them.
#
# What a header lacks depends on the standard and the configuration, what a compiler warns of on the
# compiler as well. So: all headers in one file in each of the twelve combinations, and each header by
# itself once, in the configuration that has the most code: what it lacks then, every compiler lacks, for they have
# one standard library. NEST_EMBED_ALL=1 takes all twelve for both, at six times the price.
embed_headers() {
  local compiler standard config
  { public_headers && printf "%s\n" test/embed/each_lock.cc lib/page/page.cc lib/slab/slab.cc; } | sed 's/.*/#include "&"/' >"$work/all_headers.cc"
  for compiler in g++ clang++-14 clang++-19; do
    for standard in c++20 c++2b; do
      for config in up smp_rt_debug; do
        step "all headers: $compiler, $standard, $config" headers_together
        case "${NEST_EMBED_ALL:+all} $compiler $standard $config" in
          all* | *" g++ c++2b smp_rt_debug") step "each header: $compiler, $standard, $config" headers_apart ;;
        esac
      done
    done
  done
}
public_headers() { (cd include && printf '%s\n' nestlock/*.h nestlock/testing/*.h); }

strict_options() {
  printf '%s\n' "-std=$standard" "-DNESTLOCK_CONFIG=$config" -I. -Iinclude -fsyntax-only \
    -Wall -Wextra -Wpedantic -Wconversion -Wshadow -Werror
  # libstdc++ 12 uses in its own stable_sort what it calls deprecated, and clang says so.
  [ "$compiler" = g++ ] || printf '%s\n' -Wthread-safety -Wno-deprecated-declarations
}
headers_together() {
  local options
  mapfile -t options < <(strict_options)
  "$compiler" "${options[@]}" "$work/all_headers.cc"
}
headers_apart() {
  local options
  mapfile -t options < <(strict_options)
  public_headers | xargs -P "$(nproc)" -I HEADER bash -c \
    'echo "#include \"$1\"" | "${@:2}" -x c++ - 2>&1 || echo "the header was $1"' headers HEADER \
    "$compiler" "${options[@]}"
}
