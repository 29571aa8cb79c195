#!/usr/bin/env bash
# Real programs, unchanged, with libnestlock_malloc.so preloaded: each does what it does without. Those
# that are not installed are named. Each once more while a timer's handler allocates, too, whatever it
# interrupts.
#
#   preload_test.sh LIBRARY STORM
#
# STORM is what storm_preload.cc makes.
set -u -o pipefail

usage="usage: preload_test.sh LIBRARY STORM"
library=$(readlink -f "${1:?$usage}") || exit 2
storm=$(readlink -f "${2:?$usage}") || exit 2
work=$(mktemp -d "${TEST_TMPDIR:-/tmp}/preload_test.XXXXXX") || exit 2
trap 'rm -rf -- "$work"' EXIT
cd "$work" || exit 2
export HOME="$work" LC_ALL=C
checks=0 failed=0 absent=

fail() {
  failed=$((failed + 1))
  echo "FAILED: $1"
  sed 's/^/  | /' log | head -n 20
}
# same WHAT PROGRAM ARGUMENTS: prints and answers the same, preloaded or not.
same() {
  local what=$1 plain status
  shift
  if ! command -v "$1" >/dev/null; then
    case " $absent " in *" $1 "*) ;; *) absent="$absent $1" ;; esac
    return
  fi
  checks=$((checks + 1))
  "$@" >plain 2>/dev/null </dev/null
  plain=$?
  local libraries
  for libraries in "$library" "$library $storm"; do
    STORM_LOG="$work/storms" LD_PRELOAD="$libraries" "$@" >out 2>log </dev/null
    status=$?
    [ "$status" = "$plain" ] || fail "$what: ends with $status, without the library with $plain ($libraries)"
    cmp -s plain out || { diff plain out | head -n 5 >>log; fail "$what: prints something else ($libraries)"; }
  done
}

# Each relocation writes to a page of the library's data when a program starts. (An address in each of the
# tables that are there for every CPU made 49,000, and 3 MB of each process.)
if command -v readelf >/dev/null; then
  checks=$((checks + 1))
  relocations=$(readelf -rW "$library" | grep -c R_)
  [ "$relocations" -gt 0 ] && [ "$relocations" -lt 1000 ] || fail "the library has $relocations relocations"
fi

# What a class is instantiated with and nobody calls is not in it: the system reads it in around what is called.
if command -v nm >/dev/null; then
  checks=$((checks + 1))
  nm "$library" >log 2>&1
  ! grep -q zoneinfo log || fail "the library has a function that nobody calls"
fi

# What it says of misuse, and that it is in use at all: nobody else's free() says this. With
# NESTLOCK_MALLOC=debug it sees more, and the program goes on where that is safe.
cat >misuse.py <<'END'
import ctypes, sys
c = ctypes.CDLL(None)
c.malloc.restype = ctypes.c_void_p
def got(): return ctypes.c_void_p(c.malloc(100))
p, q = got(), got()
if sys.argv[1] == "foreign":
    c.free(ctypes.c_void_p(0x1234))
elif sys.argv[1] == "twice":
    for x in p, q, p: c.free(x)
elif sys.argv[1] == "inside":
    c.free(ctypes.c_void_p((p.value & ~15) + 8))
elif sys.argv[1] == "overflow":
    ctypes.memset(p, 0, 101)
    c.free(p)
elif sys.argv[1] == "shrunk":
    c.realloc.restype = ctypes.c_void_p
    p = ctypes.c_void_p(c.realloc(p, ctypes.c_size_t(80)))
    ctypes.memset(p, 0, 81)
    c.free(p)
elif sys.argv[1] == "sized":
    c.free_sized(p, ctypes.c_size_t(99))
elif sys.argv[1] == "after":
    c.free(p)
    ctypes.memset(p, 0, 50)
    for i in range(50): got()
END
says() { # says MESSAGE SETTINGS WHAT
  checks=$((checks + 1))
  # shellcheck disable=SC2086  # settings, or none
  (ulimit -c 0; env $2 LD_PRELOAD="$library" python3 misuse.py "$3") >out 2>log
  grep -q -- "$1" log || fail "'$3' with '$2' does not say: $1"
}
if command -v python3 >/dev/null; then
  says '^nestlock malloc: free(0x1234): it lies nowhere' '' foreign
  says 'freed twice: kmalloc-' NESTLOCK_MALLOC=debug twice
  says '^nestlock malloc: free(0x' NESTLOCK_MALLOC=debug twice
  says '^nestlock malloc: free(0x' NESTLOCK_MALLOC=hardened twice
  says 'freed twice: kmalloc-' NESTLOCK_MALLOC=hardened twice
  says '^nestlock malloc: free(0x.*8): no block begins there' NESTLOCK_MALLOC=hardened inside
  says 'neither debug nor hardened, but debgu$' NESTLOCK_MALLOC=debgu none
  says 'written outside the object: kmalloc-' NESTLOCK_MALLOC=debug overflow
  says 'written outside the object: kmalloc-' NESTLOCK_MALLOC=debug shrunk
  says '^nestlock malloc: free_sized(0x.*): freed as 99 bytes, but 100 were asked for, allocated by libffi' NESTLOCK_MALLOC=debug sized
  says 'free memory was written to: kmalloc-' NESTLOCK_MALLOC=debug after
  says 'writable memory for small blocks' NESTLOCK_MALLOC_STATS=1 none
  says '  allocated by libffi[^ ]*+0x[0-9a-f]*, freed by libffi[^ ]*+0x' NESTLOCK_MALLOC=debug twice
fi 2>/dev/null

# Who allocated and who freed, as addr2line takes it; and what is out at the end, by who allocated it.
cat >places.cc <<'END'
#include <cstdlib>
#include <cstring>
#include <new>
#define ALONE extern "C" __attribute__((noinline, noclone))
void* volatile kept[10];
ALONE void* gives() { void* p = std::malloc(100); return kept[0] = p; }
ALONE void* gives_zeroed() { void* p = std::calloc(10, 10); return kept[1] = p; }
ALONE void* gives_aligned() { void* p = std::aligned_alloc(64, 128); return kept[2] = p; }
ALONE void* gives_again(void* q) { void* p = std::realloc(q, 3000); return kept[3] = p; }
ALONE void* gives_new() { void* p = ::operator new(64); return kept[4] = p; }
ALONE void takes(void* p) { std::free(p); kept[5] = nullptr; }
ALONE void takes_too(void* p) { std::free(p); kept[5] = nullptr; }
int main(int, char** arguments) {
  void* const all[] = {gives(), gives_zeroed(), gives_aligned(), gives_again(std::malloc(10)), gives_new()};
  if (!std::strcmp(arguments[1], "twice"))
    for (void* p : all) takes(p), takes_too(p);
}
END
name_of() { addr2line -f -e places "$(printf '0x%x' $(($1 - 1)))" | head -n 1; } # behind the call
if command -v g++ >/dev/null && command -v addr2line >/dev/null; then
  for kind in -pie -no-pie; do
    g++ -g -O1 -fno-builtin "$kind" places.cc -o places || fail "places.cc, $kind"
    checks=$((checks + 2))
    (ulimit -c 0; NESTLOCK_MALLOC=debug LD_PRELOAD="$library" ./places twice) >out 2>log
    for text in 'allocated by:gives' 'freed by:takes' 'called by:takes_too'; do
      offset=$(sed -n "s/.*${text%:*} places+\(0x[0-9a-f]*\).*/\1/p" log | head -n 1)
      [ -n "$offset" ] && [ "$(name_of "$offset")" = "${text#*:}" ] || fail "$kind: no word of '$text'"
    done
    NESTLOCK_MALLOC=debug NESTLOCK_MALLOC_STATS=1 LD_PRELOAD="$library" ./places out >out 2>log
    names=$(sed -n '/^still out: /,$s/.* places+\(0x[0-9a-f]*\)$/\1/p' log | while read -r offset; do name_of "$offset"; done)
    for name in gives gives_zeroed gives_aligned gives_again gives_new; do
      grep -qx "$name" <<<"$names" || fail "$kind: what $name has given is not said to be out"
    done
  done
fi

# The compiler says which size it frees: the right one, but where a class that is derived from has no virtual
# destructor.
cat >sized.cc <<'END'
#include <algorithm>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>
struct Base { int n = 1; };
struct Derived : Base { int more[20] = {}; };
struct alignas(64) Aligned { ~Aligned() { ++ended; } char c[100]; static int ended; };
int Aligned::ended;
int main(int, char** arguments) {
  std::map<int, std::string> m;
  for (int i = 0; i < 1000; ++i) m[i % 100] += std::string(i % 50, 'x');
  std::vector<int> v(5000, 1);
  std::stable_sort(v.begin(), v.end());
  std::function<int()> f = [m, v] { return int(m.size() + v.size()); };
  auto shared = std::make_shared<Aligned>();
  delete[] new Aligned[3];
  delete[] new std::string[0];
  delete new Aligned;
  if (std::strcmp(arguments[1], "wrong")) return f() == 5100 && Aligned::ended == 4 ? 0 : 1;
  Base* volatile base = new Derived;
  delete base;
}
END
if command -v g++ >/dev/null; then
  for optimised in -O0 -O2; do
    g++ "$optimised" -w -std=c++17 sized.cc -o sized || fail "sized.cc, $optimised"
    checks=$((checks + 2))
    NESTLOCK_MALLOC=debug LD_PRELOAD="$library" ./sized right >out 2>log && ! grep -q nestlock log ||
      fail "$optimised: a right size is refused"
    (ulimit -c 0; NESTLOCK_MALLOC=debug LD_PRELOAD="$library" ./sized wrong) >out 2>log
    grep -q '^nestlock malloc: operator delete(0x.*): freed as 4 bytes, but 84 were asked for, allocated by sized+' log ||
      fail "$optimised: a wrong size is not said"
  done
fi 2>/dev/null

# A C program that loads a library of C++: where there is no memory its operator new throws, and asks the handler.
cat >plugin.cc <<'END'
#include <cstdint>
#include <new>
volatile std::size_t much = std::size_t{PTRDIFF_MAX} - 4096;
int asked;
extern "C" int thrown() {
  std::set_new_handler([] { ++asked, std::set_new_handler(nullptr); });
  int n = 0;
  try { (void)::operator new(much); } catch (const std::bad_alloc&) { ++n; }
  try { (void)::operator new(much, std::align_val_t{64}); } catch (const std::bad_alloc&) { ++n; }
  return n + asked;
}
END
cat >loads.c <<'END'
#include <dlfcn.h>
#include <stdio.h>
int main(void) {
  void *plugin = dlopen("./plugin.so", RTLD_NOW);
  int (*thrown)(void) = plugin ? (int (*)(void))dlsym(plugin, "thrown") : 0;
  printf("%d\n", thrown ? thrown() : -1);
  return 0;
}
END
if command -v g++ >/dev/null; then
  if g++ -std=c++17 -shared -fPIC plugin.cc -o plugin.so && gcc loads.c -o loads -ldl; then
    same "a C++ library that a C program loads" ./loads
    [ "$(cat plain)" = 3 ] || fail "the C++ library by itself says $(cat plain)"
  else
    fail "plugin.cc, loads.c"
  fi
fi

cat >json_threads.py <<'END'
import json, threading, zlib
totals = []
def work(n):
    total = 0
    for i in range(2000):
        text = json.dumps({"n": n, "list": list(range(i % 100)), "text": "x" * (i % 500)})
        total = zlib.crc32(json.dumps(json.loads(text)).encode(), total)
    totals.append(total)
threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
for t in threads: t.start()
for t in threads: t.join()
print(sorted(totals))
END
same "python3: json in four threads" python3 json_threads.py
! command -v python3 >/dev/null || same "python3: the same in debug" env NESTLOCK_MALLOC=debug python3 json_threads.py
! command -v python3 >/dev/null || same "python3: the same hardened" env NESTLOCK_MALLOC=hardened python3 json_threads.py
cat >forks.py <<'END'
import os
for i in range(20):
    pid = os.fork()
    if not pid:
        x = ["child" * n for n in range(1000)]
        os._exit(len(x) % 251)
    print(os.waitpid(pid, 0)[1])
END
same "python3: fork" python3 forks.py
same "perl: hashes and regular expressions" perl -e '
  my %h; for my $i (1 .. 20000) { $h{"k$i"} = "x" x ($i % 300) . $i }
  my $n = grep { /7/ } values %h; print "$n\n"'
mkdir repository && (cd repository && {
  git init -q . && seq 1 20000 >numbers && git add numbers
  git -c user.name=n -c user.email=e@example.org commit -q -m one --date='2026-01-01T00:00:00Z'
}) >/dev/null 2>&1
same "git: log" git -C repository log --stat --format=%s
same "git: pack and check" git -C repository fsck --full
cat >program.cc <<'END'
#include <algorithm>
#include <map>
#include <string>
#include <vector>
std::map<std::string, std::vector<int>> m;
int main() { std::sort(m["x"].begin(), m["x"].end()); return 0; }
END
same "g++: compile, assemble, link" g++ -O1 -o program program.cc
same "sqlite3: a table and an index" sqlite3 :memory: '
  create table t(a integer primary key, b text);
  with recursive n(i) as (select 1 union all select i + 1 from n where i < 20000)
    insert into t select i, hex(i * 7919) from n;
  create index tb on t(b); select count(*), min(b), max(b) from t where b > "3";'
# Python's own tests: of the first one, or of all that use much of it.
if command -v python3 >/dev/null && python3 -c 'import test.test_json' 2>/dev/null; then
  own="test_gc test_dict"
  [ -z "${NESTLOCK_LONG:-}" ] || own="test_gc test_dict test_json test_re test_threading test_list test_zlib test_bytes test_set"
  for own in $own; do
    checks=$((checks + 1))
    # test_gc asks for what another thread or a signal changes: without the storm. The last line is the verdict.
    LD_PRELOAD="$library" timeout 600 python3 -m test -q "$own" >log 2>&1 </dev/null || fail "python3: its own $own"
    [ "$own" = test_gc ] || [ "$own" = test_threading ] ||
      STORM_LOG="$work/storms" LD_PRELOAD="$library $storm" timeout 600 python3 -m test -q "$own" >log 2>&1 </dev/null ||
      fail "python3: its own $own in a storm"
  done
else
  absent="$absent python3-test"
fi

# redis-server: what its benchmark sends it is answered, preloaded and in a storm.
if command -v redis-server >/dev/null && command -v redis-benchmark >/dev/null; then
  for libraries in "$library" "$library $storm"; do
    checks=$((checks + 1))
    (STORM_LOG="$work/storms" LD_PRELOAD="$libraries" exec redis-server --unixsocket redis.sock --port 0 \
      --save '' --daemonize no >redis.log 2>&1) &
    server=$!
    until redis-cli -s redis.sock ping >/dev/null 2>&1 || ! kill -0 $server 2>/dev/null; do sleep 0.1; done
    requests=5000
    [ -z "${NESTLOCK_LONG:-}" ] || requests=100000
    timeout 300 redis-benchmark -s redis.sock -q -n $requests -t set,get,lpush,hset,zadd -d 300 >log 2>&1 ||
      fail "redis: its benchmark ($libraries)"
    [ "$(redis-cli -s redis.sock llen mylist 2>>log)" = $requests ] || fail "redis: the list's length ($libraries)"
    redis-cli -s redis.sock shutdown nosave >/dev/null 2>&1
    wait $server || { cat redis.log >>log; fail "redis: ends with $? ($libraries)"; }
  done
else
  absent="$absent redis-server"
fi
seq 1 400000 >numbers
same "pigz: two threads" pigz -p 2 -n -c numbers
same "xz: two threads" xz -T2 --block-size=500000 -c numbers

# Entries, of these with a lock of the allocator held, blocks that were changed, nulls.
if ! awk '{ for (i = 1; i <= 4; ++i) sum[i] += $i }
    END { printf "%d programs: %d handlers, %d with a lock held, %d blocks changed, %d null\n",
            NR, sum[1], sum[2], sum[3], sum[4]
          exit !(sum[2] > 0 && sum[3] == 0 && sum[4] == 0) }' storms; then
  failed=$((failed + 1))
  echo "FAILED: of the handlers none found a lock held, or blocks were lost"
fi
echo "$checks checks, $failed failed${absent:+; not installed:$absent}"
[ "$failed" = 0 ] && [ "$checks" -ge 5 ]
