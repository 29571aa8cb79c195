// The page allocator. Every page has an owner word, so one that is given twice is found at once;
// every block is full of its owner's tag, which is verified before the block is freed. The pattern
// is plain memory: ThreadSanitizer sees who may write it when.
#include <sys/mman.h>

#include <cstdio>
#include <cstring>

#include "nestlock/page.h"
#include "tools/torture/busted.h"
#include "tools/torture/storm.h"

namespace nestlock::torture {
namespace {

constexpr std::size_t kPages = 8192;
constexpr unsigned kNodes = 2;

template <LockPolicy L>
class Pages final : public Subject {
  using Allocator = BasicPageAllocator<K, L>;
  using Page = typename Allocator::Page;
  struct Block {
    Page* page = nullptr;
    unsigned order = 0;
    std::uint64_t tag = 0;
  };

 public:
  explicit Pages(const Options& o) : threads_(o.threads) {
    if (a_.set_up({.start = reserve(kPages * kPageSize),
                   .size = kPages * kPageSize,
                   .descriptors = reserve(Allocator::descriptor_bytes(kPages * kPageSize)),
                   .nodes = kNodes}) != PageSetup::ok)
      trouble("set_up() failed");
    offline_.pages = &a_;
    hosted::on_cpu_offline(offline_.hook);
  }
  const char* name() const override { return L::kName; }

  void step(Caller& c) noexcept override {
    switch (c.random(128)) {
      case 0:
        return a_.drain_cpu(c.random(8));
      case 1:
        return a_.unpark_all();
      case 2:
        return c.random(16) == 0 ? a_.drain_all_pages() : void();
      case 3:
        return c.thread == 0 ? control(c) : void();
      case 4:
      case 5:
        return hand_over(c);
      default:
        break;
    }
    Block& b = kept(c);
    if (b.page) return give(c, b, c.random(4) == 0);
    constexpr gfp kFlags[] = {gfp::nowait, gfp::atomic, gfp::kernel, gfp::nowait | gfp::zero};
    const gfp flags = kFlags[c.random(16) ? c.random(2) : c.random(4)];
    const unsigned order = c.random(32) ? c.random(2) * c.random(kPcpOrders) : c.random(8);
    const int node = static_cast<int>(c.random(4)) - 1;
    Page* const p = c.random(4) == 0
                        ? a_.alloc_pages_nolock(flags & gfp::zero, order % kPcpOrders, kAnyNode)
                        : a_.alloc_pages(flags, order, node < 2 ? node : kAnyNode);
    const unsigned got = p ? p->order() : 0;
    take(c, b, p, got, has(flags, gfp::zero));
  }

  void nested(Caller& c) noexcept override {
    for (unsigned turns = 1 + c.random(2); turns > 0; --turns) {
      if (c.random(16) == 0) hand_over(c);
      Block& b = kept(c);
      if (b.page) {
        give(c, b, /*nolock=*/true);
      } else {
        const unsigned order = c.random(2) * c.random(kPcpOrders);
        take(c, b, a_.alloc_pages_nolock(gfp::none, order), order, false);
      }
    }
  }

  void check(bool last) override {
    Caller me;
    if (last) {
      for (auto& levels : kept_)
        for (auto& blocks : levels)
          for (Block& b : blocks)
            if (b.page) give(me, b, false);
      for (auto& h : handovers_)
        if (Page* const p = h.exchange(nullptr)) {
          Block b = of(p);
          give(me, b, false);
        }
      if (isolated_) a_.isolate_block(isolated_, false);
      if (pcp_off_) a_.pcp_enable(0);
      isolated_ = nullptr, pcp_off_ = false;
      a_.drain_all_pages();
    }
    std::uintptr_t owned = 0, known = 0, free = 0, committed = 0;
    for (const auto& o : owner_) owned += o.load(std::memory_order_relaxed) != 0;
    for (unsigned n = 0; n < kNodes; ++n) {
      const PageStats s = a_.stats(n);
      known += s.free + s.isolated + s.cached + s.parked;
      free += s.free;
      committed += s.committed;
    }
    if (owned + known != committed)
      trouble("of %zu pages %zu are in use and %zu free", committed, owned, known);
    if (last && free != committed) trouble("%zu of %zu pages came home", free, committed);
    if (!a_.consistent()) trouble("lists, descriptors and counts do not agree");
  }

  void print_statistics() const override {
    PageStats all{};
    auto* const to = reinterpret_cast<std::uintptr_t*>(&all);
    for (unsigned n = 0; n < kNodes; ++n) {
      const PageStats s = a_.stats(n);
      const auto* const from = reinterpret_cast<const std::uintptr_t*>(&s);
      for (std::size_t i = 0; i < sizeof s / sizeof *to; ++i) to[i] += from[i];
    }
    std::printf(
        "  blocks: %zu through a cache, %zu through the zone; %zu refills, %zu drains, %zu parked, "
        "%zu not served\n  refused:",
        all.pcp_allocs, all.zone_allocs, all.refills, all.drains, all.parked_total, all.failures);
    for (unsigned i = 1; i < kPageRefusals; ++i)
      if (all.refusals[i])
        std::printf(" %zu %s;", all.refusals[i], nestlock::name_of(static_cast<PageRefusal>(i)));
    std::printf("\n");
  }

 private:
  Block& kept(Caller& c) {
    return kept_[c.thread][static_cast<unsigned>(c.level)][c.random(kKept)];
  }

  // What one CPU does rarely and for all.
  void control(Caller& c) {
    if (c.random(4)) return;
    if (c.random(2)) {
      pcp_off_ ? a_.pcp_enable(0) : a_.pcp_disable(0);
      pcp_off_ = !pcp_off_;
    } else if (isolated_) {
      a_.isolate_block(isolated_, false);
      isolated_ = nullptr;
    } else {
      a_.isolate_block(isolated_ = a_.page_at(c.random(kPages / 2)), true);
    }
  }

  void take(Caller& c, Block& b, Page* p, unsigned order, bool zeroed) noexcept {
    if (!p) return;
    const std::uint64_t tag = ++tags_[c.thread][static_cast<unsigned>(c.level)] << 8 |
                              c.thread << 2 | static_cast<unsigned>(c.level);
    for (std::uint32_t i = 0; i < 1u << order; ++i) {
      // relaxed: two owners are found by the exchange, and nothing may order what the locks must.
      if (const std::uint64_t other =
              owner_[a_.index_of(p) + i].exchange(tag, std::memory_order_relaxed))
        given_twice(c, p + i, order, other);
      for (std::size_t at = 0; at < kPageSize; at += 1024) {
        std::uint64_t* const word = word_of(p + i, at);
        if (zeroed && *word) trouble("page %u is not zeroed, by the %s", a_.index_of(p), by(c));
        *word = tag;
      }
    }
    b = {p, order, tag};
  }

  void give(Caller& c, Block& b, bool nolock) noexcept {
    const Block mine = b;
    b = {};
    for (std::uint32_t i = 0; i < 1u << mine.order; ++i) {
      for (std::size_t at = 0; at < kPageSize; at += 1024)
        if (*word_of(mine.page + i, at) != mine.tag)
          trouble("page %u (order %u) was overwritten, found by the %s of thread %u",
                  a_.index_of(mine.page), mine.order, by(c), c.thread);
      if (owner_[a_.index_of(mine.page) + i].exchange(0, std::memory_order_relaxed) != mine.tag)
        given_twice(c, mine.page + i, mine.order, 0);
    }
    const bool freed =
        nolock ? a_.free_pages_nolock(mine.page, mine.order) : a_.free_pages(mine.page, mine.order);
    if (!freed)
      trouble("page %u (order %u) was not taken back from the %s of thread %u",
              a_.index_of(mine.page), mine.order, by(c), c.thread);
  }

  // A block of ours for one that another thread or level left.
  void hand_over(Caller& c) noexcept {
    Block& b = kept(c);
    // acq_rel: what is handed over is written before and read after.
    Page* const theirs =
        handovers_[c.random(kHandovers)].exchange(b.page, std::memory_order_acq_rel);
    b = theirs ? of(theirs) : Block{};
  }
  Block of(Page* p) const noexcept {
    return {p, p->order(), owner_[a_.index_of(p)].load(std::memory_order_relaxed)};
  }

  [[noreturn]] void given_twice(Caller& c, Page* p, unsigned order, std::uint64_t other) noexcept {
    trouble(
        "page %u (order %u) was given twice: to the %s of thread %u, and to the %s of thread %u",
        a_.index_of(p), order, by(c), c.thread,
        nestlock::torture::name_of(static_cast<Level>(other & 3)),
        static_cast<unsigned>(other >> 2 & 63));
  }
  static const char* by(const Caller& c) { return nestlock::torture::name_of(c.level); }
  std::uint64_t* word_of(Page* p, std::size_t at) const noexcept {
    return reinterpret_cast<std::uint64_t*>(static_cast<char*>(a_.address(p)) + at);
  }

  // A thread's exit takes its CPU's pages home.
  struct Offline {
    hosted::OfflineHook hook{[](hosted::OfflineHook& h, unsigned cpu) noexcept {
                               reinterpret_cast<Offline&>(h).pages->drain_cpu(cpu);
                             },
                             nullptr};
    Allocator* pages = nullptr;
  };

  const unsigned threads_;
  Allocator a_;
  Offline offline_;
  Block kept_[kMaxThreads][kLevels][kKept];
  std::uint64_t tags_[kMaxThreads][kLevels] = {};
  std::atomic<Page*> handovers_[kHandovers] = {};
  std::atomic<std::uint64_t> owner_[kPages] = {};
  Page* isolated_ = nullptr;
  bool pcp_off_ = false;
};

}  // namespace

std::unique_ptr<Subject> pages(const Options& o) {
  if (o.busted) return std::make_unique<Pages<Busted<K>>>(o);
  return std::make_unique<Pages<policy::PerLockByte<K>>>(o);
}

}  // namespace nestlock::torture
