// The buddy allocator of one zone: blocks of 2^order pages, naturally aligned, split and merged.
// A free block is clean while the system keeps no memory for any of its pages (it was never touched, or
// was given back); of two that merge both must be. The others go first, even if they have to be split.
// All functions need the zone's lock. At most kMaxOrder splits or merges a call.
//
// After D. Knuth, The Art of Computer Programming 1, 2.5, and the kernel's zones.
#pragma once

#include "nestlock/page/descriptor.h"

namespace nestlock {

inline constexpr unsigned kMaxOrder = 10;  // the largest block: 2^10 pages

namespace internal {

template <Kernel K>
class Buddy {
 public:
  using Page = BasicPage<K>;
  static constexpr std::uint32_t kNil = Page::kNil;
  template <class T>
  using Atomic = typename K::Port::template Atomic<T>;

  // `first_pfn`: page number of all[0], so that blocks are aligned in memory, not in the array.
  void set_up(Page* all, std::uintptr_t first_pfn, std::uint32_t begin,
              std::uint32_t end) noexcept {
    all_ = all, first_pfn_ = first_pfn, begin_ = begin, end_ = end;
  }

  // A block of exactly 2^order pages, state `used`; kNil if none.
  std::uint32_t take(unsigned order) noexcept {
    auto smallest = [order](const PageList<K>* area) {
      unsigned have = order;
      while (have <= kMaxOrder && area[have].empty()) ++have;
      return have;
    };
    unsigned have = smallest(area_);
    const bool clean = have > kMaxOrder;
    if (clean) have = smallest(clean_area_);
    if (have > kMaxOrder) return kNil;
    const std::uint32_t p = (clean ? clean_area_ : area_)[have].first();
    take_off_list(p, have);
    while (have > order) {  // give back the upper halves
      --have;
      put_on_list(p + (1u << have), have, false, clean);
    }
    all_[p].set(PageState::used, order);
    free_.store(free_.load(kRelaxed) - (1u << order), kRelaxed);
    return p;
  }

  // Merges with free neighbours. Blocks of an isolated block of pages are kept apart.
  void give(std::uint32_t p, unsigned order, bool isolated, bool clean = false) noexcept {
    all_[p].set(PageState::absent, 0);  // as a lower neighbour's inside, unless it becomes the head
    (isolated ? isolated_ : free_)
        .store((isolated ? isolated_ : free_).load(kRelaxed) + (1u << order), kRelaxed);
    while (order < kMaxOrder) {
      const std::uint32_t b = neighbour(p, order);
      if (b < begin_ || b > end_ - (1u << order) || !all_[b].is(PageState::buddy, order) ||
          all_[b].isolated_free != isolated)
        break;
      clean = clean && all_[b].clean;
      take_off_list(b, order);
      if (b < p) p = b;
      ++order;
    }
    put_on_list(p, order, isolated, clean && !isolated);
  }

  // A largest block of at least 2^order pages that is not clean, state `used`; kNil if none. As much of it
  // as there is: the caller asks the descriptor for its order.
  std::uint32_t take_dirty(unsigned order) noexcept {
    for (unsigned have = kMaxOrder + 1; have-- > order;) {
      const std::uint32_t p = area_[have].first();
      if (p == kNil) continue;
      take_off_list(p, have);
      all_[p].set(PageState::used, have);
      free_.store(free_.load(kRelaxed) - (1u << have), kRelaxed);
      return p;
    }
    return kNil;
  }

  // The pages [p, end), state `used`, if all of them are free and what lies before them is not.
  bool take_range(std::uint32_t p, std::uint32_t end) noexcept {
    for (std::uint32_t q = p; q < end; q += 1u << all_[q].order())
      if (all_[q].state() != PageState::buddy || all_[q].isolated_free) return false;
    std::uint32_t q = p;
    bool clean = false;  // of the last
    while (q < end) {
      clean = all_[q].clean;
      const unsigned order = all_[q].order();
      take_off_list(q, order);
      free_.store(free_.load(kRelaxed) - (1u << order), kRelaxed);
      q += 1u << order;
    }
    // The last may be longer. From its end back, so that each piece is the largest that is aligned.
    while (q != end) {
      unsigned order = 0;
      while (q - end >= 2u << order && !((first_pfn_ + q) >> order & 1)) ++order;
      q -= 1u << order;
      give(q, order, false, clean);
    }
    return true;
  }

  // Moves the free pages of the pages [p, end) to or from the isolated list.
  void move(std::uint32_t p, std::uint32_t end, bool isolated) noexcept {
    for (std::uint32_t q = p; q < end;) {
      const unsigned order = all_[q].order();
      if (all_[q].state() == PageState::buddy && all_[q].isolated_free != isolated) {
        take_off_list(q, order);
        (isolated ? free_ : isolated_)
            .store((isolated ? free_ : isolated_).load(kRelaxed) - (1u << order), kRelaxed);
        (isolated ? isolated_ : free_)
            .store((isolated ? isolated_ : free_).load(kRelaxed) + (1u << order), kRelaxed);
        put_on_list(q, order, isolated, false);
      }
      q += all_[q].state() == PageState::buddy ? 1u << order : 1u;
    }
  }

  // Pages free (isolated ones not counted). Exact under the lock, a snapshot without.
  std::uint32_t free_pages() const noexcept { return free_.load(kRelaxed); }
  std::uint32_t isolated_pages() const noexcept { return isolated_.load(kRelaxed); }
  std::uint32_t clean_pages() const noexcept { return clean_.load(kRelaxed); }
  std::uint32_t blocks(unsigned order) const noexcept { return blocks_[order].load(kRelaxed); }

  // Walks the free lists and compares them with the descriptors and counts.
  bool consistent() const noexcept {
    std::uint32_t pages[3] = {0, 0, 0};
    for (unsigned order = 0; order <= kMaxOrder; ++order) {
      std::uint32_t blocks_here = 0;
      for (unsigned i = 0; i < 3; ++i) {
        std::uint32_t prev = kNil, n = 0;
        for (std::uint32_t p = lists(i)[order].first(); p != kNil; prev = p, p = all_[p].next) {
          if (p < begin_ || p >= end_ || !all_[p].is(PageState::buddy, order)) return false;
          if (all_[p].prev != prev || all_[p].isolated_free != (i == 1)) return false;
          if (all_[p].clean != (i == 2)) return false;
          if (((first_pfn_ + p) & ((1u << order) - 1)) != 0) return false;
          if (++n > end_ - begin_) return false;  // a loop
          pages[i] += 1u << order;
        }
        if (i != 1) blocks_here += n;
      }
      if (blocks_here != blocks(order)) return false;
    }
    return pages[0] + pages[2] == free_pages() && pages[1] == isolated_pages() &&
           pages[2] == clean_pages();
  }

 private:
  std::uint32_t neighbour(std::uint32_t p, unsigned order) const noexcept {
    return static_cast<std::uint32_t>(((first_pfn_ + p) ^ (std::uintptr_t{1} << order)) -
                                      first_pfn_);
  }
  const PageList<K>* lists(unsigned i) const noexcept {
    return i == 1 ? isolated_area_ : i == 2 ? clean_area_ : area_;
  }
  PageList<K>& list_of(const Page& p, unsigned order) noexcept {
    return (p.isolated_free ? isolated_area_ : p.clean ? clean_area_ : area_)[order];
  }
  void put_on_list(std::uint32_t p, unsigned order, bool isolated, bool clean) noexcept {
    all_[p].set(PageState::buddy, order);
    all_[p].isolated_free = isolated;
    all_[p].clean = clean;
    list_of(all_[p], order).push(all_, p);
    if (!isolated) count(order, 1);
    if (clean) clean_.store(clean_.load(kRelaxed) + (1u << order), kRelaxed);
  }
  void take_off_list(std::uint32_t p, unsigned order) noexcept {
    list_of(all_[p], order).remove(all_, p);
    all_[p].set(PageState::absent, 0);
    if (!all_[p].isolated_free) count(order, -1);
    if (all_[p].clean) clean_.store(clean_.load(kRelaxed) - (1u << order), kRelaxed);
  }
  void count(unsigned order, int by) noexcept {
    blocks_[order].store(blocks_[order].load(kRelaxed) + static_cast<std::uint32_t>(by), kRelaxed);
  }

  Page* all_ = nullptr;
  std::uintptr_t first_pfn_ = 0;
  std::uint32_t begin_ = 0, end_ = 0;
  PageList<K> area_[kMaxOrder + 1], isolated_area_[kMaxOrder + 1], clean_area_[kMaxOrder + 1];
  // Written under the lock, read by anyone (statistics): atomic, relaxed.
  Atomic<std::uint32_t> free_{0}, isolated_{0}, clean_{0}, blocks_[kMaxOrder + 1]{};
};

}  // namespace internal
}  // namespace nestlock
