#include "nestlock/slab/mapped_blocks.h"

#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdint>

#include "nestlock/config/annotations.h"
#include "nestlock/config/config.h"

namespace nestlock::mapped_blocks {
namespace {

constexpr std::size_t kPageSize = std::size_t{1} << kPageShift;
// Of where a mapping begins: the system's pages are no smaller, whatever the size of ours.
constexpr std::size_t kAlign = 4096;
constexpr auto kRelaxed = std::memory_order_relaxed;

// An address stands in the first slot that was free when it came, from the one of its hash on. Whoever
// looks for a block has it, so it is there; who looks for what is no block sees the whole table, before
// the process ends. So slots are simply emptied, and no look-up stops at an empty one.
//
// Whose slot it is: of the block's owner. A block goes from thread to thread by the program's own
// synchronisation, so no order is needed here; of two that free one block the compare-exchange refuses
// the second.
struct Slot {
  std::atomic<std::uintptr_t> block;  // kFree, kTaken, or its address
  std::atomic<std::size_t> size;
};
constexpr std::uintptr_t kFree = 0, kTaken = 1;
// Mapped with the first block: a program without any has no use of its 2 MiB.
constinit std::atomic<Slot*> table{nullptr};
static_assert(sizeof(Slot) == sizeof(std::uintptr_t) + sizeof(std::size_t));
constinit std::atomic<std::size_t> blocks{0}, bytes{0};

std::size_t hash(std::uintptr_t block) noexcept {
  return (block >> kPageShift) * 0x9E3779B97F4A7C15u >> 47;  // 17 bits
}

Slot* find(std::uintptr_t block) noexcept {
  if (!blocks.load(kRelaxed)) return nullptr;  // whoever has a block sees it counted
  // acquire: pairs with map_table(), for who has no block may see the count and not the table.
  Slot* const slots = table.load(std::memory_order_acquire);
  for (std::size_t i = 0, at = hash(block); slots && i < kMost; ++i, at = (at + 1) % kMost)
    if (slots[at].block.load(kRelaxed) == block) return &slots[at];
  return nullptr;
}

// Of several that come first one maps it: the others, and whoever interrupted one, take back what they mapped.
Slot* map_table() noexcept {
  constexpr std::size_t kBytes = kMost * sizeof(Slot);
  void* const map =
      mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (map == MAP_FAILED) return nullptr;
  madvise(map, kBytes, MADV_NOHUGEPAGE);  // touched here and there
  Slot* is = nullptr;
  // acq_rel: whoever sees the table sees its pages' advice, and the one that came first.
  if (table.compare_exchange_strong(is, static_cast<Slot*>(map), std::memory_order_acq_rel,
                                    std::memory_order_acquire))
    return static_cast<Slot*>(map);
  munmap(map, kBytes);
  return is;
}

// The caller keeps errno.
Slot* take_slot(std::uintptr_t block) noexcept {
  Slot* slots = table.load(std::memory_order_acquire);
  if (!slots) slots = map_table();
  for (std::size_t i = 0, at = hash(block); slots && i < kMost; ++i, at = (at + 1) % kMost) {
    Slot& s = slots[at];
    std::uintptr_t is = s.block.load(kRelaxed);
    if (is == kFree && s.block.compare_exchange_strong(is, kTaken, kRelaxed)) return &s;
  }
  return nullptr;
}

void enter(Slot& s, void* block, std::size_t size) noexcept {
  s.size.store(size, kRelaxed);
  s.block.store(reinterpret_cast<std::uintptr_t>(block), kRelaxed);
}

// The size, and the slot as kTaken; 0: no such block.
std::size_t take_out(void* block, Slot*& slot) noexcept {
  std::uintptr_t is = reinterpret_cast<std::uintptr_t>(block);
  slot = is % kAlign == 0 && is > kTaken ? find(is) : nullptr;
  if (!slot) return 0;
  const std::size_t size = slot->size.load(kRelaxed);
  return slot->block.compare_exchange_strong(is, kTaken, kRelaxed) ? size : 0;
}

constexpr std::size_t whole_pages(std::size_t size) noexcept {
  return (size + kPageSize - 1) & ~(kPageSize - 1);
}

}  // namespace

void* allocate(std::size_t size, std::size_t align) noexcept {
  if (size > PTRDIFF_MAX || align > PTRDIFF_MAX) return nullptr;
  size = whole_pages(size ? size : 1);
  // The system's pages may be larger than ours: what it maps begins and ends with one of its own.
  const auto page = static_cast<std::size_t>(getpagesize());
  const std::size_t mapped = (size + page - 1) & ~(page - 1),
                    more = align > page ? align - page : 0;
  const int saved = errno;
  void* const map =
      mmap(nullptr, mapped + more, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (map == MAP_FAILED) {
    errno = saved;
    return nullptr;
  }
  auto at = reinterpret_cast<std::uintptr_t>(map);
  if (more) {
    const std::uintptr_t begin = (at + align - 1) & ~(align - 1);
    if (begin != at) munmap(map, begin - at);
    const std::uintptr_t rest = at + more - begin;
    if (rest) munmap(reinterpret_cast<void*>(begin + mapped), rest);
    at = begin;
  }
  void* const block = reinterpret_cast<void*>(at);
  Slot* const slot = take_slot(at);
  if (!slot) {
    munmap(block, size);
    errno = saved;
    return nullptr;
  }
  blocks.fetch_add(1, kRelaxed);
  bytes.fetch_add(size, kRelaxed);
  enter(*slot, block, size);
  errno = saved;
  return block;
}

bool release(void* block) noexcept {
  Slot* slot;
  const std::size_t size = take_out(block, slot);
  if (!size) return false;
  // The slot first: from the munmap() on another thread may have a block at this address.
  slot->block.store(kFree, kRelaxed);
  blocks.fetch_sub(1, kRelaxed);
  bytes.fetch_sub(size, kRelaxed);
  // In the middle of neighbours that the kernel keeps as one mapping this makes one more, and may be refused
  // where there are as many as may be: then the memory goes back, if not the addresses.
  if (munmap(block, size) != 0) madvise(block, size, MADV_DONTNEED);
  return true;
}

void* resize(void* block, std::size_t size) noexcept {
  if (size > PTRDIFF_MAX) return nullptr;
  Slot* slot;
  const std::size_t old = take_out(block, slot);
  if (!old) return nullptr;
  size = whole_pages(size);
  const int saved = errno;
  // ThreadSanitizer does not see an mremap(): to it what moved away is there still, and who gets the place next
  // races with it. There the block is copied by whoever asked.
  void* const moved = old == size                     ? block
                      : nestlock::internal::kWithTsan ? MAP_FAILED
                                                      : mremap(block, old, size, MREMAP_MAYMOVE);
  errno = saved;
  if (moved == MAP_FAILED) {
    enter(*slot, block, old);
    return nullptr;
  }
  if (moved != block) {  // near its new hash, if there is another slot
    Slot* const near = take_slot(reinterpret_cast<std::uintptr_t>(moved));
    if (near) slot->block.store(kFree, kRelaxed), slot = near;
  }
  enter(*slot, moved, size);
  bytes.fetch_add(size - old, kRelaxed);
  return moved;
}

std::size_t size_of(const void* block) noexcept {
  const auto at = reinterpret_cast<std::uintptr_t>(block);
  const Slot* const slot = at % kAlign == 0 && at > kTaken ? find(at) : nullptr;
  return slot ? slot->size.load(kRelaxed) : 0;
}

Counts counts() noexcept { return {blocks.load(kRelaxed), bytes.load(kRelaxed)}; }

}  // namespace nestlock::mapped_blocks
