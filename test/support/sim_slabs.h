// The slab allocator on the simulator's kernels: one cache with the smallest sheaves, set up anew
// for each schedule, and which of its objects are out.
#pragma once

#include <algorithm>
#include <vector>

#include "nestlock/slab.h"
#include "sim_allocators.h"

namespace nestlock::test_support {

template <Kernel K, LockPolicy L>
class SimSlabs {
 public:
  using Slabs = BasicSlabAllocator<K, L>;
  using Cache = BasicKmemCache<K, L>;

  explicit SimSlabs(testing::Sim& sim, std::size_t size = 512) : pages_(sim), sim_(sim) {
    sim.check(slabs.set_up(pages_.pages), "set up");
    cache = slabs.create("explored", size, 0, slab::none, nullptr, 14);
    sim.check(cache, "a cache");
    for (void*& o : kept) o = alloc();
  }

  void* alloc() { return took(cache->alloc(gfp::nowait)); }
  void* alloc_nolock() {
    void* const o = took(cache->alloc_nolock(gfp::none));
    sim_.count(o ? "nolock granted" : "nolock refused");
    return o;
  }
  void free(void* o) { gave(o), sim_.check(cache->free(o), "a free is taken"); }
  void free_nolock(void* o) { gave(o), sim_.check(cache->free_nolock(o), "a free is taken"); }

  // For set-up: the first `n` calls of a script that comes by every path of both, 60 allocations,
  // 60 frees, 60 allocations.
  void script(unsigned n) {
    for (unsigned i = 0; i < n; ++i)
      if (i / 60 == 1)
        free(any_out());
      else
        alloc();
  }
  static constexpr unsigned kScript = 180;
  static constexpr bool script_frees(unsigned i) { return i / 60 == 1; }
  void* any_out() const { return out_[2]; }

  // The end of set-up: what is counted then comes after.
  void start() { at_start_ = cache->stats(); }

  // At the end: the next call that may spin settles what nolock calls left; then nothing is lost,
  // nothing is out twice, and all the memory comes back.
  void check_conserved() {
    const SlabStats s = cache->stats();
    const struct {
      const char* what;
      std::uintptr_t SlabStats::* n;
    } seen[] = {
        {"local busy", &SlabStats::local_busy}, {"barn busy", &SlabStats::barn_busy},
        {"list busy", &SlabStats::list_busy},   {"spare swap", &SlabStats::spare_swaps},
        {"barn get", &SlabStats::barn_gets},    {"barn put", &SlabStats::barn_puts},
        {"refill", &SlabStats::refills},        {"flush", &SlabStats::flushes},
        {"new slab", &SlabStats::new_slabs},    {"fast alloc", &SlabStats::fast_allocs},
        {"fast free", &SlabStats::fast_frees},  {"deferred", &SlabStats::deferred},
        {"orphan", &SlabStats::orphans},        {"new sheaf", &SlabStats::sheaf_allocs},
    };
    for (const auto& c : seen)
      if (s.*c.n != at_start_.*c.n) sim_.count(c.what);
    // First by itself: what is to be settled may be lists that never end.
    if (!cache->consistent()) return sim_.check(false, "lists and counts agree");
    if (void* const o = alloc()) free(o);
    const SlabStats settled = cache->stats();
    sim_.check(settled.deferred == settled.settled, "what was deferred is settled");
    std::uintptr_t out = 0;
    sim_.check(cache->consistent(&out), "lists, counts and free lists agree");
    sim_.check(out == out_.size(), "no object is lost, none is out twice");
    while (!out_.empty()) free(out_.back());
    sim_.check(slabs.destroy(cache), "all slabs of the cache come back");
    sim_.check(slabs.consistent() && pages_.pages.consistent(), "what is below agrees");
  }

 private:
  SimPages<K, L, 4096> pages_;  // of so many a barn grows to two full sheaves of 512 bytes

 public:
  Slabs slabs;
  Cache* cache = nullptr;
  void* kept[2];  // out from the beginning, for others to free

 private:
  void* took(void* o) {
    if (!o) return o;
    sim_.check(std::find(out_.begin(), out_.end(), o) == out_.end(), "an object is given twice");
    out_.push_back(o);
    return o;
  }
  void gave(void* o) { out_.erase(std::find(out_.begin(), out_.end(), o)); }

  testing::Sim& sim_;
  std::vector<void*> out_;
  SlabStats at_start_{};
};

}  // namespace nestlock::test_support
