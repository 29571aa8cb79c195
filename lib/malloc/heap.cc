#include "heap.h"

#include <sys/syscall.h>
#include <unistd.h>

#include <bit>
#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "bad_pointer.h"
#include "callers.h"
#include "nestlock/config/text.h"
#include "nestlock/port/hosted_once.h"
#include "nestlock/slab/mapped_blocks.h"
#include "reserve.h"

namespace nestlock::heap {
namespace {

using Port = HostedPort<kBuiltConfig>;
constexpr auto& slabs = internal::system_slab_object;

// What the program's environment asks for, of every block up to the largest class: NESTLOCK_MALLOC=debug watches
// it, NESTLOCK_MALLOC=hardened knows whether it is out.
slab flags() noexcept {
  const char* const asked = std::getenv("NESTLOCK_MALLOC");
  if (!asked || !*asked) return slab::none;
  if (std::strcmp(asked, "hardened") == 0) return slab::hardened;
  if (std::strcmp(asked, "debug") == 0) return callers::begin(), slab::debug;
  char text[128];
  internal::Text t(text, sizeof text - 1);
  t.put("nestlock malloc: NESTLOCK_MALLOC is neither debug nor hardened, but ").put(asked);
  text[t.length()] = '\n';
  syscall(SYS_write, STDERR_FILENO, text, t.length() + 1);
  return slab::none;
}

// False: this context interrupted it on its own thread.
bool set_up() noexcept { return internal::set_up_system_slab(flags); }

// Before everything that the program constructs, and before the slab floor's own.
[[gnu::constructor(101)]] void set_up_early() { set_up(); }

// Whether this call interrupted the allocator on its own thread where that holds a lock, so that it must
// not wait for one. The barns', lists' and zones' locks are held with irqs masked only; a handler that the
// library does not know comes all the same, and finds them masked. (The CPU's own locks are held with irqs
// on, but nobody waits for these.) Between the locks everything is as an interrupt may find it. Where
// SpinLock sleeps its holder masks nothing: there every lock is looked at.
bool must_not_wait() noexcept {
  if constexpr (kBuiltConfig.preempt_rt) return slabs.interrupted() != Floor::none;
  return Port::irqs_disabled();
}

void* no_memory() noexcept {
  errno = ENOMEM;
  return nullptr;
}

// Of calls that hold no lock. No gfp::reclaim: what it asks others to give back is theirs to be waited for, in task
// context only.
constexpr gfp kFlags = gfp::nowait | gfp::idle | gfp::nowarn;

// Null: not at hand, and what there is in this library's range of addresses is used up.
void* from_slabs(std::size_t size, bool nolock) noexcept {
  return nolock ? slabs.kmalloc_nolock(size, gfp::nowarn) : slabs.kmalloc(size, kFlags);
}

// A look whether free memory is to go back to the system. (The slab floor's own is for gfp::reclaim.)
void decay() noexcept {
  const int saved = errno;
  slabs.pages().decay();
  errno = saved;
}
// The same of a class, where few calls look.
void look_at_decay(std::size_t class_) noexcept {
  const int saved = errno;
  slabs.look_at_decay(class_);
  errno = saved;
}
// The process is about to grow by a mapping: what lies idle here is not to stay beside it. So vectors that grow
// beyond kLargest do not keep the pages that they come from.
void before_mapping(std::size_t size) noexcept {
  decay();
  slabs.pages().release_idle(size);
}

// By the nolock rules, then from the reserve, then the kernel: that one holds no lock of ours.
void* in_emergency(std::size_t size, std::size_t align, bool ready) noexcept {
  if (align > kAlign) size = std::bit_ceil(size < align ? align : size);
  void* p = ready ? from_slabs(size, true) : nullptr;
  if (!p) p = reserve::take(size);
  return p ? p : mapped_blocks::allocate(size, align);
}

// A debug block knows who has it, and the size that was asked for, which may be less than was taken for it.
void* allocated(void* p, std::size_t size, const void* caller) noexcept {
  if (p && callers::watched()) slabs.debug_resize(p, size), callers::allocated(p, caller);
  return p;
}

bool in_range(const void* block) noexcept { return slabs.pages().page_of(block) != nullptr; }

// Whether a fresh block of `size` bytes is zero: the system gives its memory so, and nobody had it since. (What lies in a
// slab may have been used.)
bool is_zero(const void* block, std::size_t size) noexcept {
  if (size <= SystemSlabAllocator::kLargestClass) return false;
  const auto* const page = slabs.pages().page_of(block);
  return page ? page->clean : size > kLargest;  // a mapping; else perhaps of the reserve
}

// 0: no block begins there.
std::size_t room_of(const void* block) noexcept {
  if (reserve::owns(block)) return reserve::size_of(block);
  return set_up() && in_range(block) ? slabs.ksize(block) : mapped_blocks::size_of(block);
}

// Whether `size` bytes may have been asked for where the block has that room. What realloc() left where it was
// may have twice as much, and what served in an emergency, or where the range was used up, has any.
bool may_fill(const void* block, std::size_t room, std::size_t size, std::size_t align) noexcept {
  if (!set_up() || !in_range(block)) return size <= room && (size > room / 2 || room <= kLargest);
  if (align > kAlign && align <= kLargest && size <= room)  // as allocate_aligned() asked
    size = std::bit_ceil(size < align ? align : size);
  return size <= room && size > room / 2;
}

// The thread's CPU is about to be another's. A handler that comes in between finds either `ending`, or `here` to be
// cleared yet. What the thread frees from now on, in its last destructors, takes the slow path. (Unused where no row is
// kept.)
[[maybe_unused]] constinit thread_local bool ending NESTLOCK_INTERNAL_TLS_MODEL = false;
[[maybe_unused]] bool watches_ends() noexcept {
  static constinit hosted::Once once;
  return once.run([]() noexcept {
    static constinit hosted::OfflineHook hook{[](hosted::OfflineHook&, unsigned) noexcept {
                                                ending = true;
                                                std::atomic_signal_fence(std::memory_order_seq_cst);
                                                here = &nobody;
                                              },
                                              nullptr, nullptr};
    hosted::on_cpu_offline(hook);
  });
}

// A call that came by the slow path, perhaps because it does not know yet what its CPU has.
void look_for_row() noexcept {
  if constexpr (kKeepsRow)
    if (here == &nobody && !ending && watches_ends())
      if (Row* const row = slabs.row_here()) here = row;
}

}  // namespace

// (Apart from what follows, so that it saves no register.)
void* allocate_unlooked(std::size_t size, const void* caller) noexcept {
  const std::size_t i =
      size <= 1024 ? kClassOf.by_16[(size + 15) / 16] : kClassOf.by_256[(size + 255) / 256];
  if (void* const p = slabs.kmalloc_unlooked(i)) return p;
  return allocate_slow(size, caller);
}

void* allocate_slow(std::size_t asked, const void* caller) noexcept {
  look_for_row();
  if (asked > PTRDIFF_MAX) return no_memory();
  const std::size_t size = asked < kAlign ? kAlign : asked;
  const bool of_class = size <= SystemSlabAllocator::kLargestClass;
  if (of_class)
    if (void* const p = slabs.kmalloc_near(ClassOf::of(size))) return p;
  const bool ready = set_up();
  void* p = nullptr;
  if (size <= kLargest) {
    if (!ready || must_not_wait()) {
      p = in_emergency(size, kAlign, ready);
    } else {
      of_class ? look_at_decay(ClassOf::of(size)) : decay();
      p = from_slabs(size, false);
    }
  } else if (ready && !must_not_wait()) {
    before_mapping(size);
  }
  if (!p) p = mapped_blocks::allocate(size, kAlign);
  return p ? allocated(p, asked, caller) : no_memory();
}

void free_slow(void* block, const char* call, const void* caller) noexcept {
  if (!block) return;
  look_for_row();
  if (slabs.kfree_near(block)) return;
  const int saved = errno;
  bool ours = false;
  const char* what = "no block begins there, or it is free already";
  if (reserve::owns(block)) {
    ours = reserve::give(block);
  } else if (set_up() && in_range(block)) {
    if (callers::watched()) callers::freed(block, caller);
    ours = must_not_wait() ? slabs.kfree_nolock(block) : slabs.kfree(block);
  } else {
    ours = mapped_blocks::release(block);
    what = "it lies nowhere in this allocator's memory";
  }
  if (!ours) bad_pointer(call, block, what, caller);
  if (set_up() && !must_not_wait()) slabs.pages().decay();
  errno = saved;
}

void free_sized_slow(void* block, std::size_t size, std::size_t align, const char* call,
                     const void* caller) noexcept {
  if (block && callers::watched()) {
    if (const auto* const t = slabs.debug_track(block)) {
      if (t->is_out() && t->asked != size)
        bad_size(call, block, size, SizeIs::asked_for, t->asked, caller);
    } else if (const std::size_t room = room_of(block);
               room && !may_fill(block, room, size, align)) {
      bad_size(call, block, size, SizeIs::room, room, caller);
    }
  }
  free_slow(block, call, caller);
}

std::size_t usable_size(const void* block, const char* call) noexcept {
  if (!block) return 0;
  if (callers::watched())
    if (const auto* const t = slabs.debug_track(block)) {
      if (!t->is_out()) bad_pointer(call, block, "it is free already");
      return t->asked;  // perhaps 0
    }
  const std::size_t size = room_of(block);
  if (!size) bad_pointer(call, block, "no block begins there");
  return size;
}

void* allocate_zeroed(std::size_t n, std::size_t size, const void* caller) noexcept {
  std::size_t bytes;
  if (__builtin_mul_overflow(n, size, &bytes)) return no_memory();
  void* const p = allocate(bytes, caller);
  if (p && !is_zero(p, bytes)) std::memset(p, 0, bytes);
  return p;
}

void* reallocate(void* block, std::size_t size, const void* caller) noexcept {
  if (!block) return allocate(size, caller);
  if (size > PTRDIFF_MAX) return no_memory();
  const std::size_t old = usable_size(block, "realloc");
  const bool fits = size <= old && (size > old / 2 || old <= 2 * kAlign);
  // A debug block is told of its new size. What lies behind the old one is room, too, as far as its class goes.
  if (callers::watched() && (fits || size > old) && slabs.debug_resize(block, size)) return block;
  if (fits) return block;
  // (Where the kernel cannot move it as a whole it is copied.)
  if (old > kLargest && size > kLargest && !in_range(block))
    if (void* const moved = mapped_blocks::resize(block, size)) return moved;
  // Pages of the slab floor's become more or fewer where they lie, if they can.
  constexpr std::size_t kClass = SystemSlabAllocator::kLargestClass;
  if (old > kClass && size > kClass && size <= kLargest && in_range(block) && !must_not_wait())
    if (void* const there = slabs.krealloc(block, size, kFlags)) return there;
  void* const fresh = allocate(size, caller);
  if (!fresh) return nullptr;
  std::memcpy(fresh, block, old < size ? old : size);
  free(block, "realloc", caller);
  return fresh;
}

void* reallocate_array(void* block, std::size_t n, std::size_t size, const void* caller) noexcept {
  std::size_t bytes;
  return __builtin_mul_overflow(n, size, &bytes) ? no_memory() : reallocate(block, bytes, caller);
}

void* allocate_aligned(std::size_t align, std::size_t size, const void* caller) noexcept {
  if (!std::has_single_bit(align)) {
    errno = EINVAL;
    return nullptr;
  }
  if (align <= kAlign) return allocate(size, caller);
  if (size > PTRDIFF_MAX || align > PTRDIFF_MAX) return no_memory();
  void* p = nullptr;
  if (size <= kLargest && align <= kLargest) {
    const bool ready = set_up();
    if (!ready || must_not_wait())
      p = in_emergency(size, align, ready);
    else
      p = from_slabs(std::bit_ceil(size < align ? align : size), false);  // aligned to its size
  } else if (set_up() && !must_not_wait()) {
    before_mapping(size);
  }
  if (!p) p = mapped_blocks::allocate(size, align);
  return p ? allocated(p, size, caller) : no_memory();
}

int posix_memalign(void** block, std::size_t align, std::size_t size, const void* caller) noexcept {
  if (!std::has_single_bit(align) || align % sizeof(void*)) return EINVAL;
  const int saved = errno;
  void* const p = allocate_aligned(align, size, caller);
  errno = saved;
  if (!p) return ENOMEM;
  *block = p;
  return 0;
}

std::size_t page_size() noexcept {
  const auto systems = static_cast<std::size_t>(getpagesize());
  return systems > kPageSize ? systems : kPageSize;
}

void* allocate_pages(std::size_t size, const void* caller) noexcept {
  if (size > PTRDIFF_MAX) return no_memory();
  const std::size_t page = page_size();
  return allocate_aligned(page, (size + page - 1) & ~(page - 1), caller);
}

bool trim() noexcept {
  if (!set_up() || must_not_wait()) return false;
  return slabs.trim() != 0;
}

Counts counts() noexcept {
  Counts c{};
  if (set_up()) {
    PageAllocator& pages = slabs.pages();
    for (unsigned n = 0; n < pages.nodes(); ++n) {
      const PageStats s = pages.stats(n);
      c.committed += s.committed * kPageSize;
      c.in_use += (s.committed - s.free - s.isolated - s.cached - s.parked) * kPageSize;
    }
  }
  const mapped_blocks::Counts m = mapped_blocks::counts();
  c.mapped = m.bytes;
  c.mapped_blocks = m.blocks;
  c.reserve_taken = reserve::taken();
  return c;
}

}  // namespace nestlock::heap
