// The allocators that are compared, all called through a pointer, as a program calls malloc().
#pragma once

#include <cstddef>
#include <span>
#include <string>

namespace bench {

struct Allocator {
  const char* name;
  void* (*alloc)(std::size_t size);  // null: not installed here
  void (*free)(void* p);
  bool one_cpu = false;  // one thread only
  const char* why_absent = nullptr;
};

// Ours in `up` and `smp`, glibc, then the others: loaded beside it, so that nobody's malloc() is
// replaced.
std::span<const Allocator> allocators();

// Before anything else: some peers want more static thread-local memory than a program has to give
// to libraries that it loads later, so this may start the program again with more.
void make_room_for_peers(char** argv);

// "jemalloc: /lib/.../libjemalloc.so.2, mimalloc: not here".
std::string where_peers_are();

}  // namespace bench
