// An interrupt after every instruction: each operation below runs again and again from the same state,
// and each time the interrupt comes a step later, until it comes behind the end. One instruction takes longer
// than such a step (-icount), so no instruction is left out; a row of known length shows that. The
// handler tries the lock that the operation takes, allocates, frees, and keeps part of what it gets, since
// what is balanced would hide an error.
//
// FIRMWARE_LOCKS as in storm.cc. The first run that corrupts ends the sweep of its operation, and the program
// in the end with status 3; what a program cannot survive (a fault, no end) ends it at once. A sweep that leaves
// instructions out shows nothing, so it is none: status 4.
#include <cstdint>
#include <new>

#include "machine.h"
#include "nestlock/slab.h"
#include "nestlock/testing/unpromised_policies.h"
#include "print.h"

extern "C" {
extern char code_end[];
int main();
}

namespace {

using Locks = FIRMWARE_LOCKS<nestlock::BuiltKernel>;
using Pages = nestlock::BasicPageAllocator<nestlock::BuiltKernel, Locks>;
using Slabs = nestlock::BasicSlabAllocator<nestlock::BuiltKernel, Locks>;
using Word = nestlock::BuiltPort::Atomic<std::uint32_t>;
using List = nestlock::internal::LockFreeList<nestlock::BuiltKernel>;
using machine::Source;
using nestlock::gfp;

constexpr std::size_t kMost = 16 * 1024;  // so that a run is short
constexpr std::size_t kMemory = machine::kMemory < kMost ? machine::kMemory : kMost;
alignas(nestlock::kPageSize) constinit unsigned char memory[kMemory]{};
constinit Pages pages;
constinit Slabs slabs;
constinit typename Locks::Zone lock;
constinit std::uint32_t one = 0, two = 0;  // guarded by it: equal outside of sections

// What stands behind what interrupting contexts leave behind, without a lock.
constinit Word sum{0};
constinit List list;
constinit std::uint32_t links[2]{};
constinit bool task_left = false, handler_left = false;
void leave(std::uint32_t node) {
  sum.fetch_add(node + 1, std::memory_order_relaxed);
  list.push(node, [](std::uint32_t n) -> std::uint32_t& { return links[n]; });
}
// Both are there, or who did leave something.
bool all_left() {
  std::uint32_t found = 0;
  for (std::uint32_t n = list.take_all(); n != List::kNil; n = links[n]) found += n + 1;
  const std::uint32_t left = task_left + 2 * handler_left;
  return found == left && sum.load() == left;
}

struct Counts {
  std::uint32_t runs, boundaries, inside, refused, granted, served, not_served, corrupted;
};
constinit Counts counts{};
constinit volatile std::uint32_t interrupts = 0;  // of this run
constinit volatile bool running = false;          // the operation
constinit std::uintptr_t last_pc = 0;             // that was interrupted; 0: none yet
constinit bool hit = false;                       // the operation, in this run
constinit bool corrupted = false;                 // this run

[[noreturn]] void finish(unsigned status) {
  machine::timer(0);
  machine::inject_after(0);
  firmware::print("interrupts injected", counts.runs);
  firmware::print("instruction boundaries swept", counts.boundaries);
  firmware::print("  inside a locked section", counts.inside);
  firmware::print("nested trylocks refused", counts.refused);
  firmware::print("nested trylocks granted", counts.granted);
  firmware::print("nested allocations served", counts.served);
  firmware::print("nested allocations refused", counts.not_served);
  firmware::print("corruption", counts.corrupted);
  machine::end(status);
}
[[noreturn]] void broken(const char* what) {
  machine::put(what), machine::put("\n");
  ++counts.corrupted;
  finish(3);
}
[[noreturn]] void not_done(const char* what) {
  machine::put("the sweep could not be done: ");
  machine::put(what);
  machine::put(
      "\nAn instruction must take longer than kTickStep ticks (-icount shift: 2^shift ns), and the "
      "first\n"
      "interrupt come before the row begins (lower kFirstTick): see "
      "examples/firmware/README.md.\n");
  finish(4);
}
void insist(bool right) {
  if (!right) corrupted = true;
}

void section() {
  insist(one == two);
  one = one + 1;
  asm volatile("" : : : "memory");
  two = two + 1;
}

// Memory that somebody has, with his stamp at both ends.
struct Held {
  unsigned char* at = nullptr;
  std::uint32_t size = 0;
  unsigned char stamp = 0;

  void got(void* p, std::uint32_t bytes, unsigned char mark) {
    at = static_cast<unsigned char*>(p), size = bytes, stamp = mark;
    if (at) at[0] = at[size - 1] = stamp;
  }
  bool intact() const { return at[0] == stamp && at[size - 1] == stamp; }
};

constexpr std::uint32_t kObject = 40;     // what is there before each run ...
constinit std::uint32_t asked = kObject;  // ... and what is asked for in it
constinit Held kept_page, kept_object;    // the handler's
constinit void* object_for_handler = nullptr;
constinit Pages::Page* page_for_handler = nullptr;
constinit unsigned handlers_order = 0;  // of the block that it asks for

void count_served(const void* p) { ++(p ? counts.served : counts.not_served); }

// What an interrupting context does: see the top.
void nested() {
  leave(1), handler_left = true;
  if (lock.is_locked() || slabs.interrupted() != nestlock::Floor::none) ++counts.inside;
  if (lock.try_lock()) {
    ++counts.granted;
    section();
    lock.unlock();
  } else {
    ++counts.refused;
  }
  Pages::Page* const page = pages.alloc_pages_nolock(gfp::none, handlers_order);
  kept_page.got(page ? pages.address(page) : nullptr, nestlock::kPageSize << handlers_order, 0xa1);
  count_served(page);
  kept_object.got(slabs.kmalloc_nolock(asked, gfp::none), asked, 0xa2);
  count_served(kept_object.at);
  void* const brief = slabs.kmalloc_nolock(asked, gfp::none);
  count_served(brief);
  insist(slabs.kfree_nolock(brief));
  insist(slabs.kfree_nolock(object_for_handler));
  insist(pages.free_pages_nolock(page_for_handler, 0));
  object_for_handler = nullptr;
  page_for_handler = nullptr;
}

// The same state before each run.
void prepare(bool warm) {
  ::new (&pages) Pages;
  ::new (&slabs) Slabs;
  ::new (&lock) typename Locks::Zone;
  one = two = 0;
  sum.store(0);
  task_left = handler_left = false;
  kept_page = kept_object = {};
  corrupted = false;
  insist(pages.set_up({.start = memory, .size = sizeof memory}) == nestlock::PageSetup::ok);
  insist(slabs.set_up(pages));
  page_for_handler = pages.alloc_pages(gfp::kernel, 0);
  object_for_handler = slabs.kmalloc(kObject, gfp::kernel);
  if (warm) {
    insist(slabs.kfree(slabs.kmalloc(kObject, gfp::kernel)));
    insist(pages.free_pages(pages.alloc_pages(gfp::kernel, 0), 0));
  }
  insist(page_for_handler && object_for_handler);
}

// How often what interrupted found a lock of the allocators held. (The lean form does not count it; there it is
// told by `inside` and the trylocks alone.)
std::uint32_t found_held() {
  const nestlock::PageStats p = pages.stats(0);
  const nestlock::SlabStats s = slabs.kmalloc_cache(Slabs::class_of(asked)).stats();
  std::uint32_t sum = s.local_busy + s.barn_busy + s.list_busy;
  for (unsigned context = 1; context < 4; ++context)
    sum += p.pcp_busy[context] + p.zone_busy[context];
  return sum;
}

// Everything is given back, and everything is there.
void check() {
  counts.refused += found_held();
  if (kept_page.at) insist(kept_page.intact() && pages.free_at(kept_page.at, handlers_order));
  if (kept_object.at) insist(kept_object.intact() && slabs.kfree(kept_object.at));
  if (page_for_handler) insist(pages.free_pages(page_for_handler, 0));
  if (object_for_handler) insist(slabs.kfree(object_for_handler));
  insist(one == two && all_left());
  insist(slabs.kmalloc_cache(Slabs::class_of(asked)).consistent() && pages.consistent());
  slabs.shrink_all();
  pages.drain_all_pages();
  insist(pages.stats(0).free == pages.pages());
}

// So many instructions of nothing.
#define TEN "nop\nnop\nnop\nnop\nnop\nnop\nnop\nnop\nnop\nnop\n"
constexpr std::uint32_t kRow = 50;
constexpr unsigned kLongest = 1'000'000;  // turns of waiting for an interrupt
constexpr std::uint32_t kBefore = 2000;   // steps before an operation begins, at most
[[gnu::noinline]] void row() { asm volatile(TEN TEN TEN TEN TEN : : : "memory"); }

using Operation = void (*)();

// Sweeps one operation and returns how many of its boundaries were hit. What is hit twice in a row is one
// boundary: two ticks fell on it.
std::uint32_t sweep(const char* name, bool warm, Operation operation) {
  const std::uint32_t before = counts.boundaries;
  last_pc = 0;
  for (std::uint32_t ticks = machine::kFirstTick, behind = 0; behind < 3;
       ticks += machine::kTickStep) {
    prepare(warm);
    interrupts = 0;
    hit = false;
    machine::timer(1'000'000);  // a run that does not end
    machine::inject_after(ticks);
    row(), row();  // or the first ticks would be gone before the operation begins
    running = true;
    operation();
    running = false;
    // An interrupt that is held back for ever does not come here either.
    for (unsigned turns = 0; interrupts == 0 && turns < kLongest; ++turns) asm volatile("");
    ++counts.runs;
    if (interrupts != 1) not_done(interrupts ? "two interrupts in a run" : "no interrupt in a run");
    check();
    machine::timer(0);
    if (corrupted) {
      ++counts.corrupted;
      break;
    }
    behind = hit || last_pc == 0 ? 0 : behind + 1;
    if (last_pc == 0 && ticks > machine::kFirstTick + kBefore * machine::kTickStep)
      not_done("no interrupt came in an operation");
  }
  firmware::print(name, counts.boundaries - before);
  return counts.boundaries - before;
}

// ---- the operations ----

[[gnu::noinline]] void try_lock() {
  if (lock.try_lock()) {
    section();
    lock.unlock();
  }
}
[[gnu::noinline]] void lock_free() { leave(0), task_left = true; }
[[gnu::noinline]] void lock_masked() {
  nestlock::Guard held(lock, nestlock::irq_save);
  section();
}
template <unsigned kOrder>
[[gnu::noinline]] void alloc_pages() {
  Pages::Page* const page = pages.alloc_pages(gfp::kernel, kOrder);
  if (!page) return insist(false);
  Held mine;
  mine.got(pages.address(page), nestlock::kPageSize << kOrder, 0xb1);
  insist(mine.intact() && pages.free_pages(page, kOrder));
}
[[gnu::noinline]] void alloc_pages_nolock() {
  Pages::Page* const page = pages.alloc_pages_nolock(gfp::none, 0);
  if (!page) return insist(false);
  Held mine;
  mine.got(pages.address(page), nestlock::kPageSize, 0xb2);
  insist(mine.intact() && pages.free_pages_nolock(page, 0));
}
[[gnu::noinline]] void kmalloc() {
  Held mine;
  mine.got(slabs.kmalloc(asked, gfp::kernel), asked, 0xb3);
  insist(mine.at && mine.intact() && slabs.kfree(mine.at));
}
[[gnu::noinline]] void kmalloc_nolock() {
  Held mine;
  mine.got(slabs.kmalloc_nolock(asked, gfp::none), asked, 0xb4);
  insist(mine.at && mine.intact() && slabs.kfree_nolock(mine.at));
}

}  // namespace

void machine::interrupt(Source source, std::uintptr_t pc) {
  if (source == Source::fault) broken("a fault");
  if (source != machine::kInjected) broken("a run that does not end");
  machine::inject_after(0);
  interrupts = interrupts + 1;
  if (!running) return;
  if (pc != last_pc) ++counts.boundaries;
  last_pc = pc;
  hit = true;
  nested();
}

int main() {
  // Its last instruction returns; before and behind it `running` is set.
  if (sweep("a row of 50 instructions", false, row) < kRow + 1)
    not_done("instructions were left out");
  sweep("try_lock, unlock", false, try_lock);
  sweep("lock and unlock, irqs masked", false, lock_masked);
  sweep("a lock-free count and list", false, lock_free);
  sweep("alloc_pages, free_pages, from the CPU's list", true, alloc_pages<0>);
  handlers_order = 2;  // of which the CPU has none either
  sweep("alloc_pages, free_pages, from the zone", false, alloc_pages<4>);
  handlers_order = 0;
  sweep("alloc_pages_nolock, free_pages_nolock", false, alloc_pages_nolock);
  constexpr bool kLean = nestlock::kLean;  // it has no sheaves
  sweep(kLean ? "kmalloc, kfree, from the list" : "kmalloc, kfree, from the CPU's sheaf", true,
        kmalloc);
  sweep(kLean ? "kmalloc_nolock, kfree_nolock, from the list"
              : "kmalloc_nolock, kfree_nolock, from the CPU's sheaf",
        true, kmalloc_nolock);
  asked = 100;
  sweep(kLean ? "kmalloc, kfree, by a new slab" : "kmalloc, kfree, by a new slab and sheaf", false,
        kmalloc);
  sweep("kmalloc_nolock, kfree_nolock, by a new slab", false, kmalloc_nolock);
  if (!counts.corrupted && !(counts.inside && counts.refused && counts.granted && counts.served))
    not_done("a count is nought");
  finish(counts.corrupted ? 3 : 0);
}
