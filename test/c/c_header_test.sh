#!/usr/bin/env bash
# The C header as strangers' compilers and linkers see it, with those compilers that are here:
#
#  - nestlock/c.h compiles in C99 to C23 and in C++, without a warning, in each configuration;
#  - each of its parts compiles alone;
#  - the programs of docs/c.md compile, and the first prints what the page shows;
#  - a missing or unknown configuration is refused with a message that says so;
#  - a C object does not link with the library of another configuration, page size or number of CPUs, and the
#    linker says which;
#  - the locks' bodies compile freestanding on a bare port and ask no library for anything.
#
# Run in the repository's top folder, or by Bazel.
set -u -o pipefail

failures=0 checks=0
work=$(mktemp -d) || exit 2
trap 'rm -rf -- "$work"' EXIT

strict=(-Iinclude -Wall -Wextra -Wpedantic -Wconversion -Wshadow -Werror)
configs="up up_debug up_rt up_rt_debug smp smp_debug smp_rt smp_rt_debug"

fail() {
  echo "FAILED: $*"
  sed -n '1,15s/^/    /p' "$work/log"
  failures=$((failures + 1))
}
passes() { # WHAT COMMAND...
  local what=$1
  shift
  checks=$((checks + 1))
  "$@" >"$work/log" 2>&1 || fail "$what: $*"
}
refuses() { # WHAT REGEX COMMAND...
  local what=$1 regex=$2
  shift 2
  checks=$((checks + 1))
  if "$@" >"$work/log" 2>&1; then
    fail "$what: was not refused: $*"
  elif ! grep -qE -- "$regex" "$work/log"; then
    fail "$what: is refused, but not by '$regex'"
  fi
}
here() { command -v "$1" >/dev/null; }

# ---- the header, in every language that it is for ----

cat >"$work/use.c" <<'END'
#include "nestlock/c.h"

struct cache {
  nestlock_local_trylock_t lock;
  unsigned hits;
} NESTLOCK_PER_CPU;
extern struct cache caches[NESTLOCK_CPUS];
NESTLOCK_DEFINE_PER_CPU(struct cache, caches, {NESTLOCK_LOCAL_TRYLOCK_INIT, 1});
extern nestlock_spin_trylock_t lock;
nestlock_spin_trylock_t lock = NESTLOCK_SPIN_TRYLOCK_INIT;
extern bool hit(void);
bool hit(void) {
  struct cache *c = nestlock_trylocal_trylock(caches, lock);
  if (!c || !nestlock_tryspin_trylock(&lock)) return false;
  ++c->hits;
  nestlock_tryspin_unlock(&lock);
  nestlock_trylocal_unlock(&c->lock);
  return nestlock_kfree(nestlock_kmalloc(8, NESTLOCK_GFP_ATOMIC | NESTLOCK_GFP_ZERO));
}
END
cat >"$work/use.cc" <<'END'
#include "nestlock/c.h"

nestlock_spin_trylock_t lock = NESTLOCK_SPIN_TRYLOCK_INIT;
bool (*in_nmi)() = nestlock_in_nmi;
void use() {
  nestlock_tryspin_lock(&lock);
  nestlock_tryspin_unlock(&lock);
}
END
compilers=0
for cc in gcc clang-14 clang-19 clang; do
  here "$cc" || continue
  compilers=$((compilers + 1))
  for std in c99 c11 c17 c2x; do
    passes "C" "$cc" "-std=$std" "${strict[@]}" -DNESTLOCK_CONFIG=smp -fsyntax-only "$work/use.c"
  done
  for config in $configs; do
    passes "C99" "$cc" -std=c99 "${strict[@]}" "-DNESTLOCK_CONFIG=$config" -fsyntax-only "$work/use.c"
  done
done
[ "$compilers" -gt 0 ] || { echo "FAILED: no C compiler was found"; exit 1; }
for cxx in g++ clang++-14 clang++-19; do
  here "$cxx" || continue
  for config in up smp_rt_debug; do
    passes "C++" "$cxx" -std=c++20 "${strict[@]}" "-DNESTLOCK_CONFIG=$config" -fsyntax-only "$work/use.cc"
  done
done

cc=$(command -v gcc || command -v clang-19 || command -v clang-14 || command -v clang)
cxx=$(command -v g++ || command -v clang++-19 || command -v clang++-14)

for part in include/nestlock/c/*.h include/nestlock/config/{choice,c_language}.h; do
  printf '#include "%s"\nextern int a_file_is_not_empty;\n' "${part#include/}" >"$work/part.c"
  passes "$part alone" "$cc" -std=c99 "${strict[@]}" -DNESTLOCK_CONFIG=up_debug -fsyntax-only "$work/part.c"
done

# ---- wrong choices ----

c99=("$cc" -std=c99 -Iinclude -fsyntax-only "$work/use.c")
refuses "no configuration" "choose a configuration" "${c99[@]}"
refuses "an unknown configuration" "up_fast is no configuration" "${c99[@]}" -DNESTLOCK_CONFIG=up_fast
refuses "half of the flags" "choose a configuration" "${c99[@]}" -DNESTLOCK_SMP=1
passes "the flags" "${c99[@]}" -DNESTLOCK_SMP=1 -DNESTLOCK_PREEMPT_RT=0

# ---- two configurations ----

cat >"$work/main.c" <<'END'
#include "nestlock/c.h"

static nestlock_spin_trylock_t lock = NESTLOCK_SPIN_TRYLOCK_INIT;
int main(void) { return !nestlock_tryspin_trylock(&lock); }
END
for config in up smp; do
  passes "C99" "$cc" -std=c99 -Iinclude "-DNESTLOCK_CONFIG=$config" -c "$work/main.c" -o "$work/$config.o"
done
passes "the bodies" "$cxx" -std=c++20 -Iinclude -DNESTLOCK_CONFIG=up -c lib/c/c_locks.cc -o "$work/locks.o"
passes "one configuration links" "$cxx" "$work/up.o" "$work/locks.o" -o "$work/one"
passes "and runs" "$work/one"
refuses "two configurations" "nestlock_smp_tryspin_trylock" "$cxx" "$work/smp.o" "$work/locks.o" -o "$work/two"

# ---- another page size, another number of CPUs ----

# links_with OPTIONS: a program that uses pages and per-CPU data, built with the options; the bodies were built
# without. (They lack the library themselves, so what is looked for is a name that the program lacks.)
cat >"$work/layout.c" <<'END'
#include "nestlock/c.h"

struct cache {
  nestlock_local_trylock_t lock;
} NESTLOCK_PER_CPU;
NESTLOCK_DEFINE_PER_CPU(static struct cache, caches, {NESTLOCK_LOCAL_TRYLOCK_INIT});
int main(void) {
  nestlock_page_t *page = nestlock_alloc_pages(NESTLOCK_GFP_KERNEL, 0);
  return nestlock_trylocal_trylock(caches, lock) == NULL || page == NULL;
}
END
for body in c_locks c_local_locks c_pages; do
  passes "the bodies" "$cxx" -std=c++20 -Iinclude -DNESTLOCK_CONFIG=smp -c "lib/c/$body.cc" -o "$work/layout_$body.o"
done
links_with() {
  "$cc" -std=c99 -Iinclude -DNESTLOCK_CONFIG=smp "$@" -c "$work/layout.c" -o "$work/layout.o" &&
    "$cxx" "$work/layout.o" "$work"/layout_c_*.o -o "$work/layout"
}
refuses "another page size" "nestlock_smp_page_shift_13_alloc_pages" links_with -DNESTLOCK_PAGE_SHIFT=13
refuses "another number of CPUs" "nestlock_smp_max_cpus_63_trylocal_trylock" links_with -DNESTLOCK_MAX_CPUS=63

# ---- docs/c.md ----

# Each of the page's C blocks becomes a file: 1.c, 2.c, ...
awk -v out="$work" '
  /^```c$/ { n++; inside = 1; next }
  /^```$/ { inside = 0 }
  inside { print >(out "/" n ".c") }
' docs/c.md
for block in "$work"/[0-9].c; do
  for config in up smp_rt_debug; do
    passes "docs/c.md" "$cc" -std=c99 "${strict[@]}" "-DNESTLOCK_CONFIG=$config" -fsyntax-only "$block"
  done
done
first_program() {
  local shown
  shown=$(sed -n 's/^    \([0-9]* counted, .*\)/\1/p' docs/c.md)
  "$cc" -std=c99 -Iinclude -DNESTLOCK_CONFIG=up -c "$work/1.c" -o "$work/1.o" &&
    "$cxx" "$work/1.o" "$work/locks.o" -o "$work/first" &&
    [ -n "$shown" ] && "$work/first" && [ "$("$work/first")" = "$shown" ]
}
passes "the first program of docs/c.md" first_program

# ---- a bare port ----

bare=("$cxx" -std=c++20 -Os -Iinclude -Itest/embed/bare -ffreestanding -fno-exceptions -fno-rtti
  -DNESTLOCK_PORT=bare -DNESTLOCK_MAX_CPUS=2)
asks_for_nothing() { # OBJECT: it has no undefined symbol
  local wanted
  wanted=$(nm -u "$1")
  [ -z "$wanted" ] || { echo "undefined: $wanted"; return 1; }
}
for config in up smp_debug; do
  for body in c_locks c_local_locks; do
    passes "bare" "${bare[@]}" "-DNESTLOCK_CONFIG=$config" -Wall -Wextra -Werror -c "lib/c/$body.cc" -o "$work/bare.o"
    passes "bare, $config, $body" asks_for_nothing "$work/bare.o"
  done
done
refuses "another number of CPUs than the port's" "NESTLOCK_CPUS is not the port's number of CPUs" \
  "${bare[@]}" -UNESTLOCK_MAX_CPUS -DNESTLOCK_CONFIG=smp -fsyntax-only lib/c/c_locks.cc
refuses "the irq and bh forms on a port without them" "leave this file out" \
  "${bare[@]}" -DNESTLOCK_CONFIG=up -fsyntax-only lib/c/c_irq_bh.cc

# The allocators, on memory of the program's own; on this machine, whose C library prints nothing here.
cat >"$work/memory.c" <<'END'
#include "nestlock/c.h"

static unsigned char memory[1024 * 1024];
int main(void) {
  void *p;
  if (nestlock_alloc_pages(NESTLOCK_GFP_NOWAIT, 0) != NULL) return 1; /* none was given yet */
  if (!nestlock_memory_init(memory, sizeof memory)) return 2;
  if (nestlock_memory_init(memory, sizeof memory)) return 3;
  p = nestlock_kmalloc_nolock(100, NESTLOCK_GFP_NONE, NESTLOCK_ANY_NODE);
  if ((unsigned char *)p < memory || (unsigned char *)p >= memory + sizeof memory) return 4;
  return nestlock_interrupted_floor() != NESTLOCK_FLOOR_NONE || !nestlock_kfree(p) ? 5 : 0;
}
END
bare_program() {
  local body
  for body in lib/c/{c_slab,c_pages,bare/memory}.cc lib/{page/page,slab/slab,port/config_stamp}.cc; do
    "${bare[@]}" -DNESTLOCK_CONFIG=up -c "$body" -o "$work/body.$(basename "$body").o" || return
  done
  "$cc" -std=c99 -Iinclude -DNESTLOCK_CONFIG=up -c "$work/memory.c" -o "$work/memory.o" &&
    "$cxx" "$work/memory.o" "$work"/body.*.o -o "$work/bare" || return
  "$work/bare" || { echo "ended with $?"; return 1; }
}
passes "a bare program that allocates" bare_program

echo "$checks checks, $failures failed"
[ "$failures" = 0 ]
