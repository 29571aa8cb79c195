// The C face of the slab floor.
#include "face.h"
#include "nestlock/c/slab.h"
#include "nestlock/system_slab.h"

using nestlock::gfp;
using nestlock::KmemCache;
using nestlock::slab;
using nestlock::system_slab;

namespace {

template <class C, class Cxx>
constexpr bool same(C c, Cxx cxx) noexcept {
  return static_cast<Cxx>(c) == cxx;
}
static_assert(same(NESTLOCK_SLAB_NONE, slab::none) &&
              same(NESTLOCK_SLAB_NO_SHEAVES, slab::no_sheaves) &&
              same(NESTLOCK_SLAB_DEBUG, slab::debug) &&
              same(NESTLOCK_SLAB_HARDENED, slab::hardened));
static_assert(same(NESTLOCK_FLOOR_NONE, nestlock::Floor::none) &&
              same(NESTLOCK_FLOOR_PAGE, nestlock::Floor::page) &&
              same(NESTLOCK_FLOOR_SLAB, nestlock::Floor::slab));

// The C type is a name without a definition: a cache under another name.
KmemCache* cache(nestlock_kmem_cache_t* c) noexcept { return reinterpret_cast<KmemCache*>(c); }
const KmemCache* cache(const nestlock_kmem_cache_t* c) noexcept {
  return reinterpret_cast<const KmemCache*>(c);
}

}  // namespace

void* nestlock_kmalloc(std::size_t size, nestlock_gfp_t flags NESTLOCK_PLACE) noexcept {
  return system_slab().kmalloc(size, gfp{flags}, NESTLOCK_WHERE);
}
void* nestlock_kzalloc(std::size_t size, nestlock_gfp_t flags NESTLOCK_PLACE) noexcept {
  return system_slab().kzalloc(size, gfp{flags}, NESTLOCK_WHERE);
}
void* nestlock_krealloc(void* object, std::size_t size,
                        nestlock_gfp_t flags NESTLOCK_PLACE) noexcept {
  return system_slab().krealloc(object, size, gfp{flags}, NESTLOCK_WHERE);
}
bool nestlock_kfree(const void* object NESTLOCK_PLACE) noexcept {
  return system_slab().kfree(const_cast<void*>(object), NESTLOCK_WHERE);
}
bool nestlock_kfree_sized(const void* object, std::size_t size NESTLOCK_PLACE) noexcept {
  return system_slab().kfree_sized(const_cast<void*>(object), size, NESTLOCK_WHERE);
}
std::size_t nestlock_ksize(const void* object) noexcept { return system_slab().ksize(object); }
void* nestlock_kmalloc_nolock(std::size_t size, nestlock_gfp_t flags,
                              int node NESTLOCK_PLACE) noexcept {
  return system_slab().kmalloc_nolock(size, gfp{flags}, node, nullptr, NESTLOCK_WHERE);
}
bool nestlock_kfree_nolock(const void* object NESTLOCK_PLACE) noexcept {
  return system_slab().kfree_nolock(const_cast<void*>(object), NESTLOCK_WHERE);
}

nestlock_kmem_cache_t* nestlock_kmem_cache_create(const char* name, std::size_t size,
                                                  std::size_t align, nestlock_slab_flags_t flags,
                                                  void (*constructor)(void*)) noexcept {
  return reinterpret_cast<nestlock_kmem_cache_t*>(
      system_slab().create(name, size, align, slab{flags}, constructor));
}
bool nestlock_kmem_cache_destroy(nestlock_kmem_cache_t* c) noexcept {
  return system_slab().destroy(cache(c));
}
void* nestlock_kmem_cache_alloc(nestlock_kmem_cache_t* c,
                                nestlock_gfp_t flags NESTLOCK_PLACE) noexcept {
  return cache(c)->alloc(gfp{flags}, nestlock::kAnyNode, NESTLOCK_WHERE);
}
bool nestlock_kmem_cache_free(nestlock_kmem_cache_t* c, void* object NESTLOCK_PLACE) noexcept {
  return cache(c)->free(object, NESTLOCK_WHERE);
}
void* nestlock_kmem_cache_alloc_nolock(nestlock_kmem_cache_t* c, nestlock_gfp_t flags,
                                       int node NESTLOCK_PLACE) noexcept {
  return cache(c)->alloc_nolock(gfp{flags}, node, nullptr, NESTLOCK_WHERE);
}
bool nestlock_kmem_cache_free_nolock(nestlock_kmem_cache_t* c,
                                     void* object NESTLOCK_PLACE) noexcept {
  return cache(c)->free_nolock(object, NESTLOCK_WHERE);
}
std::size_t nestlock_kmem_cache_alloc_bulk(nestlock_kmem_cache_t* c, nestlock_gfp_t flags,
                                           std::size_t n, void** objects) noexcept {
  return cache(c)->alloc_bulk(gfp{flags}, n, objects);
}
void nestlock_kmem_cache_free_bulk(nestlock_kmem_cache_t* c, std::size_t n,
                                   void** objects) noexcept {
  cache(c)->free_bulk(n, objects);
}
void nestlock_kmem_cache_shrink(nestlock_kmem_cache_t* c) noexcept { cache(c)->shrink(); }
std::size_t nestlock_kmem_cache_size(const nestlock_kmem_cache_t* c) noexcept {
  return cache(c)->object_size();
}
nestlock_floor_t nestlock_interrupted_floor() noexcept {
  return static_cast<nestlock_floor_t>(nestlock_interrupted());
}
bool nestlock_slab_settle(void) noexcept { return system_slab().settle(); }
