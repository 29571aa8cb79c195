// Sheaves and the barn: refills, flushes, swaps. Included by slab.h.
#pragma once

#include <new>
#include <utility>

#include "nestlock/lock/guard.h"
#include "nestlock/slab.h"

namespace nestlock {

// A sheaf with at least one object, or null. No lock is held on entry or while memory is asked for.
template <Kernel K, LockPolicy L>
internal::Sheaf* BasicKmemCache<K, L>::refilled_sheaf(Node& n, const Request& r) noexcept
  requires(!internal::kLeanOf<K>)
{
  Sheaf* const s = empty_sheaf(n);
  if (!s) return nullptr;
  // Memory of the system's for the first only: a program should not grow because a sheaf could be fuller.
  s->size = refill(n, r, s->object(), s->capacity, 1);
  if (s->size) return internal::bump(counters_.refills), s;
  put_empty(n, s);
  return nullptr;
}

template <Kernel K, LockPolicy L>
unsigned BasicKmemCache<K, L>::refill(Node& n, const Request& r, void** out, unsigned want,
                                      unsigned least) noexcept
  requires(!internal::kLeanOf<K>)
{
  unsigned got = 0;
  const auto still_least = [&] { return got < least ? least - got : 0; };
  bool fresh = false;  // what there is more of may need memory of the system's
  {
    Guard g(n.list_lock, irq_save);
    while (got < want && !n.partial.empty()) {
      fresh = pages_->page_at(n.partial.first())->clean;
      const unsigned more = take_locked(n, out + got, want - got, still_least());
      if (!more) break;
      got += more;
    }
  }
  // New slabs only until half is there: a cache should not grow because a sheaf could be fuller.
  while (got < least || (!fresh && got < (want + 1) / 2)) {
    Page* const p = new_slab(r);
    if (!p) break;
    fresh = p->clean;
    got += take_from(*p, out + got, want - got, still_least());
    if (!freelist(*p)) continue;
    Guard g(node_of(*p).list_lock, irq_save);
    add_slab_locked(node_of(*p), *p);
  }
  return got;
}

// A sheaf with objects becomes this CPU's; interrupts and other tasks may have changed its sheaves
// since, and it may be another CPU. Limits of the barn are not looked at here.
template <Kernel K, LockPolicy L>
void BasicKmemCache<K, L>::install_full(Node& n, Sheaf* s) noexcept
  requires(!internal::kLeanOf<K>)
{
  {
    auto c = cpu_.template try_lock_here<&CpuSheaves::lock>(typename L::PcpTag{});
    if (c && !reach_.elsewhere()) {
      const MainOut out(*c, place_, unfree_bits_);
      if (c->main->size == 0) {
        std::swap(c->main, s);
        if (s == &internal::no_sheaf) return;
        if (!c->spare) {
          c->spare = s;
          return;
        }
      } else if (!c->spare) {
        c->spare = s;
        return;
      } else if (c->spare->size == 0) {
        std::swap(c->spare, s);
      }
    }
  }
  if (s->size == 0)
    put_empty(n, s);
  else
    put_full(n, s);
}

// While free pages wait for their return to the system: the fast path all the same, for calls that pass without a look
// at the clock.
template <Kernel K, LockPolicy L>
[[gnu::always_inline]] inline bool BasicKmemCache<K, L>::pop_unlooked(CpuSlots at,
                                                                      void*& object) noexcept
  requires(!internal::kLeanOf<K>)
{
  auto c = at.template try_lock_claimed<&CpuSheaves::lock>(typename L::PcpTag{});
  if (!c || !c->unlooked) return false;
  void** const top = c->top.load(internal::kRelaxed);
  if (top <= c->bottom.load(internal::kRelaxed)) return false;
  --c->unlooked;
  internal::bump_locked(c->allocs);
  c->top.store(top - 1, internal::kRelaxed);
  object = top[-1];
  return true;
}

template <Kernel K, LockPolicy L>
[[gnu::always_inline]] inline void* BasicKmemCache<K, L>::alloc_unlooked(
    CpuSlots at, const Word& attention) noexcept
  requires(!internal::kLeanOf<K>)
{
  void* o = nullptr;
  if (attention.load(internal::kRelaxed) != kDecaying || !L::may_try() || !pop_unlooked(at, o))
    return nullptr;
  if (!o) __builtin_unreachable();
  return leaves(o);
}

// What a call does that finds main empty, if the spare is not, or the barn has a full one. Few instructions, for a load
// that goes up and down over a sheaf's end comes here again and again. (A barn that is held is for the slow path.)
template <Kernel K, LockPolicy L>
inline void* BasicKmemCache<K, L>::pop_near(CpuSheaves& c) noexcept
  requires(!internal::kLeanOf<K>)
{
  if (!c.in_main()) {
    if (!c.main) return nullptr;
    const MainOut out(c, place_, unfree_bits_);
    if (c.spare && c.spare->size)
      fill_from_spare(c);
    else if (Sheaf* const s = barn_swap(node_[0], c.main, Want::full, false))
      c.main = s;
    else
      return nullptr;
  }
  internal::bump_locked(c.allocs);
  void** const top = c.top.load(internal::kRelaxed) - 1;
  c.top.store(top, internal::kRelaxed);
  return *top;
}

// An object of this CPU's two sheaves, or of the barn's; null where anything else is to be done, or looked at.
template <Kernel K, LockPolicy L>
inline void* BasicKmemCache<K, L>::alloc_near() noexcept
  requires(!internal::kLeanOf<K>)
{
  const std::uint32_t attention = this->attention().load(internal::kRelaxed);
  if ((attention & ~std::uint32_t{kDecaying}) || !pages_ || !L::may_try()) return nullptr;
  auto c = cpu_.template try_lock_claimed<&CpuSheaves::lock>(typename L::PcpTag{});
  // While free pages wait some calls pass without a look at the clock.
  if (!c || reach_.elsewhere() || (attention && !c->unlooked)) return nullptr;
  void* const o = pop_near(*c);
  if (!o) return nullptr;
  if (attention) --c->unlooked;
  return leaves(o);
}

template <Kernel K, LockPolicy L>
inline void BasicKmemCache<K, L>::look_at_decay() noexcept
  requires(!internal::kLeanOf<K>)
{
  bool was_due = true;
  std::uintptr_t now = 0;
  pages_->decay(&was_due, &now);
  if (was_due) return;
  auto c = cpu_.template try_lock_claimed<&CpuSheaves::lock>(typename L::PcpTag{});
  if (!c) return;
  const auto at = static_cast<std::uint8_t>(now);
  c->unlooked =
      std::exchange(c->looked_at, at) == at ? CpuSheaves::kUnlookedInBurst : CpuSheaves::kUnlooked;
}

// Into main when it is full: the spare, or an empty sheaf of the barn's, takes its place. False also where the object
// lies on top of one of the two: it is free already.
template <Kernel K, LockPolicy L>
inline bool BasicKmemCache<K, L>::push_near(void* object) noexcept
  requires(!internal::kLeanOf<K>)
{
  auto c = cpu_.template try_lock_claimed<&CpuSheaves::lock>(typename L::PcpTag{});
  if (!c || reach_.elsewhere() || !c->spare || c->main == &internal::no_sheaf) return false;
  void** const top = c->top.load(internal::kRelaxed);
  const Sheaf& spare = *c->spare;
  if (top != c->limit.load(internal::kRelaxed) || top[-1] == object) return false;
  if (spare.size && c->spare->object()[spare.size - 1] == object) return false;
  {
    const MainOut out(*c, place_, unfree_bits_);
    if (spare.size < spare.capacity)
      empty_to_spare(*c);
    else if (Sheaf* const s = barn_swap(node_[0], c->main, Want::empty, false))
      c->main = s;
    else
      return false;
  }
  void** const free = c->top.load(internal::kRelaxed);
  *free = object;
  c->top.store(free + 1, internal::kRelaxed);
  return true;
}

// Main, which is out, is empty, the spare is not: they change places.
template <Kernel K, LockPolicy L>
inline void BasicKmemCache<K, L>::fill_from_spare(CpuSheaves& c) noexcept
  requires(!internal::kLeanOf<K>)
{
  internal::bump(counters_.spare_swaps);
  c.main_was_empty = true;
  std::swap(c.main, c.spare);
  if (c.spare == &internal::no_sheaf) c.spare = nullptr;
}

// Main is full, the spare is not: they change places. But where main was empty before, the load goes up and down about
// a sheaf's end: the half of main that came first goes, so that the next calls, up or down, find main neither empty nor
// full. (So no turn at main's other end needs the same.)
template <Kernel K, LockPolicy L>
inline void BasicKmemCache<K, L>::empty_to_spare(CpuSheaves& c) noexcept
  requires(!internal::kLeanOf<K>)
{
  internal::bump(counters_.spare_swaps);
  const std::uint32_t half = c.main->capacity / 2;
  if (std::exchange(c.main_was_empty, false) && half && c.spare->size + half <= c.spare->capacity) {
    void **const main = c.main->object(), **const spare = c.spare->object() + c.spare->size;
    for (std::uint32_t i = 0; i < half; ++i)  // a sheaf's capacity is even
      spare[i] = main[i], main[i] = main[half + i];
    c.spare->size += half;
    c.main->size -= half;
    return;
  }
  std::swap(c.main, c.spare);
  if (c.spare == &internal::no_sheaf) c.spare = nullptr;
}

// Main is full, or was: spare, barn, a new sheaf in its place, or the spare when it is emptied. False: nothing of
// that worked.
template <Kernel K, LockPolicy L>
bool BasicKmemCache<K, L>::free_to_sheaf(void* object, bool may_spin) noexcept
  requires(!internal::kLeanOf<K>)
{
  Sheaf* to_flush = nullptr;
  {
    auto c = cpu_.template try_lock_here<&CpuSheaves::lock>(typename L::PcpTag{});
    if (!c || reach_.elsewhere()) return internal::bump(counters_.local_busy), false;
    MainOut out(*c, place_, unfree_bits_);
    Node& n = home(kAnyNode);
    if (c->main->size == c->main->capacity) {
      if (c->spare && c->spare->size < c->spare->capacity) {
        empty_to_spare(*c);
      } else if (Sheaf* const s = barn_swap(n, c->main, Want::empty, may_spin)) {
        c->main = s;
      } else if (may_spin && c->spare) {
        to_flush = c->spare;
        c->spare = nullptr;
      }
    }
    if (c->main->size < c->main->capacity) return out.push(object), true;
  }
  if (!may_spin) return false;
  Node& n = home(kAnyNode);
  // The barn may grow. If it did not, a load that frees more than two sheaves before it allocates again would have each
  // slab made and given back in each round.
  const bool grows = n.nr_full.load(internal::kRelaxed) < grows_to_;
  Sheaf* empty = to_flush && !grows ? nullptr : empty_sheaf(n);
  if (to_flush && empty) put_full(n, to_flush);
  if (to_flush && !empty) flush(*(empty = to_flush));
  if (!empty) return false;
  bool done = false;
  {
    auto c = cpu_.template try_lock_here<&CpuSheaves::lock>(typename L::PcpTag{});
    if (c && !reach_.elsewhere()) {
      MainOut out(*c, place_, unfree_bits_);
      if (c->main->size == c->main->capacity && (!c->spare || c->main == &internal::no_sheaf)) {
        if (c->main != &internal::no_sheaf) c->spare = c->main;
        c->main = empty;
        empty = nullptr;
      }
      if (c->main->size < c->main->capacity) {
        out.push(object);
        done = true;
      }
    }
  }
  if (empty) put_empty(n, empty);
  return done;
}

// Objects back to their slabs; nobody else has the sheaf. May spin.
template <Kernel K, LockPolicy L>
void BasicKmemCache<K, L>::flush(Sheaf& s, bool may_spin) noexcept
  requires(!internal::kLeanOf<K>)
{
  internal::bump(counters_.flushes);
  Refused refused;
  for (unsigned i = 0; i < pages_->nodes(); ++i) {
    Node& n = node_[i];
    Page* empty = nullptr;
    // `f` takes the first of so many objects and perhaps some that follow it, and returns how many.
    const auto each_of_node = [&](auto f) {
      for (unsigned k = 0; k < s.size;) {
        Page& p = slab_of(s.object()[k]);
        k += &node_of(p) == &n ? f(p, s.object() + k, s.size - k) : 1;
      }
    };
    const bool listed = with_list(n, may_spin, [&] {
      each_of_node([&](Page& p, void** object, unsigned many) {
        return give_locked(n, p, object, many, empty, refused);
      });
    });
    if (!listed)
      each_of_node([&](Page& p, void** object, unsigned) {
        const bool ours = p.kind == kSlab && p.owner == this && is_object(p, *object);
        if (!ours || !defer(*object)) refused.add(*object);
        return 1u;
      });
    discard(empty, may_spin);
  }
  s.size = 0;
  refuse_free(refused, "kfree");
}

// Gives `have` (an empty one for a full one, or the reverse) and returns the other; null if the
// barn has none, or no room, or is busy. The local lock is held.
template <Kernel K, LockPolicy L>
NESTLOCK_NO_TSA internal::Sheaf* BasicKmemCache<K, L>::barn_swap(Node& n, Sheaf* have, Want want,
                                                                 bool may_spin) noexcept
  requires(!internal::kLeanOf<K>)
{
  Sheaf*& from = want == Want::full ? n.full : n.empty;
  Sheaf*& to = want == Want::full ? n.empty : n.full;
  auto& nr_from = want == Want::full ? n.nr_full : n.nr_empty;
  auto& nr_to = want == Want::full ? n.nr_empty : n.nr_full;
  if (nr_from.load(internal::kRelaxed) == 0) return nullptr;  // a look without the lock
  auto swap = [&]() -> Sheaf* {
    if (!from || (want == Want::empty && nr_to.load(internal::kRelaxed) >= kMaxFull))
      return nullptr;
    Sheaf* const s = from;
    from = s->next;
    nr_from.store(nr_from.load(internal::kRelaxed) - 1, internal::kRelaxed);
    if (have != &internal::no_sheaf) {
      have->next = to;
      to = have;
      nr_to.store(nr_to.load(internal::kRelaxed) + 1, internal::kRelaxed);
    }
    internal::bump(want == Want::full ? counters_.barn_gets : counters_.barn_puts);
    return s;
  };
  if (may_spin) {
    Guard g(n.barn_lock, irq_save);
    return swap();
  }
  TryGuard g(n.barn_lock, irq_save);
  if (!g) return internal::bump(counters_.barn_busy), nullptr;
  return swap();
}

template <Kernel K, LockPolicy L>
void BasicKmemCache<K, L>::put_empty(Node& n, Sheaf* s) noexcept
  requires(!internal::kLeanOf<K>)
{
  Guard g(n.barn_lock, irq_save);
  s->next = n.empty;
  n.empty = s;
  n.nr_empty.store(n.nr_empty.load(internal::kRelaxed) + 1, internal::kRelaxed);
}

template <Kernel K, LockPolicy L>
void BasicKmemCache<K, L>::put_full(Node& n, Sheaf* s) noexcept
  requires(!internal::kLeanOf<K>)
{
  Guard g(n.barn_lock, irq_save);
  s->next = n.full;
  n.full = s;
  n.nr_full.store(n.nr_full.load(internal::kRelaxed) + 1, internal::kRelaxed);
}

// From the barn, or new memory. No lock held; may spin.
template <Kernel K, LockPolicy L>
internal::Sheaf* BasicKmemCache<K, L>::empty_sheaf(Node& n) noexcept
  requires(!internal::kLeanOf<K>)
{
  if (n.nr_empty.load(internal::kRelaxed)) {
    Guard g(n.barn_lock, irq_save);
    if (Sheaf* const s = n.empty) {
      n.empty = s->next;
      n.nr_empty.store(n.nr_empty.load(internal::kRelaxed) - 1, internal::kRelaxed);
      return s;
    }
  }
  SlabRefusal why{};
  void* const memory =
      sheaf_source_->alloc_slow({gfp::nowait | gfp::nowarn, SlabAlloc::no_recurse, kAnyNode}, &why);
  if (!memory) return nullptr;
  internal::bump(counters_.sheaf_allocs);
  return ::new (sheaf_source_->given(memory)) Sheaf{0, capacity_, nullptr};
}

}  // namespace nestlock
