// The instruction sweep over the page allocator: an operation, interrupted after each of its
// instructions by nolock calls that keep some of what they get, and a model to compare with.
#pragma once

#include <algorithm>
#include <csignal>
#include <cstring>

#include "nestlock/testing/instruction_sweep.h"
#include "page_memory.h"

namespace nestlock::test_support {

// What the calls of all interruptions of a sweep came to.
struct NestedCalls {
  std::uint64_t entries = 0, at_a_held_lock = 0;
  std::uint64_t asked = 0, served = 0, freed = 0, parked = 0;
  std::uint64_t refused[kPageRefusals] = {};
  std::uint64_t unexplained = 0;  // refused for a lock that nobody held
  // What the checks found.
  std::uint64_t checks = 0, failed = 0;
  std::uint64_t twice = 0, overwritten = 0, lost = 0, inconsistent = 0, fragmented = 0;
  std::uint64_t unkept = 0;  // reserve() said something that is not so
  std::uint64_t bad() const {
    return twice + overwritten + lost + inconsistent + fragmented + unkept;
  }

  void operator+=(const NestedCalls& o) {
    // All members are counters.
    auto* to = &entries;
    const auto* from = &o.entries;
    for (std::size_t i = 0; i < sizeof *this / sizeof *to; ++i) to[i] += from[i];
  }
};

// The state of one run. No allocation anywhere: interruptions come at any moment.
class SweptPages {
 public:
  struct Block {
    void* at = nullptr;
    unsigned order = 0;
    std::uint64_t tag = 0;
  };

  explicit SweptPages(AnyPages& pages) : a(pages) {}

  // Fresh memory; `growing`: committed as it is needed.
  void set_up(std::size_t pages, bool growing = false) {
    a.renew();
    owned_count_ = 0;
    whole_order_ = 0;
    to_keep_ = 0, taken_meanwhile_ = 0;
    while (pages >> (whole_order_ + 1)) ++whole_order_;
    const std::size_t descriptors = a.descriptor_bytes(pages * kPageSize);
    PageMemory m{.start = Arena::memory(),
                 .size = pages * kPageSize,
                 .commit = nullptr,
                 .descriptors = Arena::descriptors(descriptors)};
    if (growing) m.commit = [](void*, std::size_t) noexcept { return true; };
    // A system that takes what it is given, and writes over it: a word a page, since each byte would
    // be a step of the sweep where memset() is a `rep stosb`.
    m.release = [](void* at, std::size_t size) noexcept {
      constexpr std::uint64_t kTaken = 0xdddddddddddddddd;
      for (std::size_t b = 0; b < size; b += kPageSize)
        std::memcpy(static_cast<char*>(at) + b, &kTaken, sizeof kTaken);
      return true;
    };
    ready_ = a.set_up(m) == PageSetup::ok;
    block = {}, small_victim = {}, large_victim = {};
  }

  Block take(unsigned order) {
    Block b{a.alloc(gfp::nowait, order), order};
    own(b);
    return b;
  }
  // Blocks of this order into this CPU's cache, until it holds so many pages.
  void stock(unsigned order, std::uint32_t pages) {
    void* held[64];
    unsigned n = 0;
    while (n < 64 && (n << order) < pages) held[n++] = a.alloc(gfp::nowait, order);
    while (n) a.free(held[--n], order);
  }
  // Exactly up to the high mark: the next free drains.
  void stock_to_high() {
    a.drain_all();
    void* held[kHigh];
    a.pcp_disable(0);
    for (void*& p : held) p = a.alloc(gfp::nowait, 0);
    a.pcp_enable(0);
    for (void* p : held) a.free(p, 0);
  }
  // Twice the high mark and some, so that the next nolock free drains, also where an interruption took some
  // before it: with nolock frees up to the mark, and a refill's batch, of another order, beyond it.
  void stock_to_twice_high() {
    a.drain_all();
    void* held[kHigh];
    for (void*& p : held) p = a.alloc(gfp::nowait, 1);
    a.drain_cpu(a.cpu_id());
    for (void* p : held) a.free_nolock(p, 1);
    take(0);
  }
  // What reserve() is to be asked for, and whether it can be had.
  void will_reserve(std::uint32_t pages, bool possible) {
    to_keep_ = pages, reserve_is_possible_ = possible;
  }
  void reserve() { reserved_ = a.reserve(std::size_t{to_keep_} * kPageSize); }
  // Blocks until that many pages are free in the zone.
  void take_down_to(std::uint32_t pages) {
    a.drain_all();
    for (unsigned order = whole_order_; order > 0; --order)
      while (a.stats().free >= pages + (2u << order)) take(order);
    while (a.stats().free > pages) take(0), a.drain_all();
  }
  // How often pages went from a CPU to the zone.
  std::uintptr_t drains() const { return a.stats().drains; }
  void victims() { small_victim = take(1), large_victim = take(4); }

  void park_a_victim() {
    disown(large_victim);
    ready_ &= a.park(large_victim.at, large_victim.order);
    ready_ &= a.state(large_victim.at) == PageState::parked;
    large_victim = {};
  }

  // ---- the interruption ----

  enum class Calls : std::uint8_t { both, allocs, frees };

  void nested_calls(unsigned order, Calls which, NestedCalls& n) {
    ++n.entries;
    const PageStats before = a.stats();
    const bool zone = a.zone_locked();
    for (const unsigned o : {0u, order}) {
      if (which == Calls::frees) break;
      PageRefusal why = PageRefusal::none;
      Block b{a.alloc_nolock(gfp::none, o, kAnyNode, &why), o};
      ++n.asked;
      if (b.at) {
        ++n.served;
        taken_meanwhile_ += 1u << o;
        if (n.entries % 3 == 0 && o == order) {  // the others are kept
          a.free_nolock(b.at, o);
          ++n.freed;
        } else {
          own(b);
        }
      } else {
        ++n.refused[static_cast<unsigned>(why)];
        n.unexplained +=
            !zone && (why == PageRefusal::zone_held || why == PageRefusal::zone_held_no_pcp);
      }
    }
    for (Block* const b : {&small_victim, &large_victim})
      if (b->at && (which == Calls::frees || (which == Calls::both && n.entries % 2 == 0))) {
        disown(*b);
        a.free_nolock(b->at, b->order);
        ++n.freed;
        n.parked += a.state(b->at) == PageState::parked;
        *b = {};
      }
    const PageStats after = a.stats();
    std::uint64_t busy = zone;
    for (unsigned c = 0; c < 4; ++c)
      busy += after.pcp_busy[c] - before.pcp_busy[c] + after.zone_busy[c] - before.zone_busy[c];
    n.at_a_held_lock += busy != 0;
  }

  // ---- the check ----

  // Whether all is as the model says; gives everything back, and looks again.
  bool check(NestedCalls& n) {
    const std::uint64_t bad = n.bad();
    if (block.at) own(block);
    ++n.checks;
    if (!ready_) ++n.inconsistent;
    compare(n);
    // What is broken may not survive being used.
    if (n.bad() == bad) compare_at_the_end(n);
    n.failed += n.bad() != bad;
    return n.bad() == bad;
  }

  void own(Block& b) {
    if (!b.at || owned_count_ == kOwned) return;
    b.tag = ++tags_ * 0x9e3779b97f4a7c15;
    fill(b.at, b.order, b.tag);
    owned_[owned_count_++] = b;
  }
  void disown(const Block& b) {
    for (unsigned i = 0; i < owned_count_; ++i)
      if (owned_[i].at == b.at) owned_[i] = owned_[--owned_count_];
  }

  AnyPages& a;
  Block block;                       // what the operation takes
  Block small_victim, large_victim;  // for the interruption to free

 private:
  void compare(NestedCalls& n) {
    std::uintptr_t pages = 0;
    for (unsigned i = 0; i < owned_count_; ++i) {
      const Block& b = owned_[i];
      pages += std::uintptr_t{1} << b.order;
      n.overwritten += !has_tag(b.at, b.order, b.tag);
      for (unsigned j = 0; j < i; ++j) n.twice += overlap(b, owned_[j]);
    }
    const PageStats s = a.stats();
    n.lost += s.free + s.cached + s.parked + pages != s.committed;
    n.inconsistent += !a.consistent();
    if (!to_keep_) return;
    n.unkept += reserved_ != reserve_is_possible_;
    // Missing is at most what the interruption took, which is whom it is kept for.
    n.unkept += reserved_ && s.free + taken_meanwhile_ < s.min + to_keep_;
  }
  void compare_at_the_end(NestedCalls& n) {
    for (unsigned i = 0; i < owned_count_; ++i)
      n.inconsistent += !a.free(owned_[i].at, owned_[i].order);
    a.drain_all();
    const PageStats end = a.stats();
    n.lost += end.free != end.committed || end.cached || end.parked;
    n.inconsistent += !a.consistent();
    if (to_keep_) {
      // Kept from all but nolock calls, until reserve() is told to keep nothing.
      n.unkept += a.alloc(gfp::nowait | gfp::memalloc, whole_order_) != nullptr;
      n.unkept += !a.reserve(0);
    }
    n.fragmented += a.alloc(gfp::nowait | gfp::memalloc, whole_order_) == nullptr;
  }
  static bool overlap(const Block& x, const Block& y) {
    const auto xb = reinterpret_cast<std::uintptr_t>(x.at), xe = xb + (kPageSize << x.order);
    const auto yb = reinterpret_cast<std::uintptr_t>(y.at), ye = yb + (kPageSize << y.order);
    return xb < ye && yb < xe;
  }
  static constexpr unsigned kOwned = 64;
  static constexpr unsigned kHigh = 24;  // of the smallest zones
  Block owned_[kOwned];
  unsigned owned_count_ = 0, whole_order_ = 0;
  std::uint32_t to_keep_ = 0, taken_meanwhile_ = 0;  // pages
  bool reserve_is_possible_ = false, reserved_ = false;
  std::uint64_t tags_ = 0;
  bool ready_ = false;
};

// ---- the operations -----------------------------------------------------------------------------

struct SweptOp {
  std::string name;
  unsigned order;
  std::function<void(SweptPages&)> prepare;
  void (*run)(SweptPages&, unsigned order);
  bool parked = false;  // begins with a block parked
  bool loops = false;   // over new memory
  bool brief = false;   // short enough where TSan's runtime is stepped, too
  bool takes_out =
      false;            // free blocks are out of the zone for a while: a nested call may find none
  bool drains = false;  // as it is prepared, and not interrupted, it gives the zone a CPU's pages
};

inline void swept_alloc(SweptPages& p, unsigned order) {
  p.block.order = order;
  p.block.at = p.a.alloc(gfp::nowait, order);
}
inline void swept_free(SweptPages& p, unsigned order) {
  void* const at = p.block.at;
  p.block.at = nullptr;
  p.a.free(at, order);
}
inline void swept_free_nolock(SweptPages& p, unsigned order) {
  void* const at = p.block.at;
  p.block.at = nullptr;
  p.a.free_nolock(at, order);
}
inline void swept_pair(SweptPages& p, unsigned order) {
  swept_alloc(p, order);
  p.a.free(p.block.at, order);
  p.block.at = nullptr;
}
inline void swept_trim(SweptPages& p, unsigned) { p.a.trim(); }
inline void swept_reserve(SweptPages& p, unsigned) { p.reserve(); }
inline void swept_drain(SweptPages& p, unsigned) { p.a.drain_cpu(p.a.cpu_id()); }

inline std::vector<SweptOp> swept_ops() {
  std::vector<SweptOp> ops;
  const auto to_be_freed = [](SweptPages& p, unsigned order) {
    p.block = {p.a.alloc(gfp::nowait, order), order};
  };
  for (const unsigned order : {0u, 1u, 3u}) {
    const std::string o = " " + std::to_string(order);
    ops.push_back({"alloc" + o + ", cached", order,
                   [=](SweptPages& p) {
                     p.set_up(256), p.victims(), p.stock(0, 4), p.stock(order, 2u << order);
                   },
                   swept_alloc});
    ops.push_back({"alloc" + o + ", refill", order,
                   [=](SweptPages& p) { p.set_up(256), p.victims(), p.a.drain_all(); },
                   swept_alloc});
    ops.push_back({"alloc" + o + ", unparking", order,
                   [=](SweptPages& p) { p.set_up(256), p.victims(), p.stock(order, 8); },
                   swept_alloc, true});
    ops.push_back(
        {"free" + o + ", to the cache", order,
         [=](SweptPages& p) { p.set_up(256), p.victims(), p.stock(0, 2), to_be_freed(p, order); },
         swept_free});
    ops.push_back({"free" + o + ", over high", order,
                   [=](SweptPages& p) {
                     p.set_up(256), p.victims(), to_be_freed(p, order), p.stock_to_high();
                   },
                   swept_free});
    ops.back().drains = true;
    ops.push_back({"free nolock" + o + ", over twice high", order,
                   [=](SweptPages& p) {
                     p.set_up(256), p.victims(), to_be_freed(p, order), p.stock_to_twice_high();
                   },
                   swept_free_nolock});
    ops.back().drains = true;
    ops.push_back(
        {"free" + o + ", unparking", order,
         [=](SweptPages& p) { p.set_up(256), p.victims(), p.stock(0, 4), to_be_freed(p, order); },
         swept_free, true});
    ops.push_back({"pair" + o, order,
                   [=](SweptPages& p) { p.set_up(256), p.victims(), p.stock(order, 4); },
                   swept_pair});
  }
  for (SweptOp& op : ops)
    op.brief = op.name == "alloc 0, cached" || op.name == "free 1, to the cache";
  ops.push_back({"drain_cpu", 0, [](SweptPages& p) { p.set_up(256), p.victims(), p.stock(0, 5); },
                 swept_drain});
  ops.push_back({"trim", 0, [](SweptPages& p) { p.set_up(256), p.victims(), p.stock(0, 5); },
                 swept_trim, false, /*loops=*/true});
  ops.back().takes_out = true;
  ops.push_back({"alloc 9, the zone", 9,
                 [](SweptPages& p) { p.set_up(1024), p.victims(), p.stock(0, 8), p.stock(3, 8); },
                 swept_alloc});
  ops.push_back({"free 9, the zone", 9,
                 [=](SweptPages& p) {
                   p.set_up(1024), p.victims(), p.stock(0, 8), p.stock(3, 8), to_be_freed(p, 9);
                 },
                 swept_free});
  ops.push_back(
      {"alloc 9, growing", 9,
       [](SweptPages& p) { p.set_up(1024, true), p.victims(), p.stock(0, 8), p.stock(3, 8); },
       swept_alloc, /*parked=*/false, /*loops=*/true});
  // As few pages as show each step: the lists are drained, a block is unparked, pages are touched.
  ops.push_back(
      {"reserve", 1,
       [](SweptPages& p) { p.set_up(256), p.victims(), p.stock(0, 5), p.will_reserve(6, true); },
       swept_reserve, /*parked=*/true});
  ops.back().takes_out = true;
  ops.push_back({"reserve, too much", 1,
                 [](SweptPages& p) {
                   p.set_up(256), p.victims(), p.take_down_to(6), p.will_reserve(28, false);
                 },
                 swept_reserve});
  ops.back().takes_out = true;
  // As much as there is, and an interruption may take some of it: grows then.
  ops.push_back({"reserve, just enough", 1,
                 [](SweptPages& p) {
                   p.set_up(1024, true), p.victims(), p.take_down_to(p.a.stats().min + 8);
                   p.will_reserve(8, true);
                 },
                 swept_reserve});
  ops.back().takes_out = true;
  ops.push_back({"reserve, growing", 1,
                 [](SweptPages& p) {
                   p.set_up(1024, true), p.victims(), p.take_down_to(8), p.will_reserve(8, true);
                 },
                 swept_reserve});
  ops.back().takes_out = true;
  return ops;
}

}  // namespace nestlock::test_support
