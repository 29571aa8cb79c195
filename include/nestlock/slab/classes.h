// The sizes of kmalloc()'s classes: a parameter of BasicSlabAllocator. A table is a type with a
// constexpr array `kSizes` of std::uint32_t, ascending, which the compiler checks:
//   - all are multiples of 8, those above 1024 of 256; the last is at least kMaxKmalloc,
//     and at most four times as much;
//   - each power of two from 8 on is among them, for such a size is aligned to itself;
//   - there are at most 254.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <type_traits>

#include "nestlock/config/config.h"

namespace nestlock {

// Each table has a class for this. (Of the lean form: with its small pages 8 KiB are 32 of them.)
inline constexpr std::size_t kMaxKmalloc = kLean ? 1024 : 8192;

// The kernel's: few caches, up to half of an object unused. What fits a firmware.
struct KernelClasses {
  // Bytes, rising.
  static constexpr std::uint32_t kSizes[] = {8,   16,  32,   64,   96,   128, 192,
                                             256, 512, 1024, 2048, 4096, 8192};
};

// Of the lean form: as few caches as can be.
struct LeanClasses {
  // Bytes, rising.
  static constexpr std::uint32_t kSizes[] = {8, 16, 32, 64, 128, 256, 512, 1024};
};

// What an allocator has that names no others.
using DefaultClasses = std::conditional_t<kLean, LeanClasses, KernelClasses>;

namespace internal {

struct FineSizes {                               // to be looked at like an array
  static constexpr std::uint32_t kSlab = 65536;  // what is to be filled by the largest
  static constexpr unsigned kCount = 48;
  std::uint32_t size[kCount]{};
  constexpr FineSizes() {
    std::uint32_t at = 0;
    for (std::uint32_t& s : size) s = at = after(at);
  }
  static constexpr std::uint32_t after(std::uint32_t at) {
    if (at >= 8192) return kSlab / (kSlab / at - 1) & ~255u;
    const std::uint32_t step = std::bit_floor(at) / (at < 1024 ? 8 : 4);
    return at + (at < 16 ? 8 : step < 16 ? 16 : step);
  }
  constexpr const std::uint32_t* begin() const { return size; }
  constexpr const std::uint32_t* end() const { return size + kCount; }
  constexpr std::uint32_t operator[](std::size_t i) const { return size[i]; }
};

}  // namespace internal

// To 1 KiB eight between two powers of two, above four: at most 12.5 % and 25 % apart. But to 128 bytes 16 apart,
// so that every object from 16 bytes on is aligned to 16, as malloc()'s must be. Above 8 KiB those of which 7, 6
// and 5 fill 64 KiB, up to where whole pages waste less: three pages come out of four, and a program that wants no
// single ones pays for four. Three times as many caches for fewer unused bytes.
struct FineClasses {
  // Bytes, rising.
  static constexpr internal::FineSizes kSizes{};
};

namespace internal {

template <class Classes>
constexpr unsigned count_classes() {
  unsigned n = 0;
  for (const std::uint32_t s : Classes::kSizes) n += s != 0;
  return n;
}

template <class Classes>
constexpr bool right_classes() {
  std::uint32_t last = 0, power = 8;
  for (const std::uint32_t s : Classes::kSizes) {
    if (s <= last || s % (s > 1024 ? 256 : 8) || s > power) return false;
    if (s == power) power *= 2;
    last = s;
  }
  return last >= kMaxKmalloc && last <= (kLean ? 32 : 4) * kMaxKmalloc;
}

template <class Classes>
constexpr std::uint32_t largest_class() {
  std::uint32_t last = 0;
  for (const std::uint32_t s : Classes::kSizes) last = s;
  return last;
}

template <class Classes>
struct ClassIndices {
  std::uint8_t small[1024 / 8]{}, large[largest_class<Classes>() / 256]{};
  constexpr ClassIndices() {
    for (unsigned c = 0, i = 0; i < sizeof small; small[i++] = static_cast<std::uint8_t>(c))
      while (Classes::kSizes[c] < (i + 1) * 8) ++c;
    for (unsigned c = 0, i = 0; i < sizeof large; large[i++] = static_cast<std::uint8_t>(c))
      while (Classes::kSizes[c] < (i + 1) * 256) ++c;
  }
};

template <class Classes>
struct ClassNames {  // "kmalloc-96", "kmalloc-2k"
  char of[count_classes<Classes>()][16]{};
  constexpr ClassNames() {
    char(*to)[16] = of;
    for (const std::uint32_t s : Classes::kSizes) put(*to++, s);
  }
  static constexpr void put(char* to, std::uint32_t n) {
    for (const char c : {'k', 'm', 'a', 'l', 'l', 'o', 'c', '-'}) *to++ = c;
    const bool kilo = n >= 1024 && n % 1024 == 0;
    if (kilo) n /= 1024;
    std::uint32_t unit = 1;
    while (unit * 10 <= n) unit *= 10;
    for (; unit; unit /= 10) *to++ = static_cast<char>('0' + n / unit % 10);
    if (kilo) *to = 'k';
  }
};

// What the allocator asks of a table.
template <class Classes>
struct ClassTable {
  static constexpr unsigned kCount = count_classes<Classes>();
  static_assert(right_classes<Classes>() && kCount <= 254,
                "no table of classes: see the head of nestlock/slab/classes.h");
  static constexpr std::uint32_t kLargest = largest_class<Classes>();
  static constexpr ClassIndices<Classes> kIndices{};
  static constexpr std::size_t kSmall =
      1024;  // up to which they are told apart by 8 bytes, then by 256
  static constexpr ClassNames<Classes> kNames{};

  // The class of a size, by tables: a branch on the size is mispredicted where sizes are mixed.
  // (The lean form looks through the sizes: they are 32 bytes, the tables 132.)
  static constexpr unsigned index_of(std::size_t size) noexcept {
    if constexpr (kLean) {
      unsigned i = 0;
      while (Classes::kSizes[i] < size) ++i;
      return i;
    }
    return size <= kSmall ? kIndices.small[(size - 1) / 8] : kIndices.large[(size - 1) / 256];
  }
};

}  // namespace internal
}  // namespace nestlock
