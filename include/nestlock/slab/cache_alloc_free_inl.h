// Allocation and free of a cache: the fast path, and the order in which the rest is tried. Included
// by slab.h.
#pragma once

#include <cstring>
#include <new>

#include "nestlock/slab.h"

namespace nestlock {

template <Kernel K, LockPolicy L>
inline void* BasicKmemCache<K, L>::given(void* object) noexcept {
  if (internal::kWithAsan && object) internal::asan_unpoison(object, object_size_);
  return object;
}

template <Kernel K, LockPolicy L>
inline void* BasicKmemCache<K, L>::leaves(void* object) noexcept {
  if constexpr (K::kConfig.debug) goes_out(object);
  return given(object);
}

template <Kernel K, LockPolicy L>
inline void BasicKmemCache<K, L>::taken(void* object) noexcept {
  if (!internal::kWithAsan || debugged()) return;
  (void)*static_cast<volatile char*>(object);
  internal::asan_poison(object, object_size_);
}

template <Kernel K, LockPolicy L>
inline typename BasicKmemCache<K, L>::Word& BasicKmemCache<K, L>::attention() noexcept {
  if constexpr (!kLean)
    if (attention_) return *attention_;
  return own_attention_;
}

template <Kernel K, LockPolicy L>
template <class At>
[[gnu::always_inline]] inline bool BasicKmemCache<K, L>::pop_here(At at, void*& object) noexcept {
  auto c = at.template try_lock_claimed<&CpuSheaves::lock>(typename L::PcpTag{});
  if (!c) [[unlikely]]
    return false;
  void** const top = c->top.load(internal::kRelaxed);
  if (top <= c->bottom.load(internal::kRelaxed)) [[unlikely]]
    return false;
  internal::bump_locked(c->allocs);
  c->top.store(top - 1, internal::kRelaxed);
  object = top[-1];
  return true;
}

template <Kernel K, LockPolicy L>
template <class At>
[[gnu::always_inline]] inline bool BasicKmemCache<K, L>::push_here(At at, void* object) noexcept {
  auto c = at.template try_lock_claimed<&CpuSheaves::lock>(typename L::PcpTag{});
  if (!c) [[unlikely]]
    return false;
  void** const top = c->top.load(internal::kRelaxed);
  // The object on top was freed just before: the slow path refuses it. (In an empty sheaf what lies there
  // is its header, which no object equals.)
  if (c->unfree & reinterpret_cast<std::uintptr_t>(object) ||
      top >= c->limit.load(internal::kRelaxed) || top[-1] == object) [[unlikely]]
    return false;
  *top = object;
  c->top.store(top + 1, internal::kRelaxed);
  return true;
}

// The fast path and nothing behind it.
template <Kernel K, LockPolicy L>
template <class At>
[[gnu::always_inline]] inline void* BasicKmemCache<K, L>::alloc_at_hand(
    At at, const Word& attention) noexcept {
  void* o = nullptr;
  if (internal::peek<typename K::Port, std::uint32_t>(attention) || !L::may_try() ||
      !pop_here(at, o)) [[unlikely]]
    return nullptr;
  if (!o) __builtin_unreachable();  // so that no caller tests it once more
  return leaves(o);
}

template <Kernel K, LockPolicy L>
inline void* BasicKmemCache<K, L>::alloc(gfp flags, int node, Place where) noexcept {
  internal::check_may_spin<K>("KmemCache", "alloc", flags, where);
  if constexpr (!kLean)
    if (!attention_) return nullptr;  // not set up
  return alloc_sized(cpu_, this->attention(), object_size_, flags, node, where);
}

template <Kernel K, LockPolicy L>
void* BasicKmemCache<K, L>::alloc_nolock(gfp flags, int node, SlabRefusal* why,
                                         Place where) noexcept {
  if constexpr (!kLean)
    if (!attention_) return alloc_trying(object_size_, flags, node, why, where);  // not set up
  return alloc_nolock_sized(cpu_, this->attention(), object_size_, flags, node, why, where);
}

template <Kernel K, LockPolicy L>
[[gnu::always_inline]] inline void* BasicKmemCache<K, L>::alloc_sized(
    [[maybe_unused]] Slots at, [[maybe_unused]] const Word& attention, std::size_t size, gfp flags,
    int node, Place where) noexcept {
  if constexpr (kLean) {
    return alloc_lean(flags, SlabAlloc::spinning, node, nullptr);
  } else {
    void* o;
    if (node >= 0 || attention.load(internal::kRelaxed) || !pop_here(at, o)) [[unlikely]]
      return alloc_spinning(size, flags, node, where);
    return has(flags, gfp::zero) ? finish(leaves(o), object_size_, flags) : leaves(o);
  }
}

// Out of line and tail-called, so that the fast path saves no registers.
template <Kernel K, LockPolicy L>
[[gnu::noinline]] void* BasicKmemCache<K, L>::alloc_spinning(std::size_t size, gfp flags, int node,
                                                             Place where) noexcept
  requires(!internal::kLeanOf<K>)
{
  if (node < 0)
    if (void* const o = alloc_near()) return finish(o, object_size_, flags);
  if (has(flags, gfp::reclaim) && this->attention().load(internal::kRelaxed) & kDecaying)
    look_at_decay();
  SlabRefusal why{};
  void* const o = given(alloc_slow({flags, SlabAlloc::spinning, node}, &why));
  if (!o && tag_ && has(flags, gfp::memalloc)) [[unlikely]]
    return alloc_of_the_reserve(flags, node, where);
  if (!debugged()) return finish(goes_out(o), object_size_, flags);
  return finish(debug_alloc(o, size, "alloc", where), size, flags);
}

// What is left of the pages' reserve a call with gfp::memalloc gets as pages of its own: the rest of a slab
// would go to ordinary calls.
template <Kernel K, LockPolicy L>
[[gnu::cold, gnu::noinline]] void* BasicKmemCache<K, L>::alloc_of_the_reserve(gfp flags, int node,
                                                                              Place where) noexcept
  requires(!internal::kLeanOf<K>)
{
  const auto n = static_cast<std::uint32_t>((object_size_ + kPageSize - 1) / kPageSize);
  Page* const p = pages_->alloc_pages_exact(flags, n, node, where);
  if (!p) return nullptr;
  p->kind = kLarge;
  p->owner_count = n;
  return pages_->address(p);
}

template <Kernel K, LockPolicy L>
[[gnu::always_inline]] inline void* BasicKmemCache<K, L>::alloc_nolock_sized(
    [[maybe_unused]] Slots at, [[maybe_unused]] const Word& attention, std::size_t size, gfp flags,
    int node, SlabRefusal* why, Place where) noexcept {
  if constexpr (kLean) {
    return alloc_lean(flags, SlabAlloc::nolock, node, why);
  } else {
    void* o;
    if (node < 0 && !attention.load(internal::kRelaxed) && L::may_try() && pop_here(at, o))
        [[likely]] {
      if (why) *why = SlabRefusal::none;
      return has(flags, gfp::zero) ? finish(leaves(o), object_size_, flags) : leaves(o);
    }
    return alloc_trying(size, flags, node, why, where);
  }
}

template <Kernel K, LockPolicy L>
[[gnu::noinline]] void* BasicKmemCache<K, L>::alloc_trying(std::size_t size, gfp flags, int node,
                                                           SlabRefusal* why, Place where) noexcept
  requires(!internal::kLeanOf<K>)
{
  SlabRefusal reason{};
  void* o = nullptr;
  if (!L::may_try())
    reason = SlabRefusal::gate;
  else if (fails_now())
    reason = SlabRefusal::injected;
  else
    o = given(alloc_slow({flags, SlabAlloc::nolock, node}, &reason));
  // (Where the list was busy it still is.)
  if (o && reason == SlabRefusal::none) settle_some(kSettledByNolock, false);
  if (!o) internal::bump(counters_.refusals[static_cast<unsigned>(reason)]);
  if (why) *why = o ? SlabRefusal::none : reason;
  if (!debugged()) return finish(goes_out(o), object_size_, flags);
  return finish(debug_alloc(o, size, "alloc_nolock", where), size, flags);
}

template <Kernel K, LockPolicy L>
inline void* BasicKmemCache<K, L>::finish(void* object, std::size_t size, gfp flags) noexcept {
  if (has(flags, gfp::zero) && object) std::memset(object, 0, size);
  return object;
}

// Sheaf (main, spare, barn), else a refill, else the list, else a new slab.
template <Kernel K, LockPolicy L>
void* BasicKmemCache<K, L>::alloc_slow(const Request& r, SlabRefusal* why) noexcept
  requires(!internal::kLeanOf<K>)
{
  if (!pages_) return nullptr;  // not set up
  if (r.may_spin()) {
    settle_some(kSettledAtOnce, true);
    if (fails_now()) {
      internal::bump(counters_.injected);
      return internal::bump(counters_.failures), nullptr;
    }
  }
  if (r.node >= static_cast<int>(pages_->nodes())) {  // there is no such node
    *why = SlabRefusal::no_pages;
    if (r.may_spin()) internal::bump(counters_.failures);
    return nullptr;
  }
  Node& n = home(r.node);
  bool no_sheaf = sheaf_source_ == nullptr || !alloc_flags_allow_sheaves(r.alloc_flags);
  if (!no_sheaf && (r.node < 0 || pages_->nodes() == 1)) {
    auto c = cpu_.template try_lock_here<&CpuSheaves::lock>(typename L::PcpTag{});
    if (c && !reach_.elsewhere()) {
      MainOut out(*c, place_, unfree_bits_);
      if (c->main->size == 0 && c->spare && c->spare->size) fill_from_spare(*c);
      if (c->main->size == 0)
        if (Sheaf* const s = barn_swap(n, c->main, Want::full, r.may_spin())) c->main = s;
      if (c->main->size) return out.pop();
    } else {
      internal::bump(counters_.local_busy);
      no_sheaf = true;  // the code that we interrupted has it: filling one would not help us
    }
  }
  if (r.may_spin() && !no_sheaf && r.node < 0) {
    if (Sheaf* const s = refilled_sheaf(n, r)) {
      void* const o = s->object()[--s->size];
      install_full(n, s);
      internal::bump(counters_.refill_allocs);
      return o;
    }
  }
  // The node that was named, its list and its pages, before what others have.
  if (r.node >= 0 && pages_->nodes() > 1 && !has(r.flags, gfp::thisnode)) {
    const Request here{r.flags | gfp::thisnode | gfp::nowarn, r.alloc_flags, r.node};
    SlabRefusal unheard{};
    if (void* const o = alloc_from_list(here, unheard)) return o;
    if (void* const o = alloc_from_new_slab(here, unheard))
      return internal::bump(counters_.new_slab_allocs), o;
  }
  if (void* const o = alloc_from_list(r, *why)) return o;
  if (void* const o = alloc_from_new_slab(r, *why))
    return internal::bump(counters_.new_slab_allocs), o;
  if (r.may_spin()) internal::bump(counters_.failures);
  return nullptr;
}

template <Kernel K, LockPolicy L>
inline BasicPage<K>& BasicKmemCache<K, L>::slab_of(void* object) noexcept {
  return *pages_->head_of(pages_->page_of(object));
}

template <Kernel K, LockPolicy L>
typename BasicKmemCache<K, L>::Node& BasicKmemCache<K, L>::home(int node) noexcept {
  const unsigned nodes = pages_->nodes();
  if (node >= 0) return node_[static_cast<unsigned>(node) % nodes];
  return node_[nodes == 1 ? 0 : K::Port::cpu_id() % nodes];
}

template <Kernel K, LockPolicy L>
inline bool BasicKmemCache<K, L>::free(void* object, Place where) noexcept {
  Page* const p = pages_->page_of(object);
  if (!p || p->kind != kSlab || p->owner != this) [[unlikely]]
    return bad_free(object, "free", where);
  internal::check_may_spin<K>("KmemCache", "free", gfp::none, where);
  if constexpr (kLean) {
    return free_lean(*p, object, true, "free", where);
  } else {
    if (free_fast(cpu_, object)) [[likely]]
      return true;
    return free_spinning(*p, object, "free", where);
  }
}

template <Kernel K, LockPolicy L>
inline bool BasicKmemCache<K, L>::free_nolock(void* object, Place where) noexcept {
  Page* const p = pages_->page_of(object);
  if (!p || p->kind != kSlab || p->owner != this) [[unlikely]]
    return bad_free(object, "free_nolock", where);
  if constexpr (kLean) {
    return free_lean(*p, object, false, "free_nolock", where);
  } else {
    if (L::may_try() && free_fast(cpu_, object)) [[likely]]
      return true;
    return free_trying(*p, object, "free_nolock", where);
  }
}

// An object of this cache, by what its page's tag or descriptor says, into this CPU's sheaf. False:
// nothing changed, and the slow paths look closely. (What was deferred does not keep a free off this path:
// the next allocation settles some of it, and the next free that finds the sheaf full.)
template <Kernel K, LockPolicy L>
[[gnu::always_inline]] inline bool BasicKmemCache<K, L>::free_fast(CpuSlots at,
                                                                   void* object) noexcept
  requires(!internal::kLeanOf<K>)
{
  if constexpr (K::kConfig.debug) {  // all that is known is looked at
    Page* const p = pages_ ? pages_->page_of(object) : nullptr;
    if (!p || p->kind != kSlab || !is_object(*p, object) || !comes_back(object)) return false;
  }
  taken(object);
  if (push_here(at, object)) [[likely]]
    return true;
  given(object);
  if constexpr (K::kConfig.debug) goes_out(object);
  return false;
}

// Out of line and tail-called, as alloc_spinning() is. `p` is a page of the object's slab.
template <Kernel K, LockPolicy L>
[[gnu::noinline]] bool BasicKmemCache<K, L>::free_spinning(Page& p, void* object, const char* call,
                                                           Place where) noexcept
  requires(!internal::kLeanOf<K>)
{
  if (!is_object(p, object)) return refuse_free(Finding::foreign_pointer, object, call, where);
  if (free_near(p, object)) return true;
  if (debugged()) {
    if (!debug_free(object, call, where)) return internal::bump(counters_.bad_frees), false;
  } else if (knows_out() ? !comes_back(object) : is_in_sheaf(object)) {
    return refuse_free(Finding::double_free, object, call, where);
  }
  taken(object);
  settle_some(kSettledAtOnce, true);
  if (is_local(p) && sheaf_source_ && free_to_sheaf(object, true)) return true;
  return free_to_slab(object, true) == Given::taken ||
         refuse_free(Finding::double_free, object, call, where);
}

// Into this CPU's two sheaves, a full one to the barn. False: nothing changed; anything else is to be done, or looked at.
template <Kernel K, LockPolicy L>
inline bool BasicKmemCache<K, L>::free_near(Page& p, void* object) noexcept
  requires(!internal::kLeanOf<K>)
{
  if (this->attention().load(internal::kRelaxed) || knows_out() || !is_object(p, object))
    return false;
  taken(object);
  if (push_near(object)) return true;
  given(object);
  return false;
}

// The same from any context.
template <Kernel K, LockPolicy L>
[[gnu::noinline]] bool BasicKmemCache<K, L>::free_trying(Page& p, void* object, const char* call,
                                                         Place where) noexcept
  requires(!internal::kLeanOf<K>)
{
  if (!is_object(p, object)) return refuse_free(Finding::foreign_pointer, object, call, where);
  if (debugged()) {
    if (!debug_free(object, call, where)) return internal::bump(counters_.bad_frees), false;
  } else if (knows_out() ? !comes_back(object) : L::may_try() && is_in_sheaf(object)) {
    return refuse_free(Finding::double_free, object, call, where);
  }
  taken(object);
  if (L::may_try()) {
    const Given given =
        is_local(p) && sheaf_source_ && (push_here(cpu_, object) || free_to_sheaf(object, false))
            ? Given::taken
            : free_to_slab(object, false);
    switch (given) {
      case Given::taken:
        settle_some(kSettledByNolock, false);
        return true;
      case Given::free_already:
        return refuse_free(Finding::double_free, object, call, where);
      case Given::busy:
        break;
    }
  } else {
    internal::bump(counters_.gated_frees);
  }
  return defer(object) || refuse_free(Finding::double_free, object, call, where);
}

}  // namespace nestlock
