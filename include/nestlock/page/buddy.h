// The buddy allocator of one zone: blocks of 2^order pages, naturally aligned, split and merged.
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
    unsigned have = order;
    while (have <= kMaxOrder && area_[have].empty()) ++have;
    if (have > kMaxOrder) return kNil;
    const std::uint32_t p = area_[have].pop(all_);
    count(have, -1);
    while (have > order) {  // give back the upper halves
      --have;
      put_on_list(p + (1u << have), have, false);
    }
    all_[p].set(PageState::used, order);
    free_.store(free_.load(kRelaxed) - (1u << order), kRelaxed);
    return p;
  }

  // Merges with free neighbours. Blocks of an isolated block of pages are kept apart.
  void give(std::uint32_t p, unsigned order, bool isolated) noexcept {
    all_[p].set(PageState::absent, 0);  // as a lower neighbour's inside, unless it becomes the head
    (isolated ? isolated_ : free_)
        .store((isolated ? isolated_ : free_).load(kRelaxed) + (1u << order), kRelaxed);
    while (order < kMaxOrder) {
      const std::uint32_t b = neighbour(p, order);
      if (b < begin_ || b > end_ - (1u << order) || !all_[b].is(PageState::buddy, order) ||
          all_[b].isolated_free != isolated)
        break;
      take_off_list(b, order);
      if (b < p) p = b;
      ++order;
    }
    put_on_list(p, order, isolated);
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
        put_on_list(q, order, isolated);
      }
      q += all_[q].state() == PageState::buddy ? 1u << order : 1u;
    }
  }

  // Pages free (isolated ones not counted). Exact under the lock, a snapshot without.
  std::uint32_t free_pages() const noexcept { return free_.load(kRelaxed); }
  std::uint32_t isolated_pages() const noexcept { return isolated_.load(kRelaxed); }
  std::uint32_t blocks(unsigned order) const noexcept { return blocks_[order].load(kRelaxed); }

  // Walks the free lists and compares them with the descriptors and counts.
  bool consistent() const noexcept {
    std::uint32_t pages[2] = {0, 0};
    for (unsigned i = 0; i < 2; ++i)
      for (unsigned order = 0; order <= kMaxOrder; ++order) {
        std::uint32_t prev = kNil, n = 0;
        for (std::uint32_t p = lists(i)[order].first(); p != kNil; prev = p, p = all_[p].next) {
          if (p < begin_ || p >= end_ || !all_[p].is(PageState::buddy, order)) return false;
          if (all_[p].prev != prev || all_[p].isolated_free != (i == 1)) return false;
          if (((first_pfn_ + p) & ((1u << order) - 1)) != 0) return false;
          if (++n > end_ - begin_) return false;  // a loop
          pages[i] += 1u << order;
        }
        if (i == 0 && n != blocks(order)) return false;
      }
    return pages[0] == free_pages() && pages[1] == isolated_pages();
  }

 private:
  std::uint32_t neighbour(std::uint32_t p, unsigned order) const noexcept {
    return static_cast<std::uint32_t>(((first_pfn_ + p) ^ (std::uintptr_t{1} << order)) -
                                      first_pfn_);
  }
  const PageList<K>* lists(unsigned isolated) const noexcept {
    return isolated ? isolated_area_ : area_;
  }
  void put_on_list(std::uint32_t p, unsigned order, bool isolated) noexcept {
    all_[p].set(PageState::buddy, order);
    all_[p].isolated_free = isolated;
    (isolated ? isolated_area_ : area_)[order].push(all_, p);
    if (!isolated) count(order, 1);
  }
  void take_off_list(std::uint32_t p, unsigned order) noexcept {
    const bool isolated = all_[p].isolated_free;
    (isolated ? isolated_area_ : area_)[order].remove(all_, p);
    all_[p].set(PageState::absent, 0);
    if (!isolated) count(order, -1);
  }
  void count(unsigned order, int by) noexcept {
    blocks_[order].store(blocks_[order].load(kRelaxed) + static_cast<std::uint32_t>(by), kRelaxed);
  }

  Page* all_ = nullptr;
  std::uintptr_t first_pfn_ = 0;
  std::uint32_t begin_ = 0, end_ = 0;
  PageList<K> area_[kMaxOrder + 1], isolated_area_[kMaxOrder + 1];
  // Written under the lock, read by anyone (statistics): atomic, relaxed.
  Atomic<std::uint32_t> free_{0}, isolated_{0}, blocks_[kMaxOrder + 1]{};
};

}  // namespace internal
}  // namespace nestlock
