// The page allocator: zones of pages, a buddy for each, and per-CPU pages (pcp) before it.
//
//   alloc_pages(gfp::kernel, 0)          a page; may spin, commit memory, reclaim
//   alloc_pages_nolock(gfp::none, 0)     from any context, NMI and probes included; never spins
//
// Locks and their order (outer first; never two of one kind):
//   1. pcp lock    a CPU's lists. Taken by try_lock with irqs ON, by its owner in any context; other CPUs take it to
//                  drain. A refusal means: the code that we interrupted (or another CPU) is in there; go to the zone.
//   2. zone lock   the buddy. Irqs masked. `*_nolock` calls only try it.
// They are never nested: a refill takes blocks under the zone lock, gives it back, and then puts them under the pcp
// lock; a drain the other way round. So an interrupting context always finds one of the two free.
//
// What a nolock free finds no lock for is parked on the zone's lock-free list. Each call on that zone that holds its lock
// puts some of it back, on any CPU: one that may spin at most kUnparkedAtOnce blocks, first; a nolock call that gets the
// lock at most kUnparkedByNolock, and where its CPU has too many pages some kDrainedByNolock. So a process of nolock
// calls alone gets its memory back, too, and no single call pays for all that waited.
//
// The lock types are a parameter (lock_policies.h); what does not promise its try_lock() to every context does not
// compile.
#pragma once

#include <cstddef>
#include <cstdint>

#include "nestlock/lock/percpu.h"
#include "nestlock/page/buddy.h"
#include "nestlock/page/descriptor.h"
#include "nestlock/page/gfp.h"
#include "nestlock/page/lock_free_list.h"
#include "nestlock/page/lock_policies.h"
#include "nestlock/page/may_spin.h"
#include "nestlock/page/memory.h"
#include "nestlock/page/stats.h"
#include "nestlock/page/zone.h"

namespace nestlock {

template <Kernel K, LockPolicy Locks = policy::PerLockByte<K>>
class BasicPageAllocator {
 public:
  // The parameter, and the types that go with it.
  using Kernel = K;
  using Page = BasicPage<K>;
  using Stats = PageStats;
  using Place = internal::PlaceOf<K>;

  // All zeros: an allocator of static storage takes no room in a program's file.
  constexpr BasicPageAllocator() = default;
  BasicPageAllocator(const BasicPageAllocator&) = delete;
  BasicPageAllocator& operator=(const BasicPageAllocator&) = delete;

  // Once, before any other call: until then these return null or refuse.
  PageSetup set_up(const PageMemory& memory) noexcept;
  static constexpr std::size_t kDescriptorBytes =
      sizeof(Page) + (kLean ? 0 : 1);  // a page's, with its tag
  // How much memory the descriptors and the tags of `size` bytes need.
  static constexpr std::size_t descriptor_bytes(std::size_t size) noexcept {
    return (size / kPageSize + 2) * kDescriptorBytes;
  }
  // 2^order pages, naturally aligned; null if there are none. Orders 0..kMaxOrder. Contexts: those of
  // TrySpinLock::lock() (not RT: task, softirq, hardirq; RT: task); with gfp::reclaim task only. May spin.
  // Cost: order 0..3 from the pcp one uncontended try_lock; else the zone lock and at most kMaxOrder splits.
  Page* alloc_pages(gfp flags, unsigned order, int node = kAnyNode,
                    Place where = Place::here()) noexcept {
    internal::check_may_spin<K>("PageAllocator", "alloc_pages", flags, where);
    if constexpr (kLean) return alloc_slow(flags, order, node, where);  // smaller, out of line
    if (!attention_.load(internal::kRelaxed) && has_node(node)) [[likely]] {
      Zone& z = *first_zone(node);
      if (order < kPcpOrders && !has_parked(z)) [[likely]]
        if (Page* const p = pop_here<true>(z, order)) [[likely]]
          return prepare(p, flags, order, where);
    }
    return alloc_slow(flags, order, node, where);
  }

  // Gives them back. Contexts as above. False: not taken, nothing changed (a foreign or misaligned
  // page, freed already, another order; reported in debug).
  bool free_pages(Page* page, unsigned order, Place where = Place::here()) noexcept {
    internal::check_may_spin<K>("PageAllocator", "free_pages", gfp::none, where);
    if constexpr (kLean) {
      return free_lean(page, order, true, where);
    } else {
      if (!is_ours(page) || !page->is(PageState::used, order)) [[unlikely]]
        return bad_free(page, "free_pages", where);
      Zone& z = zone_of(*page);
      retire(page, order, where);
      if (order >= kPcpOrders || attention_.load(internal::kRelaxed) || has_parked(z)) [[unlikely]]
        return free_slow(z, page, order);
      const Push done = push_here<true>(z, page, order);
      if (done == Push::done) [[likely]]
        return true;
      return done == Push::over ? drain_over_high(z) : free_refused(z, page, order);
    }
  }

  // The same from any context: never spins, no loop over a lock, never commits memory. Null if the
  // locks are busy (`why` says which), the context may not try (RT: hardirq, NMI), for an order
  // above 3 (silently), or if memory is short. Takes gfp::zero, comp, nowarn, thisnode; others are
  // ignored (reported in debug). Bounded work (without zeroing): one try of a pcp lock, one of each
  // zone's, kMaxOrder splits.
  Page* alloc_pages_nolock(gfp flags, unsigned order, int node = kAnyNode,
                           PageRefusal* why = nullptr, Place where = Place::here()) noexcept;

  // Any context; also for pages of alloc_pages(), and the reverse. Where the locks are busy the
  // pages are parked. False as for free_pages().
  bool free_pages_nolock(Page* page, unsigned order, Place where = Place::here()) noexcept;

  // ---- addresses: any context, constant time ----
  void* address(const Page* p) const noexcept {
    return reinterpret_cast<void*>((first_pfn_ + index(p)) << kPageShift);
  }
  // The page of an address; null if it is not in the managed range, or beyond all that was ever committed.
  Page* page_of(const void* at) const noexcept {
    const std::uintptr_t pfn = (reinterpret_cast<std::uintptr_t>(at) >> kPageShift) - first_pfn_;
    return pfn < described_.load(internal::kRelaxed) ? all_ + pfn : nullptr;
  }
  // The head of an allocated block: for a page inside one that was asked for with gfp::comp.
  Page* head_of(Page* p) const noexcept {
    return p && p->state() == PageState::tail ? all_ + p->next : p;
  }
  // After set_up() they do not change place, and only become more.
  PageTags tags() const noexcept
    requires(!internal::kLeanOf<K>)
  {
    return {tags_, first_pfn_, described_.load(internal::kRelaxed)};
  }
  // By the owner of these 2^order pages.
  void set_tags(const Page* p, unsigned order, std::uint8_t tag) noexcept
    requires(!internal::kLeanOf<K>)
  {
    for (Index i = 0; i < (Index{1} << order); ++i) tags_[index(p) + i] = tag;
  }
  // For a floor above that keeps pages on lists of its own.
  Page* descriptors() noexcept { return all_; }
  std::uintptr_t pages() const noexcept { return pages_; }
  // Of node < nodes() that were ever usable: the number behind its last. The first is node * (pages() / nodes()).
  std::uint32_t usable_end(unsigned node) const noexcept { return zone_[node].usable_end(); }
  std::uint32_t index_of(const Page* p) const noexcept { return index(p); }
  Page* page_at(std::uint32_t index) noexcept { return all_ + index; }
  auto links() noexcept { return next_of(); }

  // `pages` pages, 1 to 2^kMaxOrder, aligned as the next power of two of them: what that has more goes back
  // at once. Freed by the same number. gfp::comp is ignored. Contexts, null and false as above; cost: of
  // alloc_pages() or free_pages(), and a free for each further bit of `pages`.
  Page* alloc_pages_exact(gfp flags, std::uint32_t pages, int node = kAnyNode,
                          Place where = Place::here()) noexcept
    requires(!internal::kLeanOf<K>);
  bool free_pages_exact(Page* page, std::uint32_t pages, Place where = Place::here()) noexcept
    requires(!internal::kLeanOf<K>);
  // Any context; as free_pages_nolock().
  bool free_pages_exact_nolock(Page* page, std::uint32_t pages,
                               Place where = Place::here()) noexcept
    requires(!internal::kLeanOf<K>);
  // Makes a block of `from` pages one of `to` where it lies. Contexts as above. Done where `to` is fewer (not
  // 0), or what lies behind is free and the block is aligned enough. False: it is as before.
  bool resize_exact(Page* page, std::uint32_t from, std::uint32_t to,
                    Place where = Place::here()) noexcept
    requires(!internal::kLeanOf<K>);

  // By address, of the block's first page.
  bool free_at(void* at, unsigned order, Place where = Place::here()) noexcept;

  // ---- upkeep: task context, may spin ----
  void drain_cpu(unsigned cpu) noexcept;  // gives a CPU's cached pages back to the buddy
  void drain_all_pages() noexcept;  // all CPUs' and the parked ones; does not stop their owners
  void unpark_all() noexcept;
  // Keeps `bytes` for nolock calls, in place of before: commits and touches (who calls in between may find none) so
  // much above the watermark, and other calls leave it. False: not all is there; of more than the range nothing is done.
  bool reserve(std::size_t bytes) noexcept
    requires(!internal::kLeanOf<K>);
  // Any context, never spins: puts back at most kUnparkedAtOnce parked blocks of each node whose lock is
  // free. True: nothing is parked any more.
  bool unpark() noexcept;
  // Before an allocation with gfp::reclaim returns null each shrinker is asked once. Task context, may
  // spin. Adding is false where there are kMaxShrinkers already. A shrinker lives until
  // remove_shrinker() has returned, which waits for the calls of shrinkers that are under way; so a
  // shrinker must not remove one. Removing is false for one that was not added.
  bool add_shrinker(Shrinker& s) noexcept;
  bool remove_shrinker(Shrinker& s) noexcept;
  // Memory goes back to the system, where PageMemory has a `release`. What is given back stays committed,
  // and is free as before; a later use costs a page fault for each page.
  // At once, all free pages, and cached ones. Returns bytes. Task context, no lock held; a system call a block.
  std::size_t trim() noexcept
    requires(!internal::kLeanOf<K>);
  // What was free for half of the decay time and more, in blocks of 2^kDecayOrder pages or larger; kDecayKeeps pages and
  // 1/kDecayKeepsOf of those in use stay. At most kDecayAtOnce a call. Returns bytes; where nothing is due (*was_due: false)
  // it looks at the clock (*at). Contexts as trim(). Allocations with gfp::reclaim call it, some of a slab cache's.
  std::size_t decay(bool* was_due = nullptr, std::uintptr_t* at = nullptr) noexcept
    requires(!internal::kLeanOf<K>);
  // For who is to take `growth` bytes from the system elsewhere; calls with gfp::reclaim or gfp::idle do it when they take
  // what the system kept. Gives back twice as much, but nothing of kDecayKeeps pages and 1/8 of those in use. As trim().
  void release_idle(std::size_t growth) noexcept
    requires(!internal::kLeanOf<K>);
  // 0: what is free goes back at the next call.
  void set_decay(std::uint32_t milliseconds) noexcept
    requires(!internal::kLeanOf<K>)
  {
    decay_ms_turned_.store(milliseconds ^ kDecayMs, internal::kRelaxed);
  }
  // For a floor above; one. False: there is one already.
  bool set_decay_hook(DecayHook& hook) noexcept
    requires(!internal::kLeanOf<K>);

  // Pages of this block (2^kMaxOrder pages around p) are not allocated any more until undone.
  void isolate_block(Page* p, bool isolated) noexcept
    requires(!internal::kLeanOf<K>);
  // No per-CPU caching on this node (if there is one): each normal free goes to the buddy at once. Nests.
  void pcp_disable(unsigned node) noexcept
    requires(!internal::kLeanOf<K>);
  void pcp_enable(unsigned node) noexcept
    requires(!internal::kLeanOf<K>);
  // Restricts every later call's flags, for early boot. Never decides whether a path may spin.
  void set_allowed(gfp mask) noexcept
    requires(!internal::kLeanOf<K>);
  // Every k-th allocation of the orders in the bit set fails (k = 0: none).
  void fail_every(std::uint32_t k, std::uint32_t orders = ~0u) noexcept
    requires(!internal::kLeanOf<K>);

  // Around a fork() of a process with other threads, on the thread that forks, in whatever context, several at
  // once: before_fork() takes every lock, so that no other thread is in the middle of a change; after_fork()
  // gives them back. `bounded`: waits for no longer than 32 ms each, where the code that was interrupted may
  // hold one; that one is left to it. Of a configuration with one CPU: nothing.
  void before_fork(bool bounded = internal::may_have_interrupted_a_holder<K>()) noexcept;
  void after_fork(bool child) noexcept;

  // ---- to look at: any context, a snapshot; of a node or CPU that there is not, 0 ----
  unsigned nodes() const noexcept { return kLean || nodes_ <= 1 ? 1u : unsigned{nodes_}; }
  Stats stats(unsigned node) const noexcept;
  std::uint32_t cached(unsigned node, unsigned cpu) const noexcept {
    return node < nodes() && cpu < K::Port::kMaxCpus ? zone_[node].pcp.on(cpu).count() : 0;
  }
  // In the manner of /proc/buddyinfo and /proc/zoneinfo; returns the length.
  std::size_t buddyinfo(char* out, std::size_t size) const noexcept
    requires(!internal::kLeanOf<K>);
  std::size_t zoneinfo(char* out, std::size_t size) const noexcept
    requires(!internal::kLeanOf<K>);
  // Task context, nothing else running: whether lists, descriptors and counts agree, and every
  // committed page is free, cached, parked or in use.
  bool consistent() noexcept;
  // Whether the code that this context interrupted is inside one of this node's locks (UP: truth;
  // elsewhere it may be another CPU's doing). Any context.
  bool zone_locked(unsigned n) const noexcept { return n < nodes() && zone_[n].lock.is_locked(); }
  // The same of any of its locks. With several CPUs it errs to true, for a zone may be held, or this
  // CPU's lists drained, by another. At most two loads a node.
  bool interrupted() const noexcept;

 private:
  template <class T>
  using Atomic = typename K::Port::template Atomic<T>;
  using Index = std::uint32_t;
  static constexpr Index kNil = Page::kNil;
  static constexpr bool kPcp = Locks::kPcp || K::kConfig.smp;
  using Pcp = internal::Pcp<K, Locks>;
  using Zone = internal::Zone<K, Locks>;

  // Above the flags, the number of isolated blocks.
  enum Attention : std::uint32_t { kRestricted = 1, kFailing = 2, kIsolatedOne = 4 };
  enum class Push : std::uint8_t { done, over, refused };  // over: and the cache is above `high`

  Index index(const Page* p) const noexcept { return static_cast<Index>(p - all_); }
  // A page's number is its index and 1: what begins with a number is zero while there is no page.
  Page* numbered(Index n) const noexcept;
  Index number(const Page* p) const noexcept { return static_cast<Index>(p - numbered(0)); }
  // A branch, so that with one node what follows does not wait for the page.
  Zone& zone_of(const Page& p) noexcept;
  // For a constant kAnyNode both are constants.
  bool has_node(int node) const noexcept {
    return node < 0 || static_cast<unsigned>(node) < nodes();
  }
  Zone* first_zone(int node) noexcept;
  // Blocks are parked, or are just being: counted before they are on the list.
  bool has_parked(const Zone& z) const noexcept {
    return z.counters.parked.load(internal::kRelaxed) != 0;
  }
  auto next_of() noexcept {
    return [this](Index p) -> auto& { return all_[p].next; };
  }

  // pcp, this CPU's
  template <bool kFast>  // refused to a task that has not claimed a CPU: the slow path will
  auto try_pcp(Zone& z) noexcept;
  template <bool kFast>
  Page* pop_here(Zone& z, unsigned order, bool* busy = nullptr) noexcept;
  Page* pop_or_note(Zone& z, unsigned order, bool* busy = nullptr) noexcept;
  template <bool kFast>
  Push push_here(Zone& z, Page* page, unsigned order) noexcept;
  bool drain_over_high(Zone& z) noexcept
    requires(!internal::kLeanOf<K>);
  bool drain_by_nolock(Zone& z, unsigned order) noexcept;
  Index detach(Pcp& pcp, std::uint32_t pages) noexcept;
  template <class F>
  void with_pcp(Pcp& pcp, F f) noexcept;
  // zone
  Page* take_locked(Zone& z, unsigned order, std::uint32_t mark) noexcept;
  void give_locked(Zone& z, Index p, unsigned order) noexcept;
  void give_chain(Zone& z, Index chain) noexcept;
  void unpark_locked(Zone& z, unsigned most) noexcept;
  bool block_isolated(const Zone& z, Index p) const noexcept;
  Index block_of(Index p, const Zone& z) const noexcept;
  Index block_end(Index p, const Zone& z) const noexcept;
  Page* refill(Zone& z, unsigned order, gfp flags) noexcept;
  void touch(Zone& z, std::uint32_t pages) noexcept
    requires(!internal::kLeanOf<K>);
  bool grow(Zone& z, unsigned order) noexcept
    requires(!internal::kLeanOf<K>);
  bool describe(const Zone& z, Index end) noexcept
    requires(!internal::kLeanOf<K>);
  bool take_failed(Zone& z, Index& begin, Index& end) noexcept
    requires(!internal::kLeanOf<K>);
  bool ask_shrinkers() noexcept;
  using ZoneIrq = internal::TagFor<typename Locks::Zone, IrqSave>;
  static std::uint32_t dirty_pages(const Zone& z) noexcept;
  bool has_much(const Zone& z) const noexcept
    requires(!internal::kLeanOf<K>);
  void begin_decay() noexcept
    requires(!internal::kLeanOf<K>);
  void tell_decay(bool waits) noexcept
    requires(!internal::kLeanOf<K>);
  std::uint32_t release_some(Zone& z, std::uint32_t most, unsigned order) noexcept
    requires(!internal::kLeanOf<K>);
  void add_memory(Zone& z, Index begin, Index end) noexcept;
  std::uint32_t mark_for(const Zone& z, gfp flags) const noexcept;
  bool fails_now(unsigned order) noexcept
    requires(!internal::kLeanOf<K>);
  void note_busy(Zone& z, bool pcp) noexcept
    requires(!internal::kLeanOf<K>);
  bool park(Zone& z, Page* page, unsigned order) noexcept;
  bool free_lean(Page* page, unsigned order, bool may_spin, Place where) noexcept
    requires(internal::kLeanOf<K>);
  Page* alloc_slow(gfp flags, unsigned order, int node, Place where) noexcept;
  bool free_slow(Zone& z, Page* page, unsigned order) noexcept
    requires(!internal::kLeanOf<K>);
  bool free_refused(Zone& z, Page* page, unsigned order) noexcept
    requires(!internal::kLeanOf<K>);

  void set_row(Page* p, std::uint32_t from, std::uint32_t upto) noexcept
    requires(!internal::kLeanOf<K>);
  bool is_row(Page* page, std::uint32_t pages) const noexcept
    requires(!internal::kLeanOf<K>);
  void free_row(Page* p, std::uint32_t from, std::uint32_t upto, unsigned order,
                Place where) noexcept
    requires(!internal::kLeanOf<K>);
  void check_poison(Page* p, std::uint32_t pages, Place where) noexcept
    requires(!internal::kLeanOf<K> || K::kConfig.debug);
  Page* prepare(Page* p, gfp flags, unsigned order, Place where) noexcept;
  bool is_ours(const Page* page) const noexcept;
  bool bad_free(Page* page, const char* call, Place where) noexcept;
  void retire(Page* page, unsigned order, Place where) noexcept;
  void report(Finding f, const char* call, const Page* page, const void* at, Place where) noexcept;

  Page* all_ = nullptr;
  Atomic<std::uint32_t> ready_{0};  // 1: set_up() is done
  template <class T, int kNumber>
  using NotLean = internal::NotLean<T, kNumber>;
  using System = bool (*)(void*, std::size_t) noexcept;
  std::uint8_t* tags_ = nullptr;  // behind the descriptors
  std::uintptr_t first_pfn_ = 0, pages_ = 0;
  Atomic<std::uintptr_t> described_{0};  // pages with a descriptor: see describe(). It only grows
  [[no_unique_address]] NotLean<Page*, 9> before_{};      // all_ - 1
  [[no_unique_address]] NotLean<unsigned, 1> nodes_{0u};  // 0: not set up, one for who asks
  [[no_unique_address]] NotLean<Atomic<std::uint32_t>, 3> attention_{0};  // 0: the fast path
  [[no_unique_address]] NotLean<internal::PageControls<K>, 2> controls_{};
  [[no_unique_address]] NotLean<System, 6> commit_{};
  [[no_unique_address]] NotLean<System, 7> commit_descriptors_{};
  Atomic<Shrinker*> shrinkers_[kMaxShrinkers]{};
  Atomic<std::uint32_t> shrinking_{0};  // calls of shrinkers under way
  [[no_unique_address]] NotLean<System, 8> release_{};
  std::uint64_t (*now_)() noexcept = nullptr;
  [[no_unique_address]] NotLean<Atomic<std::uint32_t>, 10> decay_ms_turned_{0};  // ^ kDecayMs
  // Not 0: memory waits for its return. And when decay() has something to do; may have wrapped.
  [[no_unique_address]] NotLean<Atomic<std::uint32_t>, 11> decaying_{0};
  [[no_unique_address]] NotLean<Atomic<std::uintptr_t>, 12> decay_next_{std::uintptr_t{0}};
  [[no_unique_address]] NotLean<Atomic<DecayHook*>, 13> decay_hook_{nullptr};
  [[no_unique_address]] internal::ForksOf<K, ZoneIrq> forks_;
  [[no_unique_address]] NotLean<Atomic<std::uint32_t>, 14> draining_{0};  // calls of with_pcp()
  Zone zone_[kMaxNodes];
};

}  // namespace nestlock

#include "nestlock/page/alloc_free_inl.h"
#include "nestlock/page/decay_inl.h"
#include "nestlock/page/exact_inl.h"
#include "nestlock/page/fork_inl.h"
#include "nestlock/page/info_inl.h"
#include "nestlock/page/lean_inl.h"
#include "nestlock/page/page_state_inl.h"
#include "nestlock/page/pcp_inl.h"
#include "nestlock/page/reserve_inl.h"
#include "nestlock/page/setup_inl.h"
#include "nestlock/page/zone_inl.h"

namespace nestlock {

// The built configuration's, compiled once in lib/page.
using Page = BasicPage<LibraryKernel>;
using PageAllocator = BasicPageAllocator<LibraryKernel>;
extern template class BasicPageAllocator<LibraryKernel>;

}  // namespace nestlock
