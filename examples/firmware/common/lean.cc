// What the lean form costs: an image that makes each kind of call, and counts what of 64 KiB of memory is left to
// its program. Built with FIRMWARE_PART=0, 1 and 2: with a lock alone, which has the text that reports findings, with
// pages, with slab, too; what text one has more than the one before is what that floor costs an image
// (make lean_text).
#include <cstdint>

#include "machine.h"
#include "nestlock/slab.h"
#include "print.h"

namespace {

using nestlock::gfp;
using Page = nestlock::PageAllocator::Page;

// All that the allocators have and give: their own objects, the descriptors, the memory.
constexpr std::size_t kAll = 64 * 1024, kCaches = 8;
constexpr std::size_t kOwn = sizeof(nestlock::PageAllocator) + sizeof(nestlock::SlabAllocator);
constexpr std::size_t kRest = (kAll - kOwn) / nestlock::kPageSize * nestlock::kPageSize;
alignas(nestlock::kPageSize) unsigned char memory[FIRMWARE_PART ? kRest : 1];
constinit nestlock::PageAllocator pages;
constinit nestlock::SlabAllocator slabs;

constinit nestlock::TrySpinLock lock;

// What a page and a cache take, beside what is left: that is counted by running it.
static_assert(!nestlock::kLean || nestlock::PageAllocator::kDescriptorBytes <= 16,
              "a page's descriptor");
static_assert(!nestlock::kLean || sizeof(nestlock::KmemCache) <= 256, "a cache");

template <int kPart>
bool pages_work() {
  if constexpr (kPart > 0) {
    Page* const a = pages.alloc_pages(gfp::kernel, 0);
    Page* const b = pages.alloc_pages_nolock(gfp::zero, 1);
    const bool there = a && b && !pages.interrupted();
    return there && pages.free_pages(a, 0) && pages.free_pages_nolock(b, 1);
  }
  return true;
}

template <int kPart>
bool slabs_work() {
  if constexpr (kPart > 1) {
    void* const a = slabs.kmalloc(40, gfp::kernel);
    void* const b = slabs.kmalloc_nolock(40, gfp::zero);
    nestlock::KmemCache* const cache = slabs.create("own", 24);
    if (!a || !b || !cache) return false;
    void* const c = cache->alloc(gfp::kernel);
    void* const d = cache->alloc_nolock(gfp::none);
    const bool there = c && d && slabs.interrupted() == nestlock::Floor::none;
    return there && cache->free(c) && cache->free_nolock(d) && slabs.destroy(cache) &&
           slabs.kfree(a) && slabs.kfree_nolock(b);
  }
  return true;
}

// Takes all that is left beside eight caches of the program's own.
template <int kPart>
std::uint32_t left() {
  std::uint32_t bytes = 0;
  if constexpr (kPart > 1) {
    slabs.shrink_all();
    for (std::size_t i = 0; i < kCaches; ++i)
      if (!slabs.create("one of eight", 16 + 8 * i)) return 0;
    while (pages.alloc_pages(gfp::kernel, 0)) bytes += nestlock::kPageSize;
  }
  return bytes;
}

}  // namespace

void machine::interrupt(Source, std::uintptr_t) { end(3); }

int main() {
  constexpr int kPart = FIRMWARE_PART;
  {
    const nestlock::Guard held(lock, nestlock::irq_save);
  }
  if constexpr (kPart > 0)
    if (pages.set_up({.start = memory, .size = sizeof memory}) != nestlock::PageSetup::ok) return 2;
  if constexpr (kPart > 1)
    if (!slabs.set_up(pages)) return 2;
  const bool right = pages_work<kPart>() && slabs_work<kPart>();
  const std::uint32_t usable = left<kPart>();
  firmware::print("a page's descriptor, bytes", nestlock::PageAllocator::kDescriptorBytes);
  firmware::print("a cache, bytes", sizeof(nestlock::KmemCache));
  firmware::print("the allocators' own objects, bytes", kOwn);
  firmware::print("usable of 65536 bytes, with eight caches", usable);
  firmware::print("corruption", !right);
  return right ? usable * 10 >= kAll * 9 ? 0 : 5 : 3;
}
