// Life and upkeep of a cache: set-up, flush, shrink, statistics; and its calls in bulk. Included by slab.h.
#pragma once

#include "nestlock/lock/guard.h"
#include "nestlock/slab.h"

namespace nestlock {

template <Kernel K, LockPolicy L>
bool BasicKmemCache<K, L>::set_up(Pages& pages, BasicKmemCache* sheaf_caches, const char* name,
                                  std::size_t size, std::size_t align, slab flags, Constructor ctor,
                                  unsigned capacity) noexcept {
  constexpr std::size_t kMost = kPageSize << 3 < kMaxKmalloc ? kMaxKmalloc : kPageSize << 3;
  if (size == 0 || size > kMost || (align & (align - 1)) || align > kMaxKmalloc) return false;
  if (!internal::known(flags)) return false;
  if (kLean && (has(flags, slab::debug) || has(flags, slab::hardened))) return false;
  if (align < alignof(void*)) align = alignof(void*);
  if constexpr (!kLean)
    if (!attention_) attention_ = &own_attention_;
  pages_ = &pages;
  min_partial_ = kLean ? 2 : 5;
  if constexpr (!kLean) unfree_bits_ = ~std::uint32_t{0};
  if (!kLean && pages_->nodes() > 1) this->attention().fetch_or(kManyNodes, internal::kRelaxed);
  name_ = name;
  ctor_ = ctor;
  object_size_ = static_cast<std::uint32_t>(size);
  // A constructed object keeps its contents while it is free: its link lies behind it. So does the
  // link of one that AddressSanitizer watches: all of it is poisoned.
  const bool behind = ctor || internal::kWithAsan;
  link_offset_ = behind ? static_cast<std::uint32_t>((size + 7) & ~std::size_t{7}) : 0;
  if (internal::kWithAsan) link_offset_ += 8;  // never anyone's: the byte past the end is found
  std::size_t whole = behind ? link_offset_ + sizeof(Object) : size;
  if constexpr (!kLean)
    if (has(flags, slab::debug)) {
      // [red zone][object][red zone][link][track], the object aligned.
      lead_ = static_cast<std::uint32_t>(align < 16 ? 16 : align);
      link_offset_ = static_cast<std::uint32_t>((size + 15) & ~std::size_t{7});
      whole = lead_ + link_offset_ + sizeof(Object) + sizeof(Track);
      this->attention().fetch_or(kDebugged, internal::kRelaxed);
    }
  if constexpr (!kLean)
    marks_ = !behind && !has(flags, slab::debug) && size >= sizeof(Object) + sizeof(std::uintptr_t);
  stride_ = static_cast<std::uint32_t>((whole + align - 1) & ~(align - 1));
  if constexpr (!kLean)
    inverse_ = static_cast<std::uint32_t>(((std::uint64_t{1} << 32) + stride_ - 1) / stride_);
  min_order_ = 0;
  while ((kPageSize << min_order_) < stride_) ++min_order_;
  order_ = min_order_;
  while (!kLean && order_ < 3 && (kPageSize << order_) / stride_ < 8) ++order_;
  // More pages where they waste less: at most a 32nd (in the lean form an eighth, for a larger slab keeps more
  // that nobody uses). And more than a CPU's lists have only where else a 16th is lost and more.
  constexpr unsigned kWaste = kLean ? 8 : 32;
  auto wastes = [&](std::size_t part) {
    return (kPageSize << order_) % stride_ * part > kPageSize << order_;
  };
  while (order_ < 3 && wastes(kWaste)) ++order_;
  if (!kLean && order_ == 3 && wastes(16)) ++order_;
  if constexpr (!kLean) {
    if (has(flags, slab::hardened) && !has(flags, slab::debug)) {
      const std::size_t words = (kPageSize << order_) / stride_ * sizeof(Out);
      lead_ = static_cast<std::uint32_t>((words + align - 1) & ~(align - 1));
      while ((kPageSize << min_order_) < lead_ + stride_) ++min_order_;
      if (order_ < min_order_) order_ = min_order_;
      this->attention().fetch_or(kHardened, internal::kRelaxed);
    }
    if (!has(flags, slab::debug) && !has(flags, slab::no_sheaves)) {
      if (!capacity)
        capacity = size >= 1024 ? 14 : size >= 256 ? 30 : size > 128 || kPageSize < 4096 ? 62 : 126;
      unsigned which = 0;
      while (which < 3 && capacity > (16u << which) - 2) ++which;
      sheaf_source_ = &sheaf_caches[which];
      capacity_ = (16u << which) - 2;
      const std::uintptr_t share = pages_->pages() / kBarnShare;
      const std::size_t most = (share < kBarnPages ? share : kBarnPages) << kPageShift;
      const std::size_t sheaves = most / capacity_ / stride_;
      grows_to_ = static_cast<std::uint8_t>(sheaves < kMaxFull ? sheaves : kMaxFull);
      const std::uint32_t align_of_all = stride_ & -stride_;
      if (pages_->nodes() == 1 && !hardened())
        unfree_bits_ = (align_of_all < kPageSize ? align_of_all : std::uint32_t{kPageSize}) - 1;
    }
  }
  return true;
}

template <Kernel K, LockPolicy L>
void BasicKmemCache<K, L>::flush_cpu() noexcept
  requires(!internal::kLeanOf<K>)
{
  Sheaf* mine[2] = {nullptr, nullptr};
  {
    auto c = cpu_.template try_lock_here<&CpuSheaves::lock>(typename L::PcpTag{});
    if (!c || reach_.elsewhere()) return;  // what another CPU is at stays for this one's next task
    if (c->main) {
      const MainOut out(*c, place_, unfree_bits_);
      mine[0] = c->main == &internal::no_sheaf ? nullptr : c->main;
      mine[1] = c->spare;
      c->main = &internal::no_sheaf;
      c->spare = nullptr;
    }
    c->main = nullptr;
    place_.is_unused_on(internal::claimed_cpu<typename K::Port>());
  }
  Node& n = home(kAnyNode);
  for (Sheaf* const s : mine) {
    if (!s) continue;
    if (s->size && n.nr_full.load(internal::kRelaxed) < kMaxFull) {
      put_full(n, s);
      continue;
    }
    if (s->size) flush(*s);
    put_empty(n, s);
  }
}

// All CPUs' and the barn's sheaves are emptied and given back; empty slabs go, too.
template <Kernel K, LockPolicy L>
void BasicKmemCache<K, L>::shrink() noexcept {
  if constexpr (!kLean) {
    Sheaf* chain = nullptr;
    auto add = [&](Sheaf* s) {
      if (!s || s == &internal::no_sheaf) return;
      s->next = chain;
      chain = s;
    };
    {
      auto c = cpu_.template try_lock_here<&CpuSheaves::lock>(typename L::PcpTag{});
      if (c && !reach_.elsewhere() && c->main) {
        const MainOut out(*c, place_, unfree_bits_);
        add(c->spare), add(c->main);
        c->spare = nullptr;
        c->main = &internal::no_sheaf;
      }
    }
    chain = reach(chain);
    for (unsigned i = 0; i < pages_->nodes(); ++i) {
      Node& n = node_[i];
      Guard g(n.barn_lock, irq_save);
      for (Sheaf** const list : {&n.full, &n.empty}) {
        for (Sheaf* s = *list; s;) {
          Sheaf* const next = s->next;
          add(s);
          s = next;
        }
        *list = nullptr;
      }
      n.nr_full.store(0, internal::kRelaxed);
      n.nr_empty.store(0, internal::kRelaxed);
    }
    while (chain) {
      Sheaf* const s = chain;
      chain = s->next;
      if (s->size) flush(*s);
      sheaf_source_->free_to_slab(s, true);
    }
  }
  settle_all();
  for (unsigned i = 0; i < pages_->nodes(); ++i) discard_empty_slabs(node_[i]);
}

// Those that are on the list now. What has been looked at goes to the list's end, so that the lock may be
// given back in between.
template <Kernel K, LockPolicy L>
void BasicKmemCache<K, L>::discard_empty_slabs(Node& n) noexcept {
  std::uint32_t left = 0;
  with_list(n, true, [&] { left = n.nr_partial; });
  while (left) {
    Page* empty = nullptr;
    with_list(n, true, [&] {
      for (unsigned i = 0; i < kSettledAtOnce && left; ++i, --left) {
        const auto at = n.partial.first();
        if (at == Page::kNil) return void(left = 0);  // others took the rest
        Page& p = *pages_->page_at(at);
        n.partial.remove(pages_->descriptors(), at);
        if (inuse(p)) {
          n.partial.push_back(pages_->descriptors(), at);
          continue;
        }
        --n.nr_partial;
        p.owner_mark = kOff;
        chain_empty(p, empty);
      }
    });
    discard(empty, true);
  }
}

template <Kernel K, LockPolicy L>
bool BasicKmemCache<K, L>::interrupted() const noexcept {
  if (!pages_) return false;  // its set_up() was
  if constexpr (kLean) {
    return node_[0].list_lock.is_locked();
  } else {
    const unsigned cpu = internal::claimed_cpu<typename K::Port>();
    if (cpu < decltype(cpu_)::size() && cpu_.on(cpu).lock.is_locked()) return true;
    for (unsigned i = 0; i < pages_->nodes(); ++i)
      if (node_[i].barn_lock.is_locked() || node_[i].list_lock.is_locked()) return true;
    return false;
  }
}

template <Kernel K, LockPolicy L>
bool BasicKmemCache<K, L>::fails_now() noexcept
  requires(!internal::kLeanOf<K>)
{
  const std::uint32_t k = fail_every_.load(internal::kRelaxed);
  return k && (fail_turn_.fetch_add(1, internal::kRelaxed) + 1) % k == 0;
}

template <Kernel K, LockPolicy L>
void BasicKmemCache<K, L>::fail_every(std::uint32_t k) noexcept
  requires(!internal::kLeanOf<K>)
{
  fail_every_.store(k, internal::kRelaxed);
  if (k)
    this->attention().fetch_or(kFailing, internal::kRelaxed);
  else
    this->attention().fetch_and(~std::uint32_t{kFailing}, internal::kRelaxed);
}

template <Kernel K, LockPolicy L>
SlabStats BasicKmemCache<K, L>::stats() const noexcept {
  SlabStats s{};
  const auto& c = counters_;
  auto now = [](const auto& counter) { return std::uintptr_t{counter.load(internal::kRelaxed)}; };
  if constexpr (!kLean)
    for (unsigned i = 0; pages_ && i < decltype(cpu_)::size(); ++i)
      s.fast_allocs += now(cpu_.on(i).allocs), s.fast_frees += cpu_.on(i).frees();
  s.list_allocs = now(c.list_allocs), s.list_frees = now(c.list_frees);
  s.refill_allocs = now(c.refill_allocs), s.new_slab_allocs = now(c.new_slab_allocs);
  s.refills = now(c.refills), s.flushes = now(c.flushes);
  s.spare_swaps = now(c.spare_swaps), s.barn_gets = now(c.barn_gets);
  s.barn_puts = now(c.barn_puts), s.sheaf_allocs = now(c.sheaf_allocs);
  s.new_slabs = now(c.new_slabs), s.discarded_slabs = now(c.discarded_slabs);
  s.orphans = now(c.orphans), s.deferred = now(c.deferred), s.settled = now(c.settled);
  s.failures = now(c.failures), s.injected = now(c.injected), s.bad_frees = now(c.bad_frees);
  s.gated_frees = now(c.gated_frees), s.reached = now(c.reached);
  for (unsigned i = 0; i < kSlabRefusals; ++i) s.refusals[i] = now(c.refusals[i]);
  s.local_busy = now(c.local_busy), s.barn_busy = now(c.barn_busy), s.list_busy = now(c.list_busy);
  s.slabs = s.new_slabs - s.discarded_slabs;
  return s;
}

// f(page) for each of its slabs, until that is false. Nothing else is running.
template <Kernel K, LockPolicy L>
template <class F>
bool BasicKmemCache<K, L>::each_slab(F f) noexcept {
  const auto of_a_node = static_cast<std::uint32_t>(pages_->pages() / pages_->nodes());
  for (unsigned node = 0; node < pages_->nodes(); ++node) {
    for (std::uint32_t i = node * of_a_node; i < pages_->usable_end(node); ++i) {
      Page& p = *pages_->page_at(i);
      if (p.kind == kSlab && p.owner == this && p.state() == PageState::used && !f(p)) return false;
    }
  }
  return true;
}

template <Kernel K, LockPolicy L>
bool BasicKmemCache<K, L>::consistent(std::uintptr_t* objects_out) noexcept {
  settle_all();
  std::uintptr_t cached = 0, used = 0, slabs_seen = 0;
  if constexpr (!kLean) {
    auto count = [&](Sheaf* s) {
      for (; s && s != &internal::no_sheaf; s = s->next) {
        if (s->size > s->capacity) return false;
        cached += s->size;
      }
      return true;
    };
    for (unsigned i = 0; i < decltype(cpu_)::size(); ++i) {
      if (!cpu_.on(i).main) continue;
      const MainOut out(cpu_.on(i), place_, unfree_bits_);
      Sheaf* const m = cpu_.on(i).main;
      Sheaf* const s = cpu_.on(i).spare;
      if (m->size > m->capacity || (s && s->size > s->capacity)) return false;
      cached += m->size + (s ? s->size : 0);
    }
    for (unsigned i = 0; i < pages_->nodes(); ++i)
      if (!count(node_[i].full) || !count(node_[i].empty)) return false;
  }
  for (unsigned i = 0; i < pages_->nodes(); ++i) {
    Node& n = node_[i];
    std::uint32_t nr = 0;
    for (auto at = n.partial.first(); at != Page::kNil; at = pages_->page_at(at)->next)
      if (++nr > n.nr_partial || on_list(*pages_->page_at(at)) != kPartial) return false;
    if (nr != n.nr_partial) return false;
  }
  const bool right = each_slab([&](Page& p) {
    ++slabs_seen;
    used += inuse(p);
    std::uintptr_t n = inuse(p);
    for (Object* o = freelist(p); o && o != internal::unlinked_objects(); o = o->next) {
      Page* const of = pages_->head_of(pages_->page_of(o));
      if (of != &p || ++n > linked(p)) return false;
    }
    return n == linked(p) && n <= objects(p) && (freelist(p) || n == objects(p));
  });
  if (!right) return false;
  if (slabs_seen != stats().slabs || used < cached) return false;
  if (objects_out) *objects_out = used - cached;
  return true;
}

template <Kernel K, LockPolicy L>
std::size_t BasicKmemCache<K, L>::alloc_bulk(gfp flags, std::size_t n, void** objects) noexcept {
  for (std::size_t i = 0; i < n; ++i) {
    objects[i] = alloc(flags);
    if (!objects[i]) return free_bulk(i, objects), 0;
  }
  return n;
}

template <Kernel K, LockPolicy L>
void BasicKmemCache<K, L>::free_bulk(std::size_t n, void** objects) noexcept {
  for (std::size_t i = 0; i < n; ++i) free(objects[i]);
}

}  // namespace nestlock
