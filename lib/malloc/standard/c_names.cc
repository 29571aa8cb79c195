// malloc and its kin under the C library's names: a program that links this, or is started with the
// shared library preloaded, allocates here. The C library itself then calls these, too.
#include <malloc.h>

#include <cstddef>
#include <cstdlib>

#include "../heap.h"
#include "../stats.h"

namespace heap = nestlock::heap;

static_assert(nestlock::kBuiltConfig.smp && !nestlock::kBuiltConfig.preempt_rt,
              "the standard names are for the configuration of programs with threads, smp");

namespace {
// Behind the program's own destructors, as far as it has no priorities.
[[gnu::destructor(101)]] void at_exit() {
  if (std::getenv("NESTLOCK_MALLOC_STATS")) heap::print_stats();
}
}  // namespace

// Whatever else is hidden: the C library and other libraries call these.
#pragma GCC visibility push(default)
extern "C" {

// These two the C library's headers do not declare yet.
void free_sized(void* block, std::size_t size) noexcept;
void free_aligned_sized(void* block, std::size_t align, std::size_t size) noexcept;

void* malloc(std::size_t size) noexcept { return heap::allocate(size); }
void free(void* block) noexcept { heap::free(block); }
void* calloc(std::size_t n, std::size_t size) noexcept { return heap::allocate_zeroed(n, size); }
void* realloc(void* block, std::size_t size) noexcept { return heap::reallocate(block, size); }
void* reallocarray(void* block, std::size_t n, std::size_t size) noexcept {
  return heap::reallocate_array(block, n, size);
}
void free_sized(void* block, std::size_t size) noexcept {
  heap::free_sized(block, size, heap::kAlign, "free_sized");
}
void free_aligned_sized(void* block, std::size_t align, std::size_t size) noexcept {
  heap::free_sized(block, size, align, "free_aligned_sized");
}

int posix_memalign(void** block, std::size_t align, std::size_t size) noexcept {
  return heap::posix_memalign(block, align, size);
}
void* aligned_alloc(std::size_t align, std::size_t size) noexcept {
  return heap::allocate_aligned(align, size);
}
void* memalign(std::size_t align, std::size_t size) noexcept {
  return heap::allocate_aligned(align, size);
}
void* valloc(std::size_t size) noexcept { return heap::allocate_aligned(heap::page_size(), size); }
void* pvalloc(std::size_t size) noexcept { return heap::allocate_pages(size); }

std::size_t malloc_usable_size(void* block) noexcept {
  return heap::usable_size(block, "malloc_usable_size");
}
int malloc_trim(std::size_t) noexcept { return heap::trim(); }
// Accepted: there is nothing of this kind to be chosen here.
int mallopt(int, int) noexcept { return 1; }
void malloc_stats() noexcept { heap::print_stats(); }
struct mallinfo2 mallinfo2() noexcept {
  const heap::Counts c = heap::counts();
  struct mallinfo2 m{};
  m.arena = c.committed;
  m.hblks = c.mapped_blocks;
  m.hblkhd = c.mapped;
  m.uordblks = c.in_use;
  m.fordblks = c.committed - c.in_use;
  return m;
}

}  // extern "C"
#pragma GCC visibility pop
