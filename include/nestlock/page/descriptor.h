// The page descriptor, one for each page of the managed range, in one linear array.
#pragma once

#include <cstdint>
#include <type_traits>

#include "nestlock/config/config.h"
#include "nestlock/lock/debug_checks.h"
#include "nestlock/page/no_count.h"

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
// In debug, for the slab floor: which of the objects that begin on this page are out, a bit for each address
// at which one may. relaxed: of two that free an object at once one is told, and nothing is ordered by it.
template <Kernel K>
class PageOut {
 public:
  void clear() noexcept {
    for (auto& w : words_) w.store(0, kRelaxed);
  }
  void set(std::size_t offset) noexcept { word(offset).fetch_or(bit(offset), kRelaxed); }
  // Whether it was set.
  bool take(std::size_t offset) noexcept {
    return word(offset).fetch_and(~bit(offset), kRelaxed) & bit(offset);
  }

 private:
  static constexpr std::size_t kBits = (std::size_t{1} << kPageShift) / alignof(void*);
  auto& word(std::size_t offset) noexcept { return words_[offset / alignof(void*) / 32]; }
  static std::uint32_t bit(std::size_t offset) noexcept {
    return std::uint32_t{1} << offset / alignof(void*) % 32;
  }
  typename K::Port::template Atomic<std::uint32_t> words_[(kBits + 31) / 32]{};
};

// What a descriptor has: 64 bytes without debug (1.6 % of 4 KiB).
template <Kernel K>
struct alignas(64) WholePage {
  using Index = std::uint32_t;
  // No page, as an index.
  static constexpr Index kNil = ~Index{0};
  using Word = std::uint32_t;
  static constexpr unsigned kOrderAt = 8;  // in it

  typename K::Port::template Atomic<Word> word{0};  // state, order
  Index next = kNil, prev = kNil;  // list links, by index; the list's lock guards them
  std::uint8_t zone_id = 0;        // never changes
  bool isolated_free = false;      // on the zone's isolated list (zone lock)
  // Of a free block's head: no memory of the system behind it (zone lock). Of one that is in use, whether it was so
  // before: nobody had it since.
  bool clean = false;
  bool poisoned = false;  // debug: starts with the poison of its last free (owner)
  // Of the first page of a block of 2^kMaxOrder: whether the block is isolated (zone lock; a
  // free looks without it, and again with it).
  typename K::Port::template Atomic<std::uint8_t> isolation{0};
  // For whoever has the page (the slab floor keeps its slab here); 0 when it is given back.
  std::uint8_t kind = 0;
  void* owner = nullptr;
  void* owner_list = nullptr;
  std::uintptr_t owner_count = 0, owner_mark = 0;
  std::uint16_t owner_half[2]{};
  [[no_unique_address]] std::conditional_t<K::kConfig.debug, PageOut<K>, NoPageHistory> out;
  [[no_unique_address]] std::conditional_t<K::kConfig.debug, PageHistory, NoPageHistory> history;
};

// Of the lean form: 16 bytes on a core of 32 bits, without debug. Pages are told apart by 16 bits, so there
// are at most 63487 (set_up() refuses more). What it lacks is a constant.
struct LeanPageHistory {
  PageHistory history;
  bool poisoned = false;
};
struct NoLeanPageHistory {
  static constexpr bool poisoned = false;
};
template <Kernel K>
struct LeanPage : std::conditional_t<K::kConfig.debug, LeanPageHistory, NoLeanPageHistory> {
  using Index = std::uint16_t;
  static constexpr Index kNil = 0xffff;
  using Word = std::uint8_t;
  static constexpr unsigned kOrderAt = 4;
  static constexpr std::uint8_t zone_id = 0;
  static constexpr bool isolated_free = false, clean = false;
  static constexpr NoCount isolation{};

  typename K::Port::template Atomic<Word> word{0};
  std::uint8_t kind = 0;
  Index next = kNil, prev = kNil;
  std::uint16_t owner_count : 14 = 0, owner_mark : 2 = 0;
  void* owner = nullptr;
  void* owner_list = nullptr;
};

template <Kernel K>
using PageOf = std::conditional_t<kLean, LeanPage<K>, WholePage<K>>;

}  // namespace internal

// The descriptor of a page, from its allocator: at the first page of a block it is the block's, and what alloc_pages()
// gives. Where its memory is, address() tells.
template <Kernel K>
struct BasicPage : internal::PageOf<K> {
  // What pages are told apart by; kNil: none.
  using Index = typename internal::PageOf<K>::Index;
  using internal::PageOf<K>::kNil;

  // State and order are one word: read together, and set together by the page's owner.
  PageState state() const noexcept {
    return static_cast<PageState>(this->word.load(internal::kRelaxed) & ((1u << kOrderAt) - 1));
  }
  unsigned order() const noexcept {
    return this->word.load(internal::kRelaxed) >> kOrderAt & ((1u << kOrderAt) - 1);
  }
  unsigned zone() const noexcept { return this->zone_id; }
  void set(PageState s, unsigned order) noexcept {
    this->word.store(static_cast<Word>(static_cast<std::uint32_t>(s) | order << kOrderAt),
                     internal::kRelaxed);
  }
  bool is(PageState s, unsigned order) const noexcept {
    // 64 bits: an absurd order is none of ours.
    return this->word.load(internal::kRelaxed) ==
           (static_cast<std::uint64_t>(s) | std::uint64_t{order} << kOrderAt);
  }

 private:
  using Word = typename internal::PageOf<K>::Word;
  static constexpr unsigned kOrderAt = internal::PageOf<K>::kOrderAt;
};

namespace internal {

// Lists of descriptors by index.
template <Kernel K>
class PageList {
 public:
  using Page = BasicPage<K>;
  using Index = typename Page::Index;

  bool empty() const noexcept { return first() == Page::kNil; }
  Index first() const noexcept { return static_cast<Index>(~turned_); }

  void push(Page* all, Index p) noexcept {
    const Index second = first();
    all[p].prev = Page::kNil;
    all[p].next = second;
    if (second != Page::kNil) all[second].prev = p;
    begin_with(p);
  }
  void remove(Page* all, Index p) noexcept {
    const Page& page = all[p];
    if (page.prev == Page::kNil)
      begin_with(page.next);
    else
      all[page.prev].next = page.next;
    if (page.next != Page::kNil) all[page.next].prev = page.prev;
  }
  Index pop(Page* all) noexcept {
    const Index p = first();
    if (p != Page::kNil) remove(all, p);
    return p;
  }

 private:
  void begin_with(Index p) noexcept { turned_ = static_cast<Index>(~p); }

  // The first with its bits turned: an empty list is zero, and what holds lists takes no room in a program's file.
  Index turned_ = 0;
  static_assert(static_cast<Index>(~Page::kNil) == 0);
};

// The same, with an end that can be put to.
template <Kernel K>
class PageQueue {
 public:
  using Page = BasicPage<K>;
  using Index = typename Page::Index;

  bool empty() const noexcept { return list_.empty(); }
  Index first() const noexcept { return list_.first(); }

  void push(Page* all, Index p) noexcept {
    if (empty()) last_ = p;
    list_.push(all, p);
  }
  void push_back(Page* all, Index p) noexcept {
    if (empty()) return push(all, p);
    all[p].prev = last_;
    all[p].next = Page::kNil;
    all[last_].next = p;
    last_ = p;
  }
  void remove(Page* all, Index p) noexcept {
    if (p == last_) last_ = all[p].prev;
    list_.remove(all, p);
  }

 private:
  PageList<K> list_;
  Index last_ = 0;  // unless it is empty
};

}  // namespace internal
}  // namespace nestlock
