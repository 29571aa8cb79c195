#include "reserve.h"

#include <atomic>
#include <bit>

namespace nestlock::heap::reserve {
namespace {

constexpr auto kRelaxed = std::memory_order_relaxed;

template <unsigned kClass>
struct Blocks {
  alignas(kSizes[kClass]) unsigned char bytes[kBlocks][kSizes[kClass]];
};
// The largest first, so that each is aligned without a gap. Memory that nobody uses is never touched.
struct Memory {
  Blocks<3> of_3;
  Blocks<2> of_2;
  Blocks<1> of_1;
  Blocks<0> of_0;
};
constinit Memory memory{};
static_assert(kClasses == 4);

unsigned char* begin_of(unsigned c) noexcept {
  unsigned char* const begins[kClasses] = {memory.of_0.bytes[0], memory.of_1.bytes[0],
                                           memory.of_2.bytes[0], memory.of_3.bytes[0]};
  return begins[c];
}

constinit std::atomic<std::uint64_t> out[kClasses]{};  // a bit for each block
static_assert(kBlocks == 64);
constinit std::atomic<std::size_t> taken_ever{0};

struct Which {
  unsigned size_class, block;
};
// Whether a block begins there, and which.
bool which(const void* at, Which& w) noexcept {
  const auto* const p = static_cast<const unsigned char*>(at);
  for (w.size_class = 0; w.size_class < kClasses; ++w.size_class) {
    const auto offset = static_cast<std::size_t>(p - begin_of(w.size_class));
    if (offset >= kBlocks * kSizes[w.size_class]) continue;
    w.block = static_cast<unsigned>(offset / kSizes[w.size_class]);
    return offset % kSizes[w.size_class] == 0;
  }
  return false;
}

}  // namespace

void* take(std::size_t size) noexcept {
  for (unsigned c = 0; c < kClasses; ++c) {
    if (kSizes[c] < size) continue;
    for (std::uint64_t free; (free = ~out[c].load(kRelaxed)) != 0;) {
      const std::uint64_t bit = free & -free;
      // acquire: pairs with the release of give(): what its last user did with it is done.
      if (out[c].fetch_or(bit, std::memory_order_acquire) & bit) continue;  // somebody was faster
      taken_ever.fetch_add(1, kRelaxed);
      return begin_of(c) + static_cast<unsigned>(std::countr_zero(bit)) * kSizes[c];
    }
  }
  return nullptr;
}

bool owns(const void* at) noexcept {
  return reinterpret_cast<std::uintptr_t>(at) - reinterpret_cast<std::uintptr_t>(&memory) <
         sizeof memory;
}

std::size_t size_of(const void* block) noexcept {
  Which w;
  return which(block, w) ? kSizes[w.size_class] : 0;
}

bool give(void* block) noexcept {
  Which w;
  if (!which(block, w)) return false;
  const std::uint64_t bit = std::uint64_t{1} << w.block;
  return out[w.size_class].fetch_and(~bit, std::memory_order_release) & bit;
}

std::size_t taken() noexcept { return taken_ever.load(kRelaxed); }

}  // namespace nestlock::heap::reserve
