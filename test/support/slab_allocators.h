// Slab allocators of every kernel as values, each on a page allocator of its own: one virtual call
// each, so that a test is written and compiled once, not eight times.
#pragma once

#include <memory>
#include <ostream>
#include <string>
#include <vector>

#include "nestlock/slab.h"
#include "page_allocators.h"

namespace nestlock::test_support {

struct AnyCache;  // a cache of one of them
struct AnySheaf;

class AnySlabs {
 public:
  virtual ~AnySlabs() = default;
  virtual bool set_up(const PageMemory& memory) = 0;

  virtual void* kmalloc(std::size_t size, gfp flags, Place where = Place::here()) = 0;
  virtual void* kmalloc_nolock(std::size_t size, gfp flags, int node = kAnyNode,
                               SlabRefusal* why = nullptr, Place where = Place::here()) = 0;
  virtual bool kfree(void* p, Place where = Place::here()) = 0;
  virtual bool kfree_nolock(void* p, Place where = Place::here()) = 0;
  virtual void kfree_bulk(std::size_t n, void** objects) = 0;
  virtual std::size_t ksize(const void* p) = 0;
  virtual void* zero_size() const = 0;

  virtual AnyCache* kmalloc_cache(unsigned i) = 0;
  virtual AnyCache* create(const char* name, std::size_t size, slab flags = slab::none) = 0;
  virtual bool destroy(AnyCache* c) = 0;
  virtual void* alloc(AnyCache* c, gfp flags, int node = kAnyNode, Place where = Place::here()) = 0;
  virtual void* alloc_nolock(AnyCache* c, gfp flags, int node = kAnyNode,
                             SlabRefusal* why = nullptr, Place where = Place::here()) = 0;
  virtual bool free(AnyCache* c, void* p, Place where = Place::here()) = 0;
  virtual bool free_nolock(AnyCache* c, void* p, Place where = Place::here()) = 0;
  virtual std::size_t alloc_bulk(AnyCache* c, gfp flags, std::size_t n, void** objects) = 0;
  virtual void free_bulk(AnyCache* c, std::size_t n, void** objects) = 0;
  virtual AnySheaf* prefill(AnyCache* c, gfp flags, unsigned n) = 0;
  virtual void* alloc_from(AnyCache* c, AnySheaf* s) = 0;
  virtual void give_back(AnyCache* c, AnySheaf* s) = 0;
  virtual void shrink(AnyCache* c) = 0;
  virtual void flush_cpu() = 0;
  virtual void fail_every(AnyCache* c, std::uint32_t k) = 0;

  virtual SlabStats stats(AnyCache* c) const = 0;
  // Whether `lock` lies in the cache.
  virtual bool has_lock(AnyCache* c, const void* lock) const = 0;
  // Objects out; ~0 if the cache is not consistent.
  virtual std::uintptr_t live(AnyCache* c) = 0;
  virtual bool consistent() = 0;  // all caches and the pages
  virtual Floor interrupted() const = 0;
  virtual std::size_t slabinfo(char* out, std::size_t size) = 0;

  // Of its pages.
  virtual PageStats page_stats(unsigned node = 0) const = 0;
  virtual unsigned node_of(const void* p) const = 0;
  virtual void set_allowed(gfp mask) = 0;
  virtual void fail_pages_every(std::uint32_t k) = 0;
  virtual void drain_pages() = 0;
};

struct SlabCase {
  Config config;
  std::unique_ptr<AnySlabs> (*make)();
  friend void PrintTo(const SlabCase& c, std::ostream* os) { *os << name_of(c.config); }
};

// The eight kernels, with an observer that calls lock_hook (page_allocators.h).
std::vector<SlabCase> observed_slabs();
// Two that decide by gfp bits whether a path may spin, as the kernel did: for K20 and K21.
std::vector<SlabCase> slabs_deciding_by_gfp();

}  // namespace nestlock::test_support
