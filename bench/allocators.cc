#include "allocators.h"

#include <dlfcn.h>
#include <unistd.h>

#include <cstdlib>
#include <vector>

#include "nestlock_allocators.h"
#include "rows.h"

namespace bench {
namespace {

template <class K>
void* kmalloc(std::size_t size) {
  return TheSlabs<K>::slabs.kmalloc(size, nestlock::gfp::nowait);
}
template <class K>
void kfree(void* p) {
  TheSlabs<K>::slabs.kfree(p);
}

struct Peer {
  const char* name;
  const char* files[3];
  const char* why_absent = kNotHere;
};
constexpr Peer kPeers[] = {
    {"jemalloc", {"libjemalloc.so.2"}},
    {"mimalloc", {"libmimalloc.so.3", "libmimalloc.so.2"}},
    {"tcmalloc (gperftools)", {"libtcmalloc_minimal.so.4", "libtcmalloc.so.4"}},
    {"snmalloc", {"libsnmallocshim.so"}, kNotPackaged},
};

constexpr const char* kTunables = "GLIBC_TUNABLES";

template <class F>
F* symbol(void* library, const char* name) {
  return reinterpret_cast<F*>(dlsym(library, name));
}

// RTLD_LOCAL: its names are found by dlsym() only. RTLD_DEEPBIND: it finds its own first.
Allocator load(const Peer& peer) {
  for (const char* const file : peer.files) {
    void* const library = file ? dlopen(file, RTLD_NOW | RTLD_LOCAL | RTLD_DEEPBIND) : nullptr;
    if (!library) continue;
    const Allocator a{peer.name, symbol<void*(std::size_t)>(library, "malloc"),
                      symbol<void(void*)>(library, "free")};
    if (a.alloc && a.free) return a;
  }
  return {peer.name, nullptr, nullptr, false, peer.why_absent};
}

}  // namespace

std::span<const Allocator> allocators() {
  static const auto all = [] {
    TheSlabs<Up>::set_up();
    TheSlabs<Smp>::set_up();
    std::vector<Allocator> list{
        {"nestlock up", kmalloc<Up>, kfree<Up>, /*one_cpu=*/true},
        {"nestlock smp", kmalloc<Smp>, kfree<Smp>},
        {"glibc", std::malloc, std::free},
    };
    for (const Peer& p : kPeers) list.push_back(load(p));
    return list;
  }();
  return all;
}

void make_room_for_peers(char** argv) {
  if (std::getenv(kTunables)) return;
  setenv(kTunables, "glibc.rtld.optional_static_tls=65536", 1);
  execv("/proc/self/exe", argv);
}

std::string where_peers_are() {
  std::string text;
  for (const Allocator& a : allocators()) {
    if (a.one_cpu) continue;
    Dl_info info{};
    const bool found = a.alloc && dladdr(reinterpret_cast<void*>(a.alloc), &info);
    if (a.alloc == kmalloc<Smp>) continue;
    text += (text.empty() ? "" : ", ") + std::string(a.name) + ": " +
            (found ? info.dli_fname : "not here");
  }
  return text;
}

}  // namespace bench
