// What nolock calls leave behind, in the real slab allocator: a free that finds the list's lock
// held defers its object, an allocation leaves its new slab as an orphan, and both mark the cache;
// who may spin and sees the mark settles them. When all is still, nothing may be left that no mark
// tells of. The page floor is a stub: each thread has a few pages.
//
//   FREES    so many threads free an object by free_nolock()
//   ALLOCS   so many allocate by alloc_nolock(), from a new slab when the list is empty or busy
// Thread 0 frees SPINS objects by free(), and so holds the list's lock for moments, and settles.
#include <algorithm>
#include <atomic>
#include <bit>
#include <concepts>
#include <cstring>
#include <iterator>
#include <new>
#include <type_traits>
#include <utility>

// set_up() is not run, since GenMC looks at each element of all arrays by itself: what it sets is
// set here, for tiny pages (NESTLOCK_PAGE_SHIFT). The cache's functions are as they stand.
#define private public
#include "nestlock/nestlock.h"
#include "nestlock/slab.h"
#undef private

namespace {

using namespace nestlock;

// Another than the built kernel, whose allocators are compiled elsewhere.
struct Nobody : NullObserver {};
using K = KernelOf<configs::smp, GenmcPort<configs::smp>, Nobody>;
using Cache = BasicKmemCache<K>;
constexpr unsigned kObjects = SPINS + FREES, kThreads = 1 + FREES + ALLOCS;
constexpr unsigned kPagesEach = 2, kPages = kPagesEach * (1 + kThreads);

alignas(kPageSize) constinit void* memory[kPageSize * kPages / sizeof(void*)];
constinit BasicPage<K> descriptors[kPages];
constinit BasicPageAllocator<K> pages;
constinit Cache cache;
void *object[kObjects], *taken[kThreads];
unsigned used[1 + kThreads];

BasicPage<K>* page_of_this_thread() {
  const unsigned cpu = genmc_cpu;
  if (used[cpu] == kPagesEach) return nullptr;
  BasicPage<K>& p = descriptors[cpu * kPagesEach + used[cpu]++];
  p.set(PageState::used, 0);
  return &p;
}

}  // namespace

template <>
BasicPage<K>* BasicPageAllocator<K>::alloc_pages(gfp, unsigned, int, Place) noexcept {
  return page_of_this_thread();
}
template <>
BasicPage<K>* BasicPageAllocator<K>::alloc_pages_nolock(gfp, unsigned, int, PageRefusal*,
                                                        Place) noexcept {
  return page_of_this_thread();
}
template <>  // no slab is given back here: the cache keeps more than these threads can empty
bool BasicPageAllocator<K>::free_pages(BasicPage<K>*, unsigned, Place) noexcept {
  assert(!"a page is freed");
  return false;
}
template <>
bool BasicPageAllocator<K>::free_pages_nolock(BasicPage<K>*, unsigned, Place) noexcept {
  assert(!"a page is freed");
  return false;
}

namespace {

void set_up() {
  pages.all_ = descriptors;
  pages.first_pfn_ = reinterpret_cast<std::uintptr_t>(memory) >> kPageShift;
  pages.pages_ = kPages;
  cache.pages_ = &pages;
  cache.object_size_ = cache.stride_ = kPageSize / 2;
}

void body(unsigned i) {
  if (i == 0) {
    for (unsigned k = 0; k < SPINS; ++k) cache.free(object[FREES + k]);
  } else if (i <= FREES) {
    cache.free_nolock(object[i - 1]);
  } else {
    taken[i] = cache.alloc_nolock(gfp::nowarn);
  }
}

}  // namespace

int main() {
  set_up();
  for (void*& o : object) o = cache.alloc(gfp::nowarn);
  genmc::run<body, kThreads>();
  cache.settle();  // what the mark tells of
  assert(cache.deferred_.load() == nullptr && cache.node_[0].orphans.empty());
  assert(cache.counters_.deferred.load() == cache.counters_.settled.load());
}
