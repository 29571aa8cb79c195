// The slab allocator: kmalloc and its kin, and caches of objects of one size.
//
// How the objects relate (the newest kernel design, without its per-slab lock-free freelists):
//
//   CPU    main sheaf, spare sheaf   arrays of free objects; taken under the CPU's LocalTryLock
//   node   barn                      full and empty sheaves, exchanged for a CPU's; the barn lock
//          partial list              the slabs that have free objects; the list lock
//   slab   2^order pages             its free objects are a list, changed in bulk; the list lock
//
// An object in a sheaf is free for the user but taken as far as its slab knows.
//
// Locks and their order (outer first):
//   1. local    a CPU's sheaves: try_lock with irqs ON, by any context of that CPU
//   2. barn     inside it, irqs masked
//   -  list     alone, irqs masked: sheaves are filled and flushed with the local lock given back
//   -  the page floor's, alone
// So an interrupting context finds at most local + barn, or the list, or a page lock busy, never
// all; and no hook of the user runs under any of them.
//
// Whether a path may spin is decided by the alloc flags of the call (SlabAlloc::nolock), never by
// gfp bits: those are taken away from every caller in early boot (gfp_allowed_mask).
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>

#include "nestlock/page.h"
#include "nestlock/slab/cache.h"
#include "nestlock/slab/class_rows.h"
#include "nestlock/slab/types.h"

namespace nestlock {

// `Classes`: the sizes of kmalloc()'s classes (slab/classes.h), of the kernel's unless it is given.
template <Kernel K, LockPolicy L, class Classes>
class BasicSlabAllocator {
 public:
  // The types that go with the parameters.
  using Cache = BasicKmemCache<K, L>;
  using Pages = BasicPageAllocator<K, L>;
  using Page = BasicPage<K>;
  using Place = internal::PlaceOf<K>;

  // All zeros: an allocator of static storage takes no room in a program's file.
  constexpr BasicSlabAllocator() noexcept = default;
  BasicSlabAllocator(const BasicSlabAllocator&) = delete;
  BasicSlabAllocator& operator=(const BasicSlabAllocator&) = delete;

  // Once, before any other call; `pages` lives as long. False: no memory.
  // `flags` are those of the kmalloc caches.
  bool set_up(Pages& pages, slab flags = slab::none) noexcept;

  // Once, after set_up(): where kmalloc() and its kin have what is larger than the largest block of pages.
  // `larger` lives as long. Null, and before: nowhere.
  void set_larger(const LargerBlocks* larger) noexcept
    requires(!internal::kLeanOf<K>)
  {
    larger_ = larger;
  }

  // Class sizes: as the table says; larger ones are whole pages, and what is larger than the largest
  // block (4 MiB) a mapping of its own where there is a system (system_slab()), which needs gfp::wake.
  // Natural alignment for a size that is a power of two, up to the largest block (4 MiB), whatever
  // the memory of the pages is aligned to, in debug caches, too; pages for what is more than the
  // largest class; else 8. kmalloc(0) is kZeroSize, which may be freed.
  static constexpr unsigned kClasses = internal::ClassTable<Classes>::kCount;
  static constexpr std::size_t kLargestClass = internal::ClassTable<Classes>::kLargest;
  static constexpr std::uint32_t class_size(unsigned i) noexcept { return Classes::kSizes[i]; }
  // The class that serves `size`.
  static constexpr unsigned class_of(std::size_t size) noexcept {
    unsigned i = 0;
    while (class_size(i) < size) ++i;
    return i;
  }
  // What kmalloc(0) returns: not null, and not to be written to.
  static inline void* const kZeroSize = reinterpret_cast<void*>(16);

  // `size` bytes; null if there is no memory. Contexts: those of TrySpinLock::lock(); with gfp::reclaim
  // task only. kzalloc() gives zeroes.
  void* kmalloc(std::size_t size, gfp flags, Place where = Place::here()) noexcept;
  // The fast path of kmalloc() alone, of class `i` < kClasses, for a front end with slow paths of its own: an
  // object that lies in this CPU's sheaf, else null. Any context; also before set_up().
  [[gnu::always_inline]] void* kmalloc_at_hand(std::size_t i) noexcept
    requires(!internal::kLeanOf<K>);
  // The same for a front end that keeps by itself where its CPU has its sheaves, which is no call and no sum: row_here(),
  // null where the task has no CPU yet, holds until its CPU is offline. In a row of zeros nothing is at hand.
  using Row = typename internal::ClassRows<K, L, kClasses>::Row;
  Row* row_here() noexcept
    requires(!internal::kLeanOf<K>);
  [[gnu::always_inline]] void* kmalloc_at_hand(std::size_t i, Row& row) noexcept
    requires(!internal::kLeanOf<K>);
  [[gnu::always_inline]] bool kfree_at_hand(void* p, Row& row) noexcept
    requires(!internal::kLeanOf<K>);
  // The same while free memory waits for its return to the system; null where this CPU is to look whether it is due.
  [[gnu::always_inline]] void* kmalloc_unlooked(std::size_t i) noexcept
    requires(!internal::kLeanOf<K>);
  // For the slow path of such a front end: an object of this CPU's sheaves or the barn's, else null. Where free memory
  // waits for its return to the system some calls get null, and are to call look_at_decay(), in task context: each ninth,
  // of many in a millisecond each 129th.
  void* kmalloc_near(std::size_t i) noexcept
    requires(!internal::kLeanOf<K>);
  // The page floor's decay(), where it is due; else some allocations may pass without another look at the clock.
  void look_at_decay(std::size_t i) noexcept
    requires(!internal::kLeanOf<K>)
  {
    classes_[i].look_at_decay();
  }
  void* kzalloc(std::size_t size, gfp flags, Place where = Place::here()) noexcept {
    return kmalloc(size, flags | gfp::zero, where);
  }
  // Any context. Tries the size's class, then the next larger one once (for a power of two the next
  // that is one), then null; never spins.
  void* kmalloc_nolock(std::size_t size, gfp flags, int node = kAnyNode, SlabRefusal* why = nullptr,
                       Place where = Place::here()) noexcept;
  // Of kmalloc() and kmalloc_nolock() alike; null and kZeroSize do nothing. False: not ours.
  bool kfree(void* p, Place where = Place::here()) noexcept;
  // The fast path of kfree() alone: false, and nothing done, where `p` does not go into this CPU's sheaf
  // at once, for whatever reason. Any context; also before set_up().
  [[gnu::always_inline]] bool kfree_at_hand(void* p) noexcept
    requires(!internal::kLeanOf<K>);
  // For its slow path: whether `p` went into this CPU's sheaves. False: nothing changed.
  bool kfree_near(void* p) noexcept
    requires(!internal::kLeanOf<K>);
  // kfree(), in its contexts and at its cost, of what was asked for with `size`. Debug kernels and
  // caches report another size (wrong_size) and free p all the same, as what it is.
  bool kfree_sized(void* p, std::size_t size, Place where = Place::here()) noexcept;
  // Any context. Also for kmalloc() objects: nothing here needs the kernel's prohibition.
  bool kfree_nolock(void* p, Place where = Place::here()) noexcept;
  // Each of them, as by kfree().
  void kfree_bulk(std::size_t n, void** objects) noexcept {
    for (std::size_t i = 0; i < n; ++i) kfree(objects[i]);
  }
  // Bytes usable at p; 0 for null and kZeroSize, and for what is not ours. Of debug caches the size
  // that was asked for: what lies behind is watched.
  std::size_t ksize(const void* p) noexcept;
  // Keeps the contents up to the smaller size, and the alignment that kmalloc(size) promises; in place
  // where that needs no other class. With gfp::zero what is new is zero, if every call for this memory
  // had it. Null leaves p as it was: no memory, or p is not ours (reported in debug).
  void* krealloc(void* p, std::size_t size, gfp flags, Place where = Place::here()) noexcept;

  // Null, also where n * size is no std::size_t.
  void* kmalloc_array(std::size_t n, std::size_t size, gfp flags,
                      Place where = Place::here()) noexcept {
    std::size_t bytes = 0;
    return __builtin_mul_overflow(n, size, &bytes) ? nullptr : kmalloc(bytes, flags, where);
  }
  void* kcalloc(std::size_t n, std::size_t size, gfp flags, Place where = Place::here()) noexcept {
    return kmalloc_array(n, size, flags | gfp::zero, where);
  }
  // From this node if it has memory, else from another; with gfp::thisnode not from another. Null, too,
  // where there is no such node. More than the largest class comes from any node.
  void* kmalloc_node(std::size_t size, gfp flags, int node, Place where = Place::here()) noexcept;
  // Aligned to `align`, a power of two, up to the largest block (4 MiB) where there is no system: takes the
  // next power of two that holds both, or whole pages beyond that block. Null for another alignment.
  void* kmalloc_aligned(std::size_t size, std::size_t align, gfp flags,
                        Place where = Place::here()) noexcept;
  // The bytes that kmalloc(size) really has; 0 for 0 and for what is larger than the largest block.
  static constexpr std::size_t kmalloc_size_roundup(std::size_t size) noexcept {
    if (size - 1 < kLargestClass) return class_size(Table::index_of(size));
    return kLean ? kPageSize << order_for(size) : pages_for(size) * kPageSize;
  }

  // Task context. Null: bad size or alignment, or no memory. `name` must live as long.
  Cache* create(const char* name, std::size_t size, std::size_t align = 0, slab flags = slab::none,
                typename Cache::Constructor ctor = nullptr, unsigned sheaf_capacity = 0) noexcept;
  // Task context; nobody uses the cache any more, on any CPU, and those uses happened before this
  // call (so other CPUs' sheaves may be emptied from here). False: objects are still out, and the cache
  // stays; or it is no cache of create()'s, or destroyed already (reported in debug). Null does nothing.
  bool destroy(Cache* cache) noexcept;

  // Task context, may spin: shrink() of every cache, kmalloc's and created ones. Returns how many slabs
  // went back to the page floor. Set up as a shrinker of the pages, so that an allocation with
  // gfp::reclaim asks for it before it fails. Other CPUs' sheaves are emptied, too, whether their tasks run or not,
  // but for those in the middle of a call, and on ports without barrier_on_all_cpus().
  std::size_t shrink_all() noexcept;
  // Task context, may spin: shrink_all(), then trim() of the pages: all that is free goes back to the
  // system. Returns bytes.
  std::size_t trim() noexcept
    requires(!internal::kLeanOf<K>);
  // Any context, never spins: settle() of kmalloc's caches. True: nothing waits to be settled there.
  bool settle() noexcept;

  // ---- fork(), and threads that are gone ----
  // Around a fork(): as BasicPageAllocator's, with the pages'. The child gets back what lay in other CPUs'
  // sheaves. system_slab() does it by itself (not for _Fork() and clone()).
  void before_fork() noexcept;
  void after_fork(bool child) noexcept;
  // Any context: the thread of this CPU is gone, and nobody has it yet. What it was in the middle of is
  // abandoned.
  void cpu_lost(unsigned cpu) noexcept;

  // Which floor this context interrupted, the innermost: kmalloc's caches and the pages below (of a
  // cache of create()'s ask that cache). Any context; see BasicPageAllocator::interrupted(). Some
  // four loads a class.
  Floor interrupted() const noexcept;

  // What a debug cache of kmalloc's keeps of the object `p`; null for all else. And f(p, of it) for each
  // that is out, while nothing else runs (beside other threads some may be missed, or be gone by then).
  internal::SlabTrack<K>* debug_track(const void* p) noexcept
    requires(!internal::kLeanOf<K>);
  template <class F>
  void each_debug_object_out(F f) noexcept;
  // Such an object that is out counts as asked for with `size` from now on, and what lies behind is red zone: for
  // a floor above that asks for more than its own caller did, or that changes the size of what stays where it is.
  // Any context. False, and nothing done: there is no room for `size`, or it is something else.
  bool debug_resize(void* p, std::size_t size) noexcept
    requires(!internal::kLeanOf<K>);

  // What it stands on; and the cache of class `i`, of kClasses.
  Pages& pages() noexcept { return *pages_; }
  Cache& kmalloc_cache(unsigned i) noexcept { return classes_[i]; }
  // For the port's CPU offline hook: gives back what this (the calling) CPU has cached.
  void flush_cpu() noexcept
    requires(!internal::kLeanOf<K>);
  bool consistent() noexcept;
  // In the manner of /proc/slabinfo, as many rows as there is room for; returns the length. Task context.
  // create() and destroy() go on beside it: a cache that either is about may be missing.
  std::size_t slabinfo(char* out, std::size_t size) noexcept
    requires(!internal::kLeanOf<K>);

 private:
  using Table = internal::ClassTable<Classes>;
  using Found = internal::PerCpuFound<K, internal::CpuSheaves<K, L>>;
  static constexpr std::uint32_t pages_for(std::size_t size) noexcept {  // 0: too large
    return size > kPageSize << kMaxOrder
               ? 0
               : static_cast<std::uint32_t>((size + kPageSize - 1) >> kPageShift);
  }
  static unsigned next_index(std::size_t size) noexcept;
  void* kmalloc_trying(std::size_t size, gfp flags, int node, SlabRefusal* why,
                       Place where) noexcept;
  // The order of the block that holds so many bytes, at least a page.
  static constexpr unsigned order_for(std::size_t size) noexcept {
    unsigned order = 0;
    while ((kPageSize << order) < size) ++order;
    return order;
  }
  void* kmalloc_lean(std::size_t size, gfp flags, SlabAlloc alloc_flags, int node,
                     SlabRefusal* why) noexcept
    requires(internal::kLeanOf<K>);
  bool kfree_lean(void* p, bool may_spin, Place where) noexcept
    requires(internal::kLeanOf<K>);
  // Whether krealloc() to `size` leaves what has room for `room` bytes where it is.
  static constexpr bool fits_in_place(std::size_t size, std::size_t room) noexcept {
    return size <= room && size > room / 2;
  }
  // By a page's tag; see ClassRows.
  [[gnu::always_inline]] typename Cache::Slots slots([[maybe_unused]] std::size_t tag) noexcept;
  [[gnu::always_inline]] const typename Cache::Word& attention(std::size_t tag) noexcept;
  [[gnu::always_inline]] void* kmalloc_of(std::size_t i, std::size_t size, gfp flags, int node,
                                          Place where) noexcept;
  [[gnu::always_inline]] bool free_fast(std::size_t tag, void* p) noexcept
    requires(!internal::kLeanOf<K>);
  // (`p` first, so that it stays where the fast path got it.)
  static bool free_spinning(void* p, BasicSlabAllocator& slabs, Place where) noexcept
    requires(!internal::kLeanOf<K>);
  static bool free_trying(void* p, BasicSlabAllocator& slabs, Place where) noexcept
    requires(!internal::kLeanOf<K>);
  bool free_other(Page* page, void* p, bool may_spin, Place where) noexcept;
  void check_size(void* p, std::size_t size, Place where) noexcept
    requires(!internal::kLeanOf<K>);
  void enlist(Cache& c) noexcept;
  template <class F>
  void each_cache(bool created, F f) noexcept;
  template <class F>
  void each_created(F f) noexcept;
  using ListIrq = internal::TagFor<typename L::List, IrqSave>;
  void delist(Cache& c) noexcept;
  using Group = internal::CacheGroup<K, Cache>;
  bool join_group(Cache& c) noexcept
    requires(!internal::kLeanOf<K>);
  void leave_group(Cache& c) noexcept
    requires(!internal::kLeanOf<K>);
  void free_groups(Group* gone) noexcept
    requires(!internal::kLeanOf<K>);
  template <class F>
  void each_used_here(F f) noexcept
    requires(!internal::kLeanOf<K>);
  bool is_created(Cache* cache) noexcept;
  struct Reclaim : Shrinker {
    BasicSlabAllocator* slabs = nullptr;
  };
  struct Decay : DecayHook {
    BasicSlabAllocator* slabs = nullptr;
  };
  void* alloc_large(std::size_t size, gfp flags, Place where) noexcept;
  static constexpr bool is_larger(std::size_t size) noexcept {
    return size > kPageSize << kMaxOrder;
  }
  void* alloc_larger(std::size_t size, std::size_t align, gfp flags) noexcept;
  void* resize_larger(void* p, std::size_t size, gfp flags) noexcept
    requires(!internal::kLeanOf<K>);
  bool resized_in_place(void* p, std::size_t size, gfp flags) noexcept;
  Page* page_looked_for(void* p) noexcept
    requires(!internal::kLeanOf<K>);

  Pages* pages_ = nullptr;
  PageTags tags_;
  // As many as were known at the last look: a free beyond looks again. Read as a plain word, for GCC compares no atomic
  // in one instruction: it is aligned and only grows, and whatever was there to be read is true.
  std::uintptr_t tagged_ = 0;
  std::uintptr_t tagged() const noexcept {
    return internal::kWithTsan ? __atomic_load_n(&tagged_, __ATOMIC_RELAXED) : tagged_;
  }
  const LargerBlocks* larger_ = nullptr;
  Reclaim reclaim_;
  Decay decay_;
  // 128, 256, 512 bytes; have no sheaves themselves. The lean form has none.
  struct NoCaches {
    constexpr Cache* begin() const noexcept { return nullptr; }
    constexpr Cache* end() const noexcept { return nullptr; }
  };
  [[no_unique_address]] std::conditional_t<kLean, NoCaches, Cache[4]> sheaf_caches_;
  Cache classes_[kClasses];
  struct CreatedCache {
    Cache cache;
    internal::SheavesSlot<K, L> slot[K::Port::kMaxCpus];
  };
  struct NoRows {};
  [[no_unique_address]] std::conditional_t<kLean, NoRows, internal::ClassRows<K, L, kClasses>>
      rows_;
  BasicSpinLock<K> created_lock_;  // outermost; task context only, never tried
  Cache* created_ NESTLOCK_GUARDED_BY(created_lock_) = nullptr;
  // Where each_created() is on its ways through them; destroy() moves on who stands at what it takes out.
  struct Walk {
    Cache* next = nullptr;
    bool taken = false;
  };
  struct NoWalks {
    constexpr Walk* begin() const noexcept { return nullptr; }
    constexpr Walk* end() const noexcept { return nullptr; }
  };
  [[no_unique_address]] std::conditional_t<kLean, NoWalks, Walk[4]> walks_
      NESTLOCK_GUARDED_BY(created_lock_);
  [[no_unique_address]] std::conditional_t<kLean, internal::NoCacheGroups<K>,
                                           internal::CacheGroups<K, Cache>> groups_
      NESTLOCK_GUARDED_BY(created_lock_);
  [[no_unique_address]] internal::ForkHoldOf<K> held_created_;  // see before_fork()
  [[no_unique_address]] internal::ForksOf<K, ListIrq> forks_;
};

}  // namespace nestlock

#include "nestlock/slab/allocator_inl.h"
#include "nestlock/slab/cache_alloc_free_inl.h"
#include "nestlock/slab/cache_bad_free_inl.h"
#include "nestlock/slab/cache_debug_inl.h"
#include "nestlock/slab/cache_list_inl.h"
#include "nestlock/slab/cache_setup_inl.h"
#include "nestlock/slab/cache_sheaves_inl.h"
#include "nestlock/slab/create_inl.h"
#include "nestlock/slab/fork_inl.h"
#include "nestlock/slab/hardened_inl.h"
#include "nestlock/slab/kmalloc_inl.h"
#include "nestlock/slab/larger_inl.h"
#include "nestlock/slab/lean_inl.h"
#include "nestlock/slab/prefill_inl.h"
#include "nestlock/slab/reach_inl.h"
#include "nestlock/slab/settle_inl.h"

namespace nestlock {

// The built configuration's, compiled once in lib/slab.
using KmemCache = BasicKmemCache<LibraryKernel>;
using SlabAllocator = BasicSlabAllocator<LibraryKernel>;
extern template class BasicKmemCache<LibraryKernel>;
extern template class BasicSlabAllocator<LibraryKernel>;

}  // namespace nestlock
