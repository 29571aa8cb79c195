// Slab allocators for the instruction sweep: one path of kmalloc or kfree at a time, interrupted by
// a handler that frees an object and takes two, and keeps them.
#pragma once

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <new>
#include <thread>

#include "nestlock/slab.h"
#include "nestlock/testing/instruction_sweep.h"
#include "test/support/built_kernels.h"

namespace nestlock::test_support {

// How often nested calls were served; each refusal has a reason.
struct Served {
  std::uint64_t served = 0, refused = 0, unnamed = 0;
  std::uint64_t why[kSlabRefusals]{};
};

// What a check found wrong.
enum class Wrong : std::uint8_t { nothing, given_twice, overwritten, lost, inconsistent };
constexpr const char* name_of(Wrong w) noexcept {
  constexpr const char* names[] = {"nothing", "given twice", "overwritten", "lost", "inconsistent"};
  return names[static_cast<unsigned>(w)];
}

// By default the class of 1 KiB: sheaves of 14 objects, slabs of 8. In another class kSheaf is not
// its sheaves' size, so only the fast path can be had there.
template <class K, class P, std::size_t Size = 1024>
struct SlabMachine {
  using Pages = BasicPageAllocator<K, P>;
  using Slabs = BasicSlabAllocator<K, P>;
  static constexpr std::size_t kSize = Size, kMemory = std::size_t{1} << 20, kMuch = 32 * kMemory;
  static constexpr unsigned kSheaf = 14, kMax = 128;
  static constexpr unsigned kClass = [] {
    unsigned c = 0;
    while (Slabs::class_size(c) != kSize) ++c;
    return c;
  }();

  // ---- a state, the same each time ----
  void reset(std::size_t size = kMemory) {
    static void* const memory = std::aligned_alloc(kMemory, kMuch);
    pages = ::new (page_memory) Pages;
    slabs = ::new (slab_memory) Slabs;
    pages->set_up({.start = memory,
                   .size = size,
                   .release = [](void*, std::size_t) noexcept { return true; },
                   .now = []() noexcept { return std::uint64_t{0}; }});
    slabs->set_up(*pages);
    cache = &slabs->kmalloc_cache(kClass);
    held_n = kept_n[0] = kept_n[1] = 0;
    slabs->kfree(slabs->kmalloc(kSize, gfp::kernel));  // the sheaves' own cache has a slab
    for (unsigned i = 0; i < 4; ++i) keep(i / 2, slabs->kmalloc(kSize, gfp::kernel));
    cache->shrink();
  }
  void take(unsigned many) {
    for (; many; --many) hold(slabs->kmalloc(kSize, gfp::kernel));
  }
  void give(unsigned many) {
    for (; many; --many) slabs->kfree(held[--held_n]);
  }
  // Both sheaves full, and some objects out.
  void fill_sheaves() {
    take(2 * kSheaf + 16);
    cache->shrink();
    give(2 * kSheaf);
  }

  // On another CPU, where there is one.
  static constexpr bool kOthers = K::kConfig.smp;
  template <class F>
  void elsewhere(F f) {
    if constexpr (kOthers)
      std::thread(f).join();
    else
      f();
  }

  // No free object in a sheaf or a slab.
  void take_all_there_is() {
    while (cache->stats().slabs * 8 > held_n + kept_n[0] + kept_n[1]) take(1);
  }
  void give_one_of_each_slab(unsigned slabs_wanted) {
    std::sort(held, held + held_n);
    std::uintptr_t last = 0;
    for (unsigned i = 0; slabs_wanted; ++i) {
      const std::uintptr_t slab_of_it = reinterpret_cast<std::uintptr_t>(held[i]) / (8 * kSize);
      if (slab_of_it == last) continue;
      last = slab_of_it;
      --slabs_wanted;
      slabs->kfree(held[i]);
      std::copy(held + i + 1, held + held_n--, held + i);
    }
  }

  // ---- the code ----
  void one_alloc() { hold(slabs->kmalloc(kSize, gfp::kernel)); }
  void one_free() { slabs->kfree(held[--held_n]); }

  // ---- the interruption: each level has objects of its own ----
  void interrupt(unsigned level, Served& s) {
    if (kept_n[level]) slabs->kfree_nolock(kept[level][--kept_n[level]]);
    for (int i = 0; i < 2; ++i) {
      SlabRefusal why = SlabRefusal::none;
      void* const p = slabs->kmalloc_nolock(kSize, gfp::none, kAnyNode, &why);
      if (p) {
        ++s.served, keep(level, p);
        continue;
      }
      ++s.refused, ++s.why[static_cast<unsigned>(why)];
      s.unnamed += why == SlabRefusal::none;
    }
  }

  // ---- the check ----
  Wrong wrong() {
    const void* all[3 * kMax];
    unsigned n = 0;
    for (unsigned i = 0; i < held_n; ++i) {
      if (!tagged(held[i], kHeld)) return Wrong::overwritten;
      all[n++] = held[i];
    }
    for (unsigned level : {0u, 1u})
      for (unsigned i = 0; i < kept_n[level]; ++i) {
        for (unsigned k = 0; k < n; ++k)
          if (all[k] == kept[level][i]) return Wrong::given_twice;
        if (!tagged(kept[level][i], kKept)) return Wrong::overwritten;
        all[n++] = kept[level][i];
      }
    std::uintptr_t live = 0, allocs = 0, frees = 0;
    for (unsigned c : {kClass, kClass + 1}) {
      std::uintptr_t out = 0;
      if (!slabs->kmalloc_cache(c).consistent(&out)) return Wrong::inconsistent;
      const SlabStats t = slabs->kmalloc_cache(c).stats();
      live += out, allocs += t.allocs(), frees += t.frees();
    }
    if (!pages->consistent()) return Wrong::inconsistent;
    return live != n || allocs - frees != live ? Wrong::lost : Wrong::nothing;
  }
  // The same, and what would be given next is nobody's.
  Wrong wrong_now_or_next() {
    const Wrong w = wrong();
    for (unsigned i = 0; i < 2 * kSheaf; ++i) {
      const void* const p = slabs->kmalloc_nolock(kSize, gfp::none);
      for (unsigned k = 0; p && k < kept_n[0]; ++k)
        if (p == kept[0][k]) return Wrong::given_twice;
      for (unsigned k = 0; p && k < held_n; ++k)
        if (p == held[k]) return Wrong::given_twice;
    }
    return w;
  }

  Pages* pages = nullptr;
  Slabs* slabs = nullptr;
  BasicKmemCache<K, P>* cache = nullptr;

  void hold(void* p) {
    if (!p) std::abort();  // there is memory
    tag(p, kHeld);
    held[held_n++] = p;
  }

 private:
  static constexpr unsigned char kHeld = 0x5a, kKept = 0xa5;
  // Not the word where a free object's link lies: a list that is corrupt can still be walked.
  static void tag(void* p, unsigned char with) {
    std::memset(static_cast<char*>(p) + 16, with, kSize - 16);
  }
  static bool tagged(const void* p, unsigned char with) {
    const auto* const b = static_cast<const unsigned char*>(p) + 16;
    return b[0] == with && std::memcmp(b, b + 1, kSize - 17) == 0;
  }
  void keep(unsigned level, void* p) {
    tag(p, kKept);
    kept[level][kept_n[level]++] = p;
  }

  void *held[kMax], *kept[2][kMax];
  unsigned held_n = 0, kept_n[2] = {0, 0};
  alignas(64) unsigned char page_memory[sizeof(Pages)];
  alignas(64) unsigned char slab_memory[sizeof(Slabs)];
};

// A path: how to get before it, what goes along it, and the counter that proves it.
template <class M>
struct SlabPath {
  const char* name;
  void (*before)(M&);
  void (*code)(M&);
  std::uintptr_t SlabStats::* proof;
};

template <class M>
inline constexpr SlabPath<M> kSlabPaths[] = {
    {"fast", [](M& m) { m.take(3); }, [](M& m) { m.one_free(), m.one_alloc(); },
     &SlabStats::fast_frees},
    // More free pages than a process keeps wait for their return to the system, and a look at the clock was just now.
    {"free pages wait",
     [](M& m) {
       m.reset(M::kMuch);
       m.pages->free_pages(m.pages->alloc_pages(gfp::nowait, 8), 8);
       m.take(3), m.give(1), m.take(1);
     },
     [](M& m) { m.one_free(), m.one_alloc(); }, &SlabStats::fast_frees},
    {"spare swap", [](M& m) { m.fill_sheaves(), m.take(M::kSheaf); }, [](M& m) { m.one_alloc(); },
     &SlabStats::spare_swaps},
    // Main was empty before, and is full now.
    {"half a sheaf to the spare", [](M& m) { m.fill_sheaves(), m.take(M::kSheaf + 1), m.give(1); },
     [](M& m) { m.one_free(); }, &SlabStats::spare_swaps},
    {"barn get", [](M& m) { m.fill_sheaves(), m.cache->flush_cpu(); }, [](M& m) { m.one_alloc(); },
     &SlabStats::barn_gets},
    {"barn put",
     [](M& m) {
       m.fill_sheaves();
       // An empty sheaf in the barn.
       auto* const sheaf = m.cache->prefill_sheaf(gfp::kernel, M::kSheaf);
       void* objects[M::kSheaf];
       unsigned n = 0;
       while (void* const p = m.cache->alloc_from_sheaf(sheaf, gfp::none)) objects[n++] = p;
       m.cache->return_sheaf(sheaf);
       while (n) m.hold(objects[--n]);
     },
     [](M& m) { m.one_free(); }, &SlabStats::barn_puts},
    {"refill", [](M& m) { m.take(20), m.cache->shrink(), m.give(10), m.cache->shrink(); },
     [](M& m) { m.one_alloc(); }, &SlabStats::refills},
    {"new sheaf for the barn", [](M& m) { m.reset(M::kMuch), m.fill_sheaves(); },
     [](M& m) { m.one_free(); }, &SlabStats::sheaf_allocs},
    {"flush", [](M& m) { m.fill_sheaves(); }, [](M& m) { m.one_free(); }, &SlabStats::flushes},
    {"new slab", [](M& m) { m.take_all_there_is(); }, [](M& m) { m.one_alloc(); },
     &SlabStats::new_slabs},
    {"slab discard",
     [](M& m) {
       m.take(96);
       m.cache->shrink();
       m.give_one_of_each_slab(6);  // so many are listed
       m.cache->shrink();
       m.give(2 * M::kSheaf);  // whole slabs
     },
     [](M& m) { m.one_free(); }, &SlabStats::discarded_slabs},
    // What a page allocation asks for before it fails.
    {"reclaim", [](M& m) { m.take(96), m.give(80); }, [](M& m) { m.cache->shrink(); },
     &SlabStats::discarded_slabs},
    // The same for what another CPU has in its sheaves.
    {"reach", [](M& m) { m.take(96), m.elsewhere([&m] { m.give(80); }); },
     [](M& m) { m.cache->shrink(); },
     M::kOthers ? &SlabStats::reached : &SlabStats::discarded_slabs},
};

}  // namespace nestlock::test_support
