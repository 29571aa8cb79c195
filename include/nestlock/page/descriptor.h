// The page descriptor, one for each page of the managed range, in one linear array.
#pragma once

#include <cstdint>

#include "nestlock/lock/debug_checks.h"

namespace nestlock {

// Who has a page. Written by its owner; others may look at any time, so it is atomic, relaxed:
//   absent -> buddy           when its memory is added (zone lock)
//   buddy <-> cached          refill and drain (zone lock)
//   buddy, cached -> used -> cached, buddy, parked        alloc and free
// Only a change to or from `buddy` needs to be seen exactly, and both sides then hold the zone
// lock.
enum class PageState : std::uint8_t {
  absent,  // not committed, or inside a free block whose head is another page
  buddy,   // head of a free block, on a free list of its zone
  cached,  // on a CPU's list (pcp)
  used,    // allocated
  tail,    // inside an allocated block that was asked for with gfp::comp
  parked,  // freed by free_pages_nolock() while the locks were busy
};

namespace internal {

// In debug, where a page was last allocated and freed.
struct PageHistory {
  Place allocated, freed;
  Context freed_in = Context::task;
};
struct NoPageHistory {};

}  // namespace internal

// 64 bytes without debug (1.6 % of 4 KiB).
template <Kernel K>
struct alignas(64) BasicPage {
  // No page, as an index.
  static constexpr std::uint32_t kNil = ~std::uint32_t{0};

  // State and order are one word: read together, and set together by the page's owner.
  PageState state() const noexcept {
    return static_cast<PageState>(word.load(internal::kRelaxed) & 0xff);
  }
  unsigned order() const noexcept { return word.load(internal::kRelaxed) >> 8 & 0xff; }
  unsigned zone() const noexcept { return zone_id; }
  void set(PageState s, unsigned order) noexcept {
    word.store(static_cast<std::uint32_t>(s) | order << 8, internal::kRelaxed);
  }
  bool is(PageState s, unsigned order) const noexcept {
    // 64 bits: an absurd order is none of ours.
    return word.load(internal::kRelaxed) ==
           (static_cast<std::uint64_t>(s) | std::uint64_t{order} << 8);
  }

  typename K::Port::template Atomic<std::uint32_t> word{0};  // state, order
  std::uint32_t next = kNil, prev = kNil;  // list links, by index; the list's lock guards them
  std::uint8_t zone_id = 0;                // never changes
  bool isolated_free = false;              // on the zone's isolated list (zone lock)
  bool clean = false;     // of a free block's head: no memory of the system behind it (zone lock)
  bool poisoned = false;  // debug: starts with the poison of its last free (owner)
  // Of the first page of a block of 2^kMaxOrder: whether the block is isolated (zone lock; a
  // free looks without it, and again with it).
  typename K::Port::template Atomic<std::uint8_t> isolation{0};
  // For whoever has the page (the slab floor keeps its slab here); 0 when it is given back.
  std::uint8_t kind = 0;
  void* owner = nullptr;
  void* owner_list = nullptr;
  std::uintptr_t owner_word[2]{};
  std::uint16_t owner_half[2]{};
  [[no_unique_address]] std::conditional_t<K::kConfig.debug, internal::PageHistory,
                                           internal::NoPageHistory> history;
};

namespace internal {

// Lists of descriptors by index.
template <Kernel K>
class PageList {
 public:
  using Page = BasicPage<K>;

  bool empty() const noexcept { return first_ == Page::kNil; }
  std::uint32_t first() const noexcept { return first_; }

  void push(Page* all, std::uint32_t p) noexcept {
    all[p].prev = Page::kNil;
    all[p].next = first_;
    if (first_ != Page::kNil) all[first_].prev = p;
    first_ = p;
  }
  void remove(Page* all, std::uint32_t p) noexcept {
    const Page& page = all[p];
    (page.prev == Page::kNil ? first_ : all[page.prev].next) = page.next;
    if (page.next != Page::kNil) all[page.next].prev = page.prev;
  }
  std::uint32_t pop(Page* all) noexcept {
    const std::uint32_t p = first_;
    if (p != Page::kNil) remove(all, p);
    return p;
  }

 private:
  std::uint32_t first_ = Page::kNil;
};

// The same, with an end that can be put to.
template <Kernel K>
class PageQueue {
 public:
  using Page = BasicPage<K>;

  bool empty() const noexcept { return list_.empty(); }
  std::uint32_t first() const noexcept { return list_.first(); }

  void push(Page* all, std::uint32_t p) noexcept {
    if (empty()) last_ = p;
    list_.push(all, p);
  }
  void push_back(Page* all, std::uint32_t p) noexcept {
    if (empty()) return push(all, p);
    all[p].prev = last_;
    all[p].next = Page::kNil;
    all[last_].next = p;
    last_ = p;
  }
  void remove(Page* all, std::uint32_t p) noexcept {
    if (p == last_) last_ = all[p].prev;
    list_.remove(all, p);
  }

 private:
  PageList<K> list_;
  std::uint32_t last_ = Page::kNil;
};

}  // namespace internal
}  // namespace nestlock
