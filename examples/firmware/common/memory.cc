// The three functions of the C library that compilers call by themselves, for programs without one.
#include <cstddef>

extern "C" {

// (Not from a loop that the compiler would recognise and turn into a call of the same function.)
[[gnu::optimize("no-tree-loop-distribute-patterns")]] void* memset(void* to, int value,
                                                                   std::size_t size) {
  auto* const out = static_cast<unsigned char*>(to);
  for (std::size_t i = 0; i < size; ++i) out[i] = static_cast<unsigned char>(value);
  return to;
}

[[gnu::optimize("no-tree-loop-distribute-patterns")]] void* memcpy(void* to, const void* from,
                                                                   std::size_t size) {
  auto* const out = static_cast<unsigned char*>(to);
  const auto* const in = static_cast<const unsigned char*>(from);
  for (std::size_t i = 0; i < size; ++i) out[i] = in[i];
  return to;
}

int memcmp(const void* a, const void* b, std::size_t size) {
  const auto* const left = static_cast<const unsigned char*>(a);
  const auto* const right = static_cast<const unsigned char*>(b);
  for (std::size_t i = 0; i < size; ++i)
    if (left[i] != right[i]) return left[i] < right[i] ? -1 : 1;
  return 0;
}

}  // extern "C"
