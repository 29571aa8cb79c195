// operator new and delete in all their forms. (A C++ library's own call malloc and free, and would do:
// these save the jump.)
//
// No exception is thrown from here by name: a C program that this library is preloaded into has no C++
// library, and must not get one. Where there is one its functions do it. So this file needs a C++ library where
// it is linked into a program: of an archive it is the member that comes only to who calls one of its
// functions, and c_names.cc must not refer to it.
#include <dlfcn.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdlib>
#include <new>

#include "../heap.h"
#include "nestlock/config/annotations.h"

namespace heap = nestlock::heap;

// Weak: a program that is linked statically, or a C library before glibc 2.34, may have none.
extern "C" {
[[gnu::weak]] decltype(dlopen) dlopen;
[[gnu::weak]] decltype(dladdr) dladdr;
[[gnu::weak]] decltype(dlsym) dlsym;
[[gnu::weak]] decltype(dlclose) dlclose;
}

// The C++ library's: to throw bad_alloc, and what a program has set as its new_handler.
namespace std {
NESTLOCK_INTERNAL_IF_THE_PROGRAM_HAS_IT void __throw_bad_alloc();
NESTLOCK_INTERNAL_IF_THE_PROGRAM_HAS_IT new_handler get_new_handler() noexcept;
}  // namespace std

namespace {

// A function of the C++ library's; null: there is none. Where this library was loaded before any C++ library its own
// reference stays null: then it is looked for where `caller` would find it, whose code calls operator new.
template <class Function>
Function* found(Function* function, const char* name, const void* caller) noexcept {
  if (function) return function;
  Dl_info of{};
  if (!dlopen || !dladdr || !dladdr(caller, &of) || !of.dli_fname) return nullptr;
  void* const module = dlopen(of.dli_fname, RTLD_LAZY | RTLD_NOLOAD);
  if (!module) return nullptr;
  void* const there = dlsym(module, name);
  dlclose(module);
  return reinterpret_cast<Function*>(there);
}

[[noreturn]] void fail(const void* caller) {
  if (auto* const throws = found(std::__throw_bad_alloc, "_ZSt17__throw_bad_allocv", caller))
    throws();
  constexpr char kText[] =
      "nestlock malloc: operator new: no memory, and no C++ library that could throw bad_alloc\n";
  syscall(SYS_write, STDERR_FILENO, kText, sizeof kText - 1);
  std::abort();
}

// Asks the program's new_handler, as often as there is one.
template <class Allocate>
[[gnu::cold, gnu::noinline]] void* again(const void* caller, Allocate allocate) {
  auto* const handler = found(std::get_new_handler, "_ZSt15get_new_handlerv", caller);
  for (;;) {
    const std::new_handler h = handler ? handler() : nullptr;
    if (!h) fail(caller);
    h();
    if (void* const p = allocate()) return p;
  }
}

[[gnu::always_inline]] inline void* get(std::size_t size) {
  if (void* const p = heap::allocate(size)) [[likely]]
    return p;
  return again(NESTLOCK_INTERNAL_CALLER, [size] { return heap::allocate(size); });
}
[[gnu::always_inline]] inline void* get(std::size_t size, std::align_val_t align) {
  const auto a = static_cast<std::size_t>(align);
  if (void* const p = heap::allocate_aligned(a, size)) [[likely]]
    return p;
  return again(NESTLOCK_INTERNAL_CALLER, [=] { return heap::allocate_aligned(a, size); });
}

// No new_handler is asked: one may throw, which nobody here could catch.
void* get_nothrow(std::size_t size) noexcept { return heap::allocate(size); }
void* get_nothrow(std::size_t size, std::align_val_t align) noexcept {
  return heap::allocate_aligned(static_cast<std::size_t>(align), size);
}
constexpr const char* kDelete = "operator delete";
void put(void* p) noexcept { heap::free(p, kDelete); }
void put(void* p, std::size_t n) noexcept { heap::free_sized(p, n, heap::kAlign, kDelete); }
void put(void* p, std::size_t n, std::align_val_t align) noexcept {
  heap::free_sized(p, n, static_cast<std::size_t>(align), kDelete);
}

}  // namespace

// Whatever else is hidden: the C++ library and other libraries call these.
#pragma GCC visibility push(default)

void* operator new(std::size_t n) { return get(n); }
void* operator new[](std::size_t n) { return get(n); }
void* operator new(std::size_t n, std::align_val_t a) { return get(n, a); }
void* operator new[](std::size_t n, std::align_val_t a) { return get(n, a); }

using Nothrow = const std::nothrow_t&;
void* operator new(std::size_t n, Nothrow) noexcept { return get_nothrow(n); }
void* operator new[](std::size_t n, Nothrow) noexcept { return get_nothrow(n); }
void* operator new(std::size_t n, std::align_val_t a, Nothrow) noexcept {
  return get_nothrow(n, a);
}
void* operator new[](std::size_t n, std::align_val_t a, Nothrow) noexcept {
  return get_nothrow(n, a);
}

void operator delete(void* p) noexcept { put(p); }
void operator delete[](void* p) noexcept { put(p); }
void operator delete(void* p, std::size_t n) noexcept { put(p, n); }
void operator delete[](void* p, std::size_t n) noexcept { put(p, n); }
void operator delete(void* p, std::align_val_t) noexcept { put(p); }
void operator delete[](void* p, std::align_val_t) noexcept { put(p); }
void operator delete(void* p, std::size_t n, std::align_val_t a) noexcept { put(p, n, a); }
void operator delete[](void* p, std::size_t n, std::align_val_t a) noexcept { put(p, n, a); }
void operator delete(void* p, Nothrow) noexcept { put(p); }
void operator delete[](void* p, Nothrow) noexcept { put(p); }
void operator delete(void* p, std::align_val_t, Nothrow) noexcept { put(p); }
void operator delete[](void* p, std::align_val_t, Nothrow) noexcept { put(p); }

#pragma GCC visibility pop
