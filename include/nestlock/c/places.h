// C: the places of calls. In a debug configuration a report says where the call was that it is
// about; C++ has default arguments for that, C has macros: each function that takes a place is also
// a macro of the same name which adds it. Elsewhere the macros add nothing.
//
// To take the address of such a function, or to give it to another language, write a function of
// your own around it: in debug configurations it has two parameters more than its macro shows.
#pragma once

// First what they wrap: a declaration below a macro of its name would be taken for a call.
#include "nestlock/c/local.h"
#include "nestlock/c/slab.h"
#include "nestlock/c/spin.h"

// ---- spin.h ----

#define nestlock_raw_spin_lock_init(lock) nestlock_raw_spin_lock_init(lock NESTLOCK_HERE)
#define nestlock_raw_spin_lock(lock) nestlock_raw_spin_lock(lock NESTLOCK_HERE)
#define nestlock_raw_spin_trylock(lock) nestlock_raw_spin_trylock(lock NESTLOCK_HERE)
#define nestlock_raw_spin_unlock(lock) nestlock_raw_spin_unlock(lock NESTLOCK_HERE)
#define nestlock_raw_spin_lock_irqsave(lock, flags) \
  nestlock_raw_spin_lock_irqsave(lock, flags NESTLOCK_HERE)
#define nestlock_raw_spin_trylock_irqsave(lock, flags) \
  nestlock_raw_spin_trylock_irqsave(lock, flags NESTLOCK_HERE)
#define nestlock_raw_spin_unlock_irqrestore(lock, flags) \
  nestlock_raw_spin_unlock_irqrestore(lock, flags NESTLOCK_HERE)
#define nestlock_raw_spin_lock_irq(lock) nestlock_raw_spin_lock_irq(lock NESTLOCK_HERE)
#define nestlock_raw_spin_trylock_irq(lock) nestlock_raw_spin_trylock_irq(lock NESTLOCK_HERE)
#define nestlock_raw_spin_unlock_irq(lock) nestlock_raw_spin_unlock_irq(lock NESTLOCK_HERE)
#define nestlock_raw_spin_lock_bh(lock) nestlock_raw_spin_lock_bh(lock NESTLOCK_HERE)
#define nestlock_raw_spin_trylock_bh(lock) nestlock_raw_spin_trylock_bh(lock NESTLOCK_HERE)
#define nestlock_raw_spin_unlock_bh(lock) nestlock_raw_spin_unlock_bh(lock NESTLOCK_HERE)
#define nestlock_assert_raw_spin_locked(lock) nestlock_assert_raw_spin_locked(lock NESTLOCK_HERE)
#define nestlock_spin_lock_init(lock) nestlock_spin_lock_init(lock NESTLOCK_HERE)
#define nestlock_spin_lock(lock) nestlock_spin_lock(lock NESTLOCK_HERE)
#define nestlock_spin_trylock(lock) nestlock_spin_trylock(lock NESTLOCK_HERE)
#define nestlock_spin_unlock(lock) nestlock_spin_unlock(lock NESTLOCK_HERE)
#define nestlock_spin_lock_irqsave(lock, flags) \
  nestlock_spin_lock_irqsave(lock, flags NESTLOCK_HERE)
#define nestlock_spin_trylock_irqsave(lock, flags) \
  nestlock_spin_trylock_irqsave(lock, flags NESTLOCK_HERE)
#define nestlock_spin_unlock_irqrestore(lock, flags) \
  nestlock_spin_unlock_irqrestore(lock, flags NESTLOCK_HERE)
#define nestlock_spin_lock_irq(lock) nestlock_spin_lock_irq(lock NESTLOCK_HERE)
#define nestlock_spin_trylock_irq(lock) nestlock_spin_trylock_irq(lock NESTLOCK_HERE)
#define nestlock_spin_unlock_irq(lock) nestlock_spin_unlock_irq(lock NESTLOCK_HERE)
#define nestlock_spin_lock_bh(lock) nestlock_spin_lock_bh(lock NESTLOCK_HERE)
#define nestlock_spin_trylock_bh(lock) nestlock_spin_trylock_bh(lock NESTLOCK_HERE)
#define nestlock_spin_unlock_bh(lock) nestlock_spin_unlock_bh(lock NESTLOCK_HERE)
#define nestlock_assert_spin_locked(lock) nestlock_assert_spin_locked(lock NESTLOCK_HERE)
#define nestlock_tryspin_lock_init(lock) nestlock_tryspin_lock_init(lock NESTLOCK_HERE)
#define nestlock_tryspin_lock(lock) nestlock_tryspin_lock(lock NESTLOCK_HERE)
#define nestlock_tryspin_trylock(lock) nestlock_tryspin_trylock(lock NESTLOCK_HERE)
#define nestlock_tryspin_unlock(lock) nestlock_tryspin_unlock(lock NESTLOCK_HERE)
#define nestlock_tryspin_lock_irqsave(lock, flags) \
  nestlock_tryspin_lock_irqsave(lock, flags NESTLOCK_HERE)
#define nestlock_tryspin_trylock_irqsave(lock, flags) \
  nestlock_tryspin_trylock_irqsave(lock, flags NESTLOCK_HERE)
#define nestlock_tryspin_unlock_irqrestore(lock, flags) \
  nestlock_tryspin_unlock_irqrestore(lock, flags NESTLOCK_HERE)
#define nestlock_tryspin_lock_irq(lock) nestlock_tryspin_lock_irq(lock NESTLOCK_HERE)
#define nestlock_tryspin_trylock_irq(lock) nestlock_tryspin_trylock_irq(lock NESTLOCK_HERE)
#define nestlock_tryspin_unlock_irq(lock) nestlock_tryspin_unlock_irq(lock NESTLOCK_HERE)
#define nestlock_tryspin_lock_bh(lock) nestlock_tryspin_lock_bh(lock NESTLOCK_HERE)
#define nestlock_tryspin_trylock_bh(lock) nestlock_tryspin_trylock_bh(lock NESTLOCK_HERE)
#define nestlock_tryspin_unlock_bh(lock) nestlock_tryspin_unlock_bh(lock NESTLOCK_HERE)
#define nestlock_assert_tryspin_locked(lock) nestlock_assert_tryspin_locked(lock NESTLOCK_HERE)

// ---- local.h ----

#define nestlock_local_lock_init(lock) nestlock_local_lock_init(lock NESTLOCK_HERE)
#define nestlock_local_lock(all, member) \
  NESTLOCK_INTERNAL_ELEMENT(             \
      all, nestlock_local_lock_in(NESTLOCK_INTERNAL_IN(all, member) NESTLOCK_HERE))
#define nestlock_local_lock_irqsave(all, member, flags) \
  NESTLOCK_INTERNAL_ELEMENT(                            \
      all, nestlock_local_lock_irqsave_in(NESTLOCK_INTERNAL_IN(all, member), flags NESTLOCK_HERE))
#define nestlock_local_lock_irq(all, member) \
  NESTLOCK_INTERNAL_ELEMENT(                 \
      all, nestlock_local_lock_irq_in(NESTLOCK_INTERNAL_IN(all, member) NESTLOCK_HERE))
#define nestlock_local_unlock(lock) nestlock_local_unlock(lock NESTLOCK_HERE)
#define nestlock_local_unlock_irqrestore(lock, flags) \
  nestlock_local_unlock_irqrestore(lock, flags NESTLOCK_HERE)
#define nestlock_local_unlock_irq(lock) nestlock_local_unlock_irq(lock NESTLOCK_HERE)
#define nestlock_local_lock_nested_bh(lock) nestlock_local_lock_nested_bh(lock NESTLOCK_HERE)
#define nestlock_local_unlock_nested_bh(lock) nestlock_local_unlock_nested_bh(lock NESTLOCK_HERE)
#define nestlock_trylocal_lock_init(lock) nestlock_trylocal_lock_init(lock NESTLOCK_HERE)
#define nestlock_trylocal_lock(all, member) \
  NESTLOCK_INTERNAL_ELEMENT(                \
      all, nestlock_trylocal_lock_in(NESTLOCK_INTERNAL_IN(all, member) NESTLOCK_HERE))
#define nestlock_trylocal_trylock(all, member) \
  NESTLOCK_INTERNAL_ELEMENT(                   \
      all, nestlock_trylocal_trylock_in(NESTLOCK_INTERNAL_IN(all, member) NESTLOCK_HERE))
#define nestlock_trylocal_lock_irqsave(all, member, flags)          \
  NESTLOCK_INTERNAL_ELEMENT(all, nestlock_trylocal_lock_irqsave_in( \
                                     NESTLOCK_INTERNAL_IN(all, member), flags NESTLOCK_HERE))
#define nestlock_trylocal_trylock_irqsave(all, member, flags)          \
  NESTLOCK_INTERNAL_ELEMENT(all, nestlock_trylocal_trylock_irqsave_in( \
                                     NESTLOCK_INTERNAL_IN(all, member), flags NESTLOCK_HERE))
#define nestlock_trylocal_lock_irq(all, member) \
  NESTLOCK_INTERNAL_ELEMENT(                    \
      all, nestlock_trylocal_lock_irq_in(NESTLOCK_INTERNAL_IN(all, member) NESTLOCK_HERE))
#define nestlock_trylocal_unlock(lock) nestlock_trylocal_unlock(lock NESTLOCK_HERE)
#define nestlock_trylocal_unlock_irqrestore(lock, flags) \
  nestlock_trylocal_unlock_irqrestore(lock, flags NESTLOCK_HERE)
#define nestlock_trylocal_unlock_irq(lock) nestlock_trylocal_unlock_irq(lock NESTLOCK_HERE)

// ---- pages.h, slab.h ----

#define nestlock_alloc_pages(flags, order) nestlock_alloc_pages(flags, order NESTLOCK_HERE)
#define nestlock_alloc_pages_node(node, flags, order) \
  nestlock_alloc_pages_node(node, flags, order NESTLOCK_HERE)
#define nestlock_free_pages(page, order) nestlock_free_pages(page, order NESTLOCK_HERE)
#define nestlock_alloc_pages_nolock(flags, node, order) \
  nestlock_alloc_pages_nolock(flags, node, order NESTLOCK_HERE)
#define nestlock_free_pages_nolock(page, order) \
  nestlock_free_pages_nolock(page, order NESTLOCK_HERE)
#define nestlock_kmalloc(size, flags) nestlock_kmalloc(size, flags NESTLOCK_HERE)
#define nestlock_kzalloc(size, flags) nestlock_kzalloc(size, flags NESTLOCK_HERE)
#define nestlock_krealloc(object, size, flags) nestlock_krealloc(object, size, flags NESTLOCK_HERE)
#define nestlock_kfree(object) nestlock_kfree(object NESTLOCK_HERE)
#define nestlock_kfree_sized(object, size) nestlock_kfree_sized(object, size NESTLOCK_HERE)
#define nestlock_kmalloc_nolock(size, flags, node) \
  nestlock_kmalloc_nolock(size, flags, node NESTLOCK_HERE)
#define nestlock_kfree_nolock(object) nestlock_kfree_nolock(object NESTLOCK_HERE)
#define nestlock_kmem_cache_alloc(cache, flags) \
  nestlock_kmem_cache_alloc(cache, flags NESTLOCK_HERE)
#define nestlock_kmem_cache_free(cache, object) \
  nestlock_kmem_cache_free(cache, object NESTLOCK_HERE)
#define nestlock_kmem_cache_alloc_nolock(cache, flags, node) \
  nestlock_kmem_cache_alloc_nolock(cache, flags, node NESTLOCK_HERE)
#define nestlock_kmem_cache_free_nolock(cache, object) \
  nestlock_kmem_cache_free_nolock(cache, object NESTLOCK_HERE)
