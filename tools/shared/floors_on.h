// The runs of floors.h, for a policy.
#pragma once

#include <cstring>
#include <new>
#include <type_traits>
#include <typeinfo>

#include "nestlock/slab.h"
#include "tools/shared/floors.h"

// All of both floors on a policy, so that they can be compared by the size of their code. In
// namespace nestlock.
#define NESTLOCK_TOOLS_FLOORS(...)                               \
  template class BasicPageAllocator<tools::OneCpu, __VA_ARGS__>; \
  template class BasicKmemCache<tools::OneCpu, __VA_ARGS__>;     \
  template class BasicSlabAllocator<tools::OneCpu, __VA_ARGS__>;

namespace nestlock::tools {

using OneCpu = KernelOf<configs::up, HostedPort<configs::up>>;

// Memory for one run at a time, the same for each policy.
inline constexpr std::size_t kRunMemory = std::size_t{1} << 20;
char* run_memory();  // aligned to its size

// Who has which piece of the memory.
template <std::size_t kPiece>
class Ownership {
 public:
  void clear() { std::memset(has_, 0, sizeof has_); }
  // False: somebody had (a part of) it already.
  bool own(const void* at, std::size_t size) {
    const std::size_t first = static_cast<std::size_t>(static_cast<const char*>(at) - run_memory());
    bool fresh = true;
    for (std::size_t i = first / kPiece; i < (first + size) / kPiece; ++i) {
      fresh &= !has_[i];
      has_[i] = true;
    }
    return fresh;
  }

 private:
  bool has_[kRunMemory / kPiece];
};

// Constructed anew for each run, never destroyed.
template <class T>
class Renewed {
 public:
  T& renew() { return *::new (bytes_) T; }
  T& operator*() { return *std::launder(reinterpret_cast<T*>(bytes_)); }
  T* operator->() { return &**this; }

 private:
  alignas(T) unsigned char bytes_[sizeof(T)];
};

template <class Pages, std::size_t kPages>
struct Memory {
  static bool set_up(Pages& pages) {
    static char descriptors[(kPages + 2) * sizeof(typename Pages::Page)];
    std::memset(descriptors, 0, sizeof descriptors);
    return pages.set_up(
               {.start = run_memory(), .size = kPages * kPageSize, .descriptors = descriptors}) ==
           PageSetup::ok;
  }
};

// The code takes a page of this CPU's cache and a block from the zone, and gives a page back; the
// handler takes a page and a block.
template <Kernel K, class P>
struct PageRun {
  using Pages = BasicPageAllocator<K, P>;
  static constexpr unsigned kPages = 64, kBlock = 2;  // the block's order
  static inline Renewed<Pages> pages;
  static inline Ownership<kPageSize> owners;
  struct Owned {
    typename Pages::Page *page, *block;
  };
  static inline Owned code_has, handler_has;
  static inline typename Pages::Page* to_be_freed;

  static void prepare() {
    Memory<Pages, kPages>::set_up(pages.renew());
    code_has = handler_has = {};
    to_be_freed = pages->alloc_pages(gfp::nowait, 0);
  }
  static void code() {
    code_has.page = pages->alloc_pages(gfp::nowait, 0);
    code_has.block = pages->alloc_pages(gfp::nowait, kBlock);
    pages->free_pages(to_be_freed, 0);
  }
  static void handler(Nested& n) {
    const std::uintptr_t before = refused_locks();
    handler_has = {pages->alloc_pages_nolock(gfp::none, 0),
                   pages->alloc_pages_nolock(gfp::none, kBlock)};
    n.asked += 2;
    n.served += (handler_has.page != nullptr) + (handler_has.block != nullptr);
    n.busy += refused_locks() != before;
  }
  static void check(Nested& n) {
    owners.clear();
    unsigned out = 0;
    auto own = [&](typename Pages::Page* p, unsigned order) {
      if (!p) return;
      n.twice += !owners.own(pages->address(p), kPageSize << order);
      out += 1u << order;
    };
    for (const Owned& o : {code_has, handler_has}) own(o.page, 0), own(o.block, kBlock);
    // All that is left must be there, once.
    for (unsigned order = kMaxOrder + 1, turns = 0; order-- > 0;)
      while (auto* const p = pages->alloc_pages(gfp::nowait | gfp::memalloc, order)) {
        own(p, order);
        if (++turns > kPages) break;
      }
    n.damaged += out != kPages;
  }

 private:
  static std::uintptr_t refused_locks() {
    const PageStats s = pages->stats(0);
    std::uintptr_t sum = 0;
    for (const auto& busy : {s.pcp_busy, s.zone_busy})
      for (unsigned c = 0; c < 4; ++c) sum += busy[c];
    return sum;
  }
};

// The code's first kmalloc() finds no sheaf and fills one from the slabs, the second and the
// kfree() find it; the handler calls kmalloc_nolock().
template <Kernel K, class P>
struct ObjectRun {
  using Pages = BasicPageAllocator<K, P>;
  using Slabs = BasicSlabAllocator<K, P>;
  static constexpr unsigned kPages = kRunMemory / kPageSize, kHeld = 12, kMore = 64;
  static constexpr std::size_t kSize = 512;
  static inline Renewed<Pages> pages;
  static inline Renewed<Slabs> slabs;
  static inline Ownership<kSize> owners;
  static inline void *held[kHeld], *to_be_freed, *code_has[2], *handler_has;

  static auto& cache() { return slabs->kmalloc_cache(Slabs::class_of(kSize)); }

  static void prepare() {
    Memory<Pages, kPages>::set_up(pages.renew());
    slabs.renew().set_up(*pages);
    code_has[0] = code_has[1] = handler_has = nullptr;
    for (void*& p : held) p = slabs->kmalloc(kSize, gfp::nowait);
    to_be_freed = held[0];
    // Free objects on two slabs, none in a sheaf.
    for (const unsigned i : {1u, 3u, 9u}) slabs->kfree(held[i]), held[i] = nullptr;
    cache().shrink();
  }
  static void code() {
    code_has[0] = slabs->kmalloc(kSize, gfp::nowait);
    code_has[1] = slabs->kmalloc(kSize, gfp::nowait);
    slabs->kfree(to_be_freed);
  }
  static void handler(Nested& n) {
    const std::uintptr_t before = refused_locks();
    handler_has = slabs->kmalloc_nolock(kSize, gfp::none);
    ++n.asked;
    n.served += handler_has != nullptr;
    n.busy += refused_locks() != before;
  }
  static void check(Nested& n) {
    owners.clear();
    auto own = [&](void* p) {
      if (p) n.twice += !owners.own(p, slabs->ksize(p));
    };
    for (unsigned i = 1; i < kHeld; ++i) own(held[i]);
    own(code_has[0]), own(code_has[1]), own(handler_has);
    for (unsigned i = 0; i < kMore; ++i) own(slabs->kmalloc(kSize, gfp::nowait));
    if (!n.twice) n.damaged += !cache().consistent() || !pages->consistent();
  }

  // A pair on the fast path, for its instructions to be counted.
  static void kmalloc_pair() { slabs->kfree(slabs->kmalloc(64, gfp::nowait)); }

 private:
  static std::uintptr_t refused_locks() {
    const SlabStats s = cache().stats();
    return s.local_busy + s.barn_busy + s.list_busy;
  }
};

// ---- the policy's own lock, asked --------------------------------------------------------------

template <Kernel K, class P>
struct PolicyLock {
  // Where there are no per-CPU pages, the zone's, taken as the zone's is.
  static constexpr bool kPcp = P::kPcp;
  using Lock = std::conditional_t<kPcp, typename P::Pcp, typename P::Zone>;
  using Tag = std::conditional_t<kPcp, typename P::PcpTag, IrqSave>;
  static inline constinit Lock lock;

  static bool hold(Call section) {
    enter(Phase::taking);
    bool granted = false;
    if (TryGuard g(lock, Tag{}); g) {
      enter(Phase::held);
      section();
      granted = true;
      enter(Phase::giving);
    }
    enter(Phase::outside);
    return granted;
  }
  static bool try_hold(Call section) {
    if (!P::may_try()) return false;
    if (TryGuard g(lock, Tag{}); g) return section(), true;
    return false;
  }
};

// ---- bytes of lock state -----------------------------------------------------------------------

template <class Lock>
constexpr bool in_a_class() {
  if constexpr (requires { Lock::kLockType; })
    return Lock::kLockType == LockType::shared_try_spin && std::is_empty_v<Lock>;
  else
    return false;
}
// Of so many locks of a type; a class's word is one for all of them.
template <class Lock>
constexpr std::size_t bytes_of(std::size_t locks) {
  if (in_a_class<Lock>()) return sizeof(std::uint32_t);
  return std::is_empty_v<Lock> ? 0 : locks * sizeof(Lock);
}

// `corrupts`, `refuses`: what is known of it, by kInterruptions.
template <Kernel K, class P>
Policy policy_on(const bool (&corrupts)[3], const bool (&refuses)[3]) {
  constexpr std::size_t kCaches = BasicSlabAllocator<K, P>::kClasses + 3;  // and the sheaves' own
  constexpr std::size_t kPcps = P::kPcp ? 1 : 0;
  Policy p{.name = P::kName, .corrupts = {}, .refuses = {}};
  for (unsigned i = 0; i < 3; ++i) p.corrupts[i] = corrupts[i], p.refuses[i] = refuses[i];
  p.locks = kPcps + 1 + 3 * kCaches;
  p.lock_bytes = bytes_of<typename P::Pcp>(kPcps) + bytes_of<typename P::Zone>(1) +
                 bytes_of<typename P::Local>(kCaches) + bytes_of<typename P::Barn>(kCaches) +
                 bytes_of<typename P::List>(kCaches);
  p.type = typeid(P).name();
  using Its = PolicyLock<K, P>;
  p.lock = {&Its::lock, sizeof(Its::lock), Its::hold, Its::try_hold, K::Port::context};
  using R = PageRun<K, P>;
  using O = ObjectRun<K, P>;
  p.pages = {R::prepare, R::code, R::handler, R::check};
  p.objects = {O::prepare, O::code, O::handler, O::check};
  p.kmalloc_pair = O::kmalloc_pair;
  return p;
}

}  // namespace nestlock::tools
