// An arena of your own: a page allocator and a slab allocator over memory that you give.
//
// Shows: PageAllocator and SlabAllocator set up on a static array: a quota, a firmware's RAM, a pool
//        that is given up as a whole. The process's own allocators are not linked at all.
// For:   firmware (nothing here needs a system), plug-ins with a budget, tests.
// Build: g++ -std=c++20 -Iinclude -DNESTLOCK_CONFIG=up examples/own_arena.cc
//            lib/page/page.cc lib/slab/slab.cc -o own_arena
// Prints:
//   arena: 1024 KiB given, 1004 KiB for pages
//   packets of 256 bytes until it is full: ~3984, then null
//   the other arena still serves: yes
//   nothing is out: yes; consistent: yes
//   free: ~1000 KiB before, ~996 KiB now
//   destroyed: yes
#include <cstdio>

#include "nestlock/page.h"
#include "nestlock/slab.h"

// A BasicPageAllocator<Kernel> of the configuration that is built has the name PageAllocator, and so
// on; page.cc and slab.cc have their code, once.
class Arena {
 public:
  // Whole pages inside the memory are used. 64 bytes of descriptor for each page come off its start,
  // unless PageMemory::descriptors says where else. No commit function: all of it is usable at once.
  bool set_up(void* memory, std::size_t size) {
    return pages_.set_up({.start = memory, .size = size}) == nestlock::PageSetup::ok &&
           slab_.set_up(pages_);
  }
  nestlock::SlabAllocator& slab() { return slab_; }
  unsigned usable_kib() const { return kib(pages_.stats(0).present); }
  unsigned free_kib() {
    pages_.drain_all_pages();  // what this CPU keeps at hand, back to the buddy
    return kib(pages_.stats(0).free);
  }
  bool consistent() { return pages_.consistent() && slab_.consistent(); }

 private:
  static unsigned kib(std::uintptr_t pages) {
    return static_cast<unsigned>(pages * nestlock::kPageSize / 1024);
  }
  nestlock::PageAllocator pages_;
  nestlock::SlabAllocator slab_;
};

struct Packet {
  Packet* next;
  char payload[248];
};

const char* yes(bool b) { return b ? "yes" : "NO"; }

int main() {
  constexpr std::size_t kSize = std::size_t{1} << 20;
  alignas(4096) static char memory[2][kSize];
  static Arena arena, other;  // they hold an entry for each CPU: large, and better not on a stack
  if (!arena.set_up(memory[0], kSize) || !other.set_up(memory[1], kSize)) return 1;
  std::printf("arena: %zu KiB given, %u KiB for pages\n", kSize / 1024, arena.usable_kib());

  // A cache: objects of one size, no header, no rounding up to a kmalloc class.
  nestlock::KmemCache* const packets = arena.slab().create("packets", sizeof(Packet));
  if (!packets) return 1;
  const unsigned free_before = arena.free_kib();

  Packet* all = nullptr;
  unsigned count = 0;
  while (void* const memory_of_one = packets->alloc(nestlock::gfp::kernel)) {
    all = new (memory_of_one) Packet{all, {}};
    ++count;
  }
  std::printf("packets of %zu bytes until it is full: %u, then null\n", sizeof(Packet), count);

  void* const elsewhere = other.slab().kmalloc(sizeof(Packet), nestlock::gfp::kernel);
  std::printf("the other arena still serves: %s\n", yes(elsewhere != nullptr));
  other.slab().kfree(elsewhere);

  while (Packet* const packet = all) {
    all = packet->next;
    packets->free(packet);
  }
  std::uintptr_t out = 1;
  const bool fine = packets->consistent(&out) && arena.consistent();
  std::printf("nothing is out: %s; consistent: %s\n", yes(out == 0), yes(fine));

  // Sheaves and empty slabs go back to the pages. What is still missing is the slab that the sheaves
  // themselves came from: it stays, for the next cache's.
  packets->shrink();
  std::printf("free: %u KiB before, %u KiB now\n", free_before, arena.free_kib());
  std::printf("destroyed: %s\n", yes(arena.slab().destroy(packets)));
}
