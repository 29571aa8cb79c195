// The buddy allocator of the lean form: as Buddy (buddy.h), with one list for each order and one count, for no
// page is isolated and none is given back to a system. All functions need the zone's lock, but for free_pages(). At
// most kMaxOrder splits or merges a call.
#pragma once

#include "nestlock/page/buddy.h"

namespace nestlock::internal {

template <Kernel K>
class LeanBuddy {
 public:
  using Page = BasicPage<K>;
  static constexpr std::uint32_t kNil = Page::kNil;

  void set_up(Page* all, std::uintptr_t first_pfn, std::uint32_t, std::uint32_t end) noexcept {
    all_ = all, first_pfn_ = first_pfn, end_ = end;
  }

  // A block of exactly 2^order pages, state `used`; kNil if none.
  std::uint32_t take(unsigned order) noexcept {
    unsigned have = order;
    while (area_[have].empty())
      if (++have > kMaxOrder) return kNil;
    const std::uint32_t p = area_[have].first();
    take_off_list(p, have);
    while (have > order) {  // give back the upper halves
      --have;
      put_on_list(p + (1u << have), have);
    }
    all_[p].set(PageState::used, order);
    add(-(1u << order));
    return p;
  }

  // Merges with free neighbours. (The two bool are Buddy's.)
  void give(std::uint32_t p, unsigned order, bool = false, bool = false) noexcept {
    all_[p].set(PageState::absent, 0);  // as a lower neighbour's inside, unless it becomes the head
    add(1u << order);
    for (; order < kMaxOrder; ++order) {
      const auto b = static_cast<std::uint32_t>(((first_pfn_ + p) ^ (std::uintptr_t{1} << order)) -
                                                first_pfn_);
      // (Free blocks lie within the zone, and before its first page there are none.)
      if (b >= end_ || !all_[b].is(PageState::buddy, order)) break;
      take_off_list(b, order);
      if (b < p) p = b;
    }
    put_on_list(p, order);
  }

  // Exact under the lock, a snapshot without.
  std::uint32_t free_pages() const noexcept { return free_.load(kRelaxed); }
  static constexpr std::uint32_t isolated_pages() noexcept { return 0; }
  static constexpr std::uint32_t clean_pages() noexcept { return 0; }

  // Walks the free lists and compares them with the descriptors and the count.
  bool consistent() const noexcept {
    std::uint32_t pages = 0;
    for (unsigned order = 0; order <= kMaxOrder; ++order) {
      std::uint32_t prev = kNil;
      for (std::uint32_t p = area_[order].first(); p != kNil; prev = p, p = all_[p].next) {
        if (p >= end_ || !all_[p].is(PageState::buddy, order) || all_[p].prev != prev) return false;
        if (((first_pfn_ + p) & ((1u << order) - 1)) != 0) return false;
        if ((pages += 1u << order) > end_) return false;  // a loop
      }
    }
    return pages == free_pages();
  }

 private:
  void put_on_list(std::uint32_t p, unsigned order) noexcept {
    all_[p].set(PageState::buddy, order);
    area_[order].push(all_, static_cast<typename Page::Index>(p));
  }
  void take_off_list(std::uint32_t p, unsigned order) noexcept {
    area_[order].remove(all_, static_cast<typename Page::Index>(p));
    all_[p].set(PageState::absent, 0);
  }
  void add(std::uint32_t pages) noexcept { free_.store(free_.load(kRelaxed) + pages, kRelaxed); }

  Page* all_ = nullptr;
  std::uintptr_t first_pfn_ = 0;
  std::uint32_t end_ = 0;
  PageList<K> area_[kMaxOrder + 1];
  typename K::Port::template Atomic<std::uint32_t> free_{0};  // written under the lock
};

}  // namespace nestlock::internal
