// A C++ program into which Nestlock's malloc is linked: operator new takes its memory there, and fails as the
// language says, however the program has its C++ library.
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <new>

#include "nestlock/malloc.h"

namespace {

volatile std::size_t much = std::size_t{PTRDIFF_MAX} - 4096;  // the compiler must not judge it
int thrown = 0, asked = 0, null = 0;                          // calls of that kind

// Twice in vain, then no more.
void handler() {
  if (++asked == 2) std::set_new_handler(nullptr);
}

template <class Allocate>
void fails(Allocate allocate) {
  std::set_new_handler(handler);
  asked = 0;
  try {
    allocate();
  } catch (const std::bad_alloc&) {
    thrown += asked == 2;
  }
}

}  // namespace

int main() {
  const std::size_t before = nestlock_malloc_counts().mapped;
  char* volatile const block = new char[std::size_t{3} << 20];
  const bool ours = nestlock_malloc_counts().mapped >= before + (std::size_t{3} << 20);
  delete[] block;
  fails([] { return ::operator new(much); });
  fails([] { return ::operator new[](much); });
  fails([] { return ::operator new(much, std::align_val_t{64}); });
  fails([] { return ::operator new[](much, std::align_val_t{64}); });
  std::set_new_handler(nullptr);
  null += ::operator new(much, std::nothrow) == nullptr;
  null += ::operator new(much, std::align_val_t{64}, std::nothrow) == nullptr;
  std::printf("%s, %d thrown, %d null\n", ours ? "ours" : "another's", thrown, null);
  return ours && thrown == 4 && null == 2 ? 0 : 1;
}
