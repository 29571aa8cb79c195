// A cache of objects of one size: what the slab allocator (nestlock/slab.h) is made of. How sheaves,
// barns and slabs relate, and the order of their locks, stands at the head of that header.
#pragma once

#include <cstddef>
#include <cstdint>

#include "nestlock/page.h"
#include "nestlock/slab/cache_group.h"
#include "nestlock/slab/classes.h"
#include "nestlock/slab/cpu_sheaves.h"
#include "nestlock/slab/flags.h"
#include "nestlock/slab/reach.h"
#include "nestlock/slab/settling_turn.h"
#include "nestlock/slab/types.h"

namespace nestlock {

// So many of the objects that nolock frees deferred one later call settles at most: one that may spin, and a nolock call.
inline constexpr unsigned kSettledAtOnce = 64;
inline constexpr unsigned kSettledByNolock = 4;

template <Kernel K, LockPolicy L = policy::PerLockByte<K>, class Classes = DefaultClasses>
class BasicSlabAllocator;

// A cache of objects of one size. Made by BasicSlabAllocator::create(), or inside it for kmalloc.
template <Kernel K, LockPolicy L = policy::PerLockByte<K>>
class alignas(kLean ? alignof(void*) : 64) BasicKmemCache {
 public:
  // The types that go with the parameters; and what prepares an object of a new slab.
  using Pages = BasicPageAllocator<K, L>;
  using Page = BasicPage<K>;
  using Place = internal::PlaceOf<K>;
  using Constructor = void (*)(void*);

  // One object; null if there is no memory. Contexts: those of TrySpinLock::lock(); with
  // gfp::reclaim task only. Fast path: no atomic read-modify-write, no system call.
  void* alloc(gfp flags, int node = kAnyNode, Place where = Place::here()) noexcept;
  // Any context, NMI and probes included; never spins, bounded work. Null: see SlabRefusal.
  void* alloc_nolock(gfp flags, int node = kAnyNode, SlabRefusal* why = nullptr,
                     Place where = Place::here()) noexcept;
  // Back to its cache. False: nothing changed (reported in debug), for it is not an object of this cache, or one that is
  // free already as far as was looked: the last that was put into this CPU's sheaf, at the head of its slab's list, or
  // deferred last. A pointer into an object is refused where it is less aligned than the cache's objects, and off the
  // fast path always; in debug kernels both are always.
  bool free(void* object, Place where = Place::here()) noexcept;
  // Any context; never fails for lack of a lock: what finds none is deferred, and settled by later calls
  // on this cache, on any CPU, nolock calls that get the list's lock among them: some by each.
  bool free_nolock(void* object, Place where = Place::here()) noexcept;
  // All `n` or none (0).
  std::size_t alloc_bulk(gfp flags, std::size_t n, void** objects) noexcept;
  void free_bulk(std::size_t n, void** objects) noexcept;

  // A sheaf of at least `n` objects for a caller who must not fail later: so many calls of alloc_from_sheaf() succeed,
  // then null, without a look elsewhere. Null: no memory. More than the cache's capacity makes a sheaf of its own.
  // Contexts of alloc(); alloc_from_sheaf(): any, by one at a time.
  using Sheaf = internal::Sheaf;
  Sheaf* prefill_sheaf(gfp flags, unsigned n) noexcept
    requires(!internal::kLeanOf<K>);
  void* alloc_from_sheaf(Sheaf* s, gfp flags) noexcept
    requires(!internal::kLeanOf<K>);
  void return_sheaf(Sheaf* s) noexcept
    requires(!internal::kLeanOf<K>);

  // Any context, never spins: settles at most kSettledAtOnce of the objects that nolock frees deferred,
  // as far as the lists' locks are free. True: nothing waits to be settled any more.
  bool settle() noexcept;
  // Task context: all CPUs' sheaves (but of one in the middle of a call), the barn's and the empty slabs give
  // their memory back. Irqs are masked, and a list is held, for a sheaf or kSettledAtOnce objects or slabs.
  void shrink() noexcept;
  // This CPU's sheaves to the barn, beyond its limit to the slabs: for the port's offline hook.
  void flush_cpu() noexcept
    requires(!internal::kLeanOf<K>);

  // Whether the code that this context interrupted is in one of its locked sections. Any context;
  // with several CPUs it errs to true, for a barn or a list may be another's.
  bool interrupted() const noexcept;

  // As it was created. Any context; stats() is a snapshot.
  const char* name() const noexcept { return name_; }
  std::size_t object_size() const noexcept { return object_size_; }
  SlabStats stats() const noexcept;
  // Every k-th allocation fails (0: none).
  void fail_every(std::uint32_t k) noexcept
    requires(!internal::kLeanOf<K>);
  // Task context, nothing else running: lists, counts and free lists agree. `objects`: those in the user's hands.
  bool consistent(std::uintptr_t* objects = nullptr) noexcept;

 private:
  template <Kernel, LockPolicy, class>
  friend class BasicSlabAllocator;
  using Object = internal::FreeObject;
  using Refused = internal::RefusedFrees;
  template <class T>
  using Atomic = typename K::Port::template Atomic<T>;

  using CpuSheaves = internal::CpuSheaves<K, L>;
  using MainOut = internal::MainOut<K, L>;
  using CpuSlots = internal::PerCpuAt<K, CpuSheaves>;
  struct Nothing {};
  using Word = Atomic<std::uint32_t>;
  using Slots = std::conditional_t<kLean, Nothing, CpuSlots>;

  struct NodeBarn {
    typename L::Barn barn_lock;
    Sheaf* full = nullptr;  // guarded by barn_lock, linked by next
    Sheaf* empty = nullptr;
    Atomic<std::uint32_t> nr_full{0}, nr_empty{0};
  };
  struct NodeList {
    typename L::List list_lock;
    internal::PageQueue<K> partial;  // guarded by list_lock
    std::uint32_t nr_partial = 0;
    internal::LockFreeList<K, typename Page::Index> orphans;  // new slabs that found the list busy
    Atomic<std::uint32_t> nr_orphans{0};
  };
  struct NodeFork {
    [[no_unique_address]] internal::ForkHoldOf<K> held_barn, held_list;  // see before_fork()
  };
  struct NoFork {};
  struct Node : std::conditional_t<kLean, Nothing, NodeBarn>,
                NodeList,
                std::conditional_t<kLean, NoFork, NodeFork> {};

  struct Request {  // the kernel's slab_alloc_context
    gfp flags;
    SlabAlloc alloc_flags;
    int node;
    bool may_spin() const noexcept {
      return L::may_spin(flags, alloc_flags_allow_spinning(alloc_flags));
    }
  };

  // `sheaf_caches`: of 14, 30, 62 and 126 objects.
  bool set_up(Pages& pages, BasicKmemCache* sheaf_caches, const char* name, std::size_t size,
              std::size_t align, slab flags, Constructor ctor, unsigned capacity) noexcept;

  // Page::kind: of a slab, of a large block of kmalloc(), of a cache that create() made.
  enum Kind : std::uint8_t { kSlab = 1, kLarge = 2, kCache = 3 };
  enum OnList : std::uintptr_t { kOff = 0, kPartial = 1, kOrphan = 2 };
  // Bits of attention_. kDecaying: an allocation that may wait is to call look_at_decay() now and then.
  static constexpr std::uint32_t kUnsettled = 1, kFailing = 2, kDebugged = 4, kManyNodes = 8,
                                 kDecaying = 16, kHardened = 32;
  static constexpr std::uint8_t kMaxFull = 10, kMaxOrphans = 16;
  // Up to so many pages of objects, and one of so many of all pages, a barn gets new sheaves for what is freed, and up
  // to kMaxFull it takes those that there are. (All classes keep a twentieth from calls that may not reclaim.)
  static constexpr std::uintptr_t kBarnPages = 16, kBarnShare = 1024;
  static constexpr std::ptrdiff_t kMostObjects = CpuSheaves::kMostObjects;

  // A slab's own data, in its head page (`owner`, the cache, in each of its pages).
  static Object* freelist(const Page& p) noexcept { return static_cast<Object*>(p.owner_list); }
  static void set_freelist(Page& p, Object* first) noexcept { p.owner_list = first; }
  static std::uintptr_t inuse(const Page& p) noexcept { return p.owner_count; }
  // Of a large block, in its first page.
  static std::uintptr_t large_pages(const Page& p) noexcept {
    return kLean ? std::uintptr_t{1} << p.order() : p.owner_count;
  }
  static std::uintptr_t on_list(const Page& p) noexcept { return p.owner_mark; }
  std::uint32_t objects(const Page& p) const noexcept;
  // The first so many of them, by address, are in use or linked; nobody had the rest yet. (Lean: all are linked.)
  std::uint32_t linked(const Page& p) const noexcept;
  // Slabs that were taken off are chained for discard().
  static Page* next_empty(const Page& p) noexcept { return static_cast<Page*>(p.owner_list); }
  static void chain_empty(Page& p, Page*& chain) noexcept {
    p.owner_list = chain;
    chain = &p;
  }
  // The word behind an object's link: while it lies in its slab or is deferred a value of its own, if the cache marks_.
  static std::uintptr_t& mark_of(Object* link) noexcept;
  bool mark(Object* link, bool deferred) noexcept;
  Object* link_of(void* object) const noexcept {
    return reinterpret_cast<Object*>(static_cast<char*>(object) + link_offset_);
  }
  void* object_of(Object* link) const noexcept {
    return reinterpret_cast<char*>(link) - link_offset_;
  }

  // Fast paths: `at` is cpu_, which who knows the class computes without a look at the cache.
  template <class At>  // CpuSlots, or CpuFound
  static bool pop_here(At at, void*& object) noexcept;
  template <class At>
  void* alloc_at_hand(At at, const Word& attention) noexcept;
  // `size`: the bytes that were asked for, which a debug cache watches
  void* alloc_sized(Slots at, const Word& attention, std::size_t size, gfp flags, int node,
                    Place where) noexcept;
  void* alloc_nolock_sized(Slots at, const Word& attention, std::size_t size, gfp flags, int node,
                           SlabRefusal* why, Place where) noexcept;
  void* alloc_trying(std::size_t size, gfp flags, int node, SlabRefusal* why, Place where) noexcept
    requires(!internal::kLeanOf<K>);
  void* alloc_spinning(std::size_t size, gfp flags, int node, Place where) noexcept
    requires(!internal::kLeanOf<K>);
  // The lean form's allocation and free; for the rest they share what stands below.
  void* alloc_lean(gfp flags, SlabAlloc alloc_flags, int node, SlabRefusal* why) noexcept
    requires(internal::kLeanOf<K>);
  bool free_lean(Page& p, void* object, bool may_spin, const char* call, Place where) noexcept
    requires(internal::kLeanOf<K>);
  void* alloc_of_the_reserve(gfp flags, int node, Place where) noexcept
    requires(!internal::kLeanOf<K>);
  void* alloc_slow(const Request& r, SlabRefusal* why) noexcept
    requires(!internal::kLeanOf<K>);
  void* alloc_from_list(const Request& r, SlabRefusal& why) noexcept;
  void* alloc_from_new_slab(const Request& r, SlabRefusal& why) noexcept;
  unsigned refill(Node& n, const Request& r, void** out, unsigned want, unsigned least) noexcept
    requires(!internal::kLeanOf<K>);
  Sheaf* refilled_sheaf(Node& n, const Request& r) noexcept
    requires(!internal::kLeanOf<K>);
  void install_full(Node& n, Sheaf* s) noexcept
    requires(!internal::kLeanOf<K>);
  void* finish(void* object, std::size_t size, gfp flags) noexcept;

  bool bad_free(void* object, const char* call, Place where) noexcept;
  bool free_fast(CpuSlots at, void* object) noexcept
    requires(!internal::kLeanOf<K>);
  bool free_spinning(Page& p, void* object, const char* call, Place where) noexcept
    requires(!internal::kLeanOf<K>);
  bool free_trying(Page& p, void* object, const char* call, Place where) noexcept
    requires(!internal::kLeanOf<K>);
  // Whether it goes into this CPU's sheaves: they hold objects of one node.
  bool is_local(Page& p) noexcept { return pages_->nodes() == 1 || &node_of(p) == &home(kAnyNode); }
  template <class At>
  static bool push_here(At at, void* object) noexcept;
  static bool pop_unlooked(CpuSlots at, void*& object) noexcept
    requires(!internal::kLeanOf<K>);
  void* alloc_unlooked(CpuSlots at, const Word& attention) noexcept
    requires(!internal::kLeanOf<K>);
  void* pop_near(CpuSheaves& c) noexcept
    requires(!internal::kLeanOf<K>);
  void* alloc_near() noexcept
    requires(!internal::kLeanOf<K>);
  bool free_near(Page& p, void* object) noexcept
    requires(!internal::kLeanOf<K>);
  void look_at_decay() noexcept
    requires(!internal::kLeanOf<K>);
  bool push_near(void* object) noexcept
    requires(!internal::kLeanOf<K>);
  void fill_from_spare(CpuSheaves& c) noexcept
    requires(!internal::kLeanOf<K>);
  void empty_to_spare(CpuSheaves& c) noexcept
    requires(!internal::kLeanOf<K>);
  bool free_to_sheaf(void* object, bool may_spin) noexcept
    requires(!internal::kLeanOf<K>);
  enum class Given : std::uint8_t { taken, busy, free_already };
  Given free_to_slab(void* object, bool may_spin) noexcept;
  // Whether an object of this cache begins there.
  bool is_object(Page& p, const void* at) noexcept;
  bool begins_one(std::uint32_t at) const noexcept;
  bool is_in_sheaf(const void* object) noexcept
    requires(!internal::kLeanOf<K>);
  template <class F>
  bool each_slab(F f) noexcept;
  bool refuse_free(Finding f, void* object, const char* call, Place where) noexcept;
  void refuse_free(const Refused& refused, const char* call) noexcept;
  void flush(Sheaf& s, bool may_spin = true) noexcept
    requires(!internal::kLeanOf<K>);
  bool defer(void* object) noexcept;
  void settle_some(unsigned most, bool may_spin) noexcept;
  void settle_all() noexcept;
  // Over fork(): see BasicSlabAllocator::before_fork(). And of a CPU whose thread is gone.
  template <class F>
  void each_held(F f) noexcept
    requires(!internal::kLeanOf<K>);
  void settle_in_child() noexcept
    requires(!internal::kLeanOf<K>);
  void abandon_if_held(unsigned cpu) noexcept
    requires(!internal::kLeanOf<K>);
  void take_back(unsigned cpu) noexcept
    requires(!internal::kLeanOf<K>);
  Sheaf* reach(Sheaf* chain) noexcept;
  void unsettle() noexcept;
  template <class F>
  bool with_list(Node& n, bool may_spin, F f) noexcept;

  unsigned take_from(Page& p, void** out, unsigned want, unsigned least) noexcept;
  unsigned take_new(Page& p, void** out, unsigned want, unsigned least) noexcept
    requires(!internal::kLeanOf<K>);
  void link_all(Page& p) noexcept
    requires(internal::kLeanOf<K>);

  // list lock held
  unsigned take_locked(Node& n, void** out, unsigned want, unsigned least) noexcept;
  unsigned give_locked(Node& n, Page& slab, void* const* object, unsigned many, Page*& empty,
                       Refused& refused) noexcept;
  void add_slab_locked(Node& n, Page& slab) noexcept;
  void settle_locked(Node& n, Page*& empty) noexcept;
  unsigned settle_backlog_locked(Node& n, unsigned most, Page*& empty, Refused& refused) noexcept;
  void discard_empty_slabs(Node& n) noexcept;
  void discard(Page* chain, bool may_spin) noexcept;

  Page* new_slab(const Request& r) noexcept;
  Page& slab_of(void* object) noexcept;
  Node& node_of(Page& p) noexcept { return node_[p.zone_id]; }
  Node& home(int node) noexcept;
  enum class Want : std::uint8_t { full, empty };
  Sheaf* barn_swap(Node& n, Sheaf* have, Want want, bool may_spin) noexcept
    requires(!internal::kLeanOf<K>);
  Sheaf* empty_sheaf(Node& n) noexcept
    requires(!internal::kLeanOf<K>);
  void put_empty(Node& n, Sheaf* s) noexcept
    requires(!internal::kLeanOf<K>);
  void put_full(Node& n, Sheaf* s) noexcept
    requires(!internal::kLeanOf<K>);
  bool fails_now() noexcept
    requires(!internal::kLeanOf<K>);
  void report(Finding f, const char* call, const void* object, Place where,
              const internal::SlabTrack<K>* track = nullptr) noexcept;

  // With AddressSanitizer: an object goes to its user, and comes back. (Debug caches look after
  // theirs by themselves.) A second free is an access like any other.
  void* given(void* object) noexcept;
  void* leaves(void* object) noexcept;
  void taken(void* object) noexcept;

  // Debug caches: cache_debug_inl.h
  using Track = internal::SlabTrack<K>;
  static constexpr unsigned char kRed = 0xbb, kPoison = 0x6b;
  Track* track_of(const void* object) noexcept
    requires(!internal::kLeanOf<K>);
  std::size_t usable(const void* object) noexcept
    requires(!internal::kLeanOf<K>);
  std::size_t resize(void* object, std::size_t size) noexcept
    requires(!internal::kLeanOf<K>);
  void debug_new(void* object) noexcept
    requires(!internal::kLeanOf<K>);
  void* debug_alloc(void* object, std::size_t size, const char* call, Place where) noexcept
    requires(!internal::kLeanOf<K>);
  bool debug_free(void* object, const char* call, Place where) noexcept
    requires(!internal::kLeanOf<K>);
  template <class F>
  void each_object_out(F f) noexcept;
  void report_leaks(const char* call) noexcept
    requires(!internal::kLeanOf<K>);
  bool zones_intact(void* object, std::size_t size) noexcept
    requires(!internal::kLeanOf<K>);
  void paint_zones(void* object, std::size_t size) noexcept
    requires(!internal::kLeanOf<K>);
  bool debugged() const noexcept {
    return !kLean && attention().load(internal::kRelaxed) & kDebugged;
  }
  bool hardened() const noexcept {
    return !kLean && attention().load(internal::kRelaxed) & kHardened;
  }
  // Whether it keeps which objects are out. relaxed: it orders nothing, and of two that free the same
  // object at once the exchange tells one.
  bool knows_out() const noexcept {
    if constexpr (K::kConfig.debug && !kLean) return !debugged();
    return hardened();
  }
  using Out = Atomic<std::uint32_t>;  // smaller ones have no exchange() everywhere
  Out& out_of(const void* object) noexcept;
  void* goes_out(void* object) noexcept;
  bool comes_back(const void* object) noexcept;

  template <class T, int kNumber>
  using NotLean = internal::NotLean<T, kNumber>;
  Pages* pages_ = nullptr;
  const char* name_ = nullptr;
  std::uint32_t object_size_ = 0, stride_ = 0, link_offset_ = 0;
  [[no_unique_address]] NotLean<std::uint32_t, 0> capacity_{};
  [[no_unique_address]] NotLean<std::uint32_t, 11> inverse_{};  // see begins_one()
  // Debug: the red zone before an object; hardened: what lies before the first.
  [[no_unique_address]] NotLean<std::uint32_t, 1> lead_{};
  // Bits that are 0 in the address of each object that the fast path of a free may take: one is less
  // aligned than the objects are. All bits where no free is fast: no sheaves, or objects that are kept
  // apart by node. (32 bits are one instruction less, and let one object of 4 GiB through: in a cache
  // without sheaves that is no harm, nor is one object of another node.)
  [[no_unique_address]] NotLean<std::uint32_t, 2> unfree_bits_{};
  std::uint8_t order_ = 0, min_order_ = 0;
  // Of its pages: 1 + its index among the classes; 0 if it is none of them.
  [[no_unique_address]] NotLean<std::uint8_t, 3> tag_{};
  [[no_unique_address]] NotLean<std::uint8_t, 8> grows_to_{};  // full sheaves; see kBarnPages
  [[no_unique_address]] NotLean<std::uint8_t, 10> marks_{};    // not 0: see mark_of()
  std::uint32_t min_partial_ = 0;                              // slabs that stay, though empty
  Constructor ctor_ = nullptr;
  // Where its sheaves come from; null: it has none.
  [[no_unique_address]] NotLean<BasicKmemCache*, 4> sheaf_source_{};
  // Not 0: something was deferred, allocations are made to fail, objects are checked, or must be
  // kept apart by node, or free pages wait for their return to the system. Looked at by the fast path of an
  // allocation, so the classes' lie side by side (ClassRows).
  Word own_attention_{0u};
  [[no_unique_address]] NotLean<Word*, 9> attention_{};  // null: not set up
  Word& attention() noexcept;
  const Word& attention() const noexcept { return const_cast<BasicKmemCache*>(this)->attention(); }
  [[no_unique_address]] NotLean<Atomic<std::uint32_t>, 5> fail_every_{0u};
  [[no_unique_address]] NotLean<Atomic<std::uint32_t>, 6> fail_turn_{0u};
  Atomic<Object*> deferred_{nullptr};
  // Whose turn it is to settle (0: nobody's); whoever finds it taken leaves it at that. Its holder has
  // `backlog_`: what was taken off `deferred_` and is not settled yet.
  internal::SettlingTurn<K> settling_;
  [[no_unique_address]] internal::ForkHoldOf<K> held_settling_;  // see before_fork()
  Object* backlog_ = nullptr;
  [[no_unique_address]] internal::ReachOf<K, L> reach_;  // see reach_inl.h
  std::conditional_t<kLean, internal::LeanSlabCounters<K>, internal::SlabCounters<K>> counters_;
  Node node_[kMaxNodes];
  BasicKmemCache *next_ = nullptr, *prev_ = nullptr;  // of the allocator's list
  [[no_unique_address]] NotLean<internal::CachePlace<K, BasicKmemCache>, 7> place_{};
  // The CPUs' sheaves lie elsewhere, so that what a program uses of all caches is few pages.
  [[no_unique_address]] Slots cpu_;
};

}  // namespace nestlock
