#include "stats.h"

#include <sys/syscall.h>
#include <unistd.h>

#include "callers.h"
#include "heap.h"
#include "nestlock/config/text.h"

namespace nestlock::heap {

std::size_t stats_text(char* out, std::size_t size) noexcept {
  internal::Text t(out, size);
  const Counts c = counts();
  const auto bytes = [&t](const char* what, std::size_t n) {
    t.put("  ").put(what, 34).number(n, 14).put(" bytes\n");
  };
  t.put("nestlock malloc:\n");
  bytes("writable memory for small blocks", c.committed);
  bytes("of these in use, in whole pages", c.in_use);
  bytes("large blocks, mapped one by one", c.mapped);
  t.put("  ").put("large blocks", 34).number(c.mapped_blocks, 14).put("\n");
  t.put("  ").put("taken of the emergency reserve", 34).number(c.reserve_taken, 14).put("\n");
  t.put("  size      blocks out        allocated           slabs made   put aside in handlers\n");
  for (unsigned i = 0; i < SystemSlabAllocator::kClasses; ++i) {
    const KmemCache& cache = internal::system_slab_object.kmalloc_cache(i);
    const SlabStats s = cache.stats();
    if (!s.allocs()) continue;
    t.number(cache.object_size(), 6).number(s.allocs() - s.frees(), 16).number(s.allocs(), 17);
    t.number(s.new_slabs, 22).number(s.deferred, 24).put("\n");
  }
  return t.length();
}

void print_stats() noexcept {
  char text[8192];
  syscall(SYS_write, STDERR_FILENO, text, stats_text(text, sizeof text));
  if (callers::watched())
    syscall(SYS_write, STDERR_FILENO, text, callers::still_out(text, sizeof text));
}

}  // namespace nestlock::heap
