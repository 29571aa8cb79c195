#include "nestlock/malloc.h"

#include "heap.h"
#include "stats.h"

namespace heap = nestlock::heap;

void* nestlock_malloc(size_t size) noexcept { return heap::allocate(size); }
void* nestlock_calloc(size_t n, size_t size) noexcept { return heap::allocate_zeroed(n, size); }
void* nestlock_realloc(void* block, size_t size) noexcept { return heap::reallocate(block, size); }
void* nestlock_reallocarray(void* block, size_t n, size_t size) noexcept {
  return heap::reallocate_array(block, n, size);
}
void nestlock_free(void* block) noexcept { heap::free(block); }
void nestlock_free_sized(void* block, size_t size) noexcept {
  heap::free_sized(block, size, heap::kAlign, "free_sized");
}
void nestlock_free_aligned_sized(void* block, size_t align, size_t size) noexcept {
  heap::free_sized(block, size, align, "free_aligned_sized");
}

int nestlock_posix_memalign(void** block, size_t align, size_t size) noexcept {
  return heap::posix_memalign(block, align, size);
}
void* nestlock_aligned_alloc(size_t align, size_t size) noexcept {
  return heap::allocate_aligned(align, size);
}
void* nestlock_memalign(size_t align, size_t size) noexcept {
  return heap::allocate_aligned(align, size);
}
void* nestlock_valloc(size_t size) noexcept {
  return heap::allocate_aligned(heap::page_size(), size);
}
void* nestlock_pvalloc(size_t size) noexcept { return heap::allocate_pages(size); }

size_t nestlock_malloc_usable_size(const void* block) noexcept {
  return heap::usable_size(block, "malloc_usable_size");
}
int nestlock_malloc_trim(size_t) noexcept { return heap::trim(); }
size_t nestlock_malloc_stats(char* out, size_t size) noexcept {
  return heap::stats_text(out, size);
}
nestlock_malloc_counts_t nestlock_malloc_counts() noexcept {
  const heap::Counts c = heap::counts();
  return {c.committed, c.in_use, c.mapped, c.mapped_blocks, c.reserve_taken};
}
