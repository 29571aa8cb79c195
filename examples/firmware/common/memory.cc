// The three functions of the C library that compilers call by themselves, for programs without one.
#include <cstddef>
#include <cstdint>

// The compiler would recognise such a loop and turn it into a call of the same function.
#define AS_WRITTEN [[gnu::optimize("no-tree-loop-distribute-patterns")]]

namespace {

using Word [[gnu::may_alias]] = std::uintptr_t;
bool aligned(const void* p) { return reinterpret_cast<std::uintptr_t>(p) % sizeof(Word) == 0; }

}  // namespace

extern "C" {

AS_WRITTEN void* memset(void* to, int value, std::size_t size) {
  auto* out = static_cast<unsigned char*>(to);
  const auto byte = static_cast<unsigned char>(value);
  while (size && !aligned(out)) *out++ = byte, --size;
  for (; size >= sizeof(Word); size -= sizeof(Word), out += sizeof(Word))
    *reinterpret_cast<Word*>(out) = ~Word{0} / 0xff * byte;
  while (size--) *out++ = byte;
  return to;
}

AS_WRITTEN void* memcpy(void* to, const void* from, std::size_t size) {
  auto* out = static_cast<unsigned char*>(to);
  const auto* in = static_cast<const unsigned char*>(from);
  if (aligned(to) && aligned(from))
    for (; size >= sizeof(Word); size -= sizeof(Word), out += sizeof(Word), in += sizeof(Word))
      *reinterpret_cast<Word*>(out) = *reinterpret_cast<const Word*>(in);
  while (size--) *out++ = *in++;
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
