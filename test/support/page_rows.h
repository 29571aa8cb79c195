// The fixture of the scenarios P1 to P21: interrupts at the moment that a row names.
#pragma once

#include "page_memory.h"

namespace nestlock::test_support {

// Real signals, raised by an observer of the kernel's locks that runs the test's hook with the lock
// in question held.
//
// In an RT kernel a hardirq or an NMI may take none of these locks: there the rows are shown for a
// probe, which runs as the task, and for the others that they are refused untouched.
class PageRow : public PagesTest {
 protected:
  static constexpr gfp kNone = gfp::none;

  void SetUp() override {
    checked.emplace();
    PagesTest::SetUp();
  }
  void TearDown() override {
    PagesTest::TearDown();
    checked.reset();
  }

  bool rt() const { return config().preempt_rt; }
  // The interrupt that a row calls H (may use the ordinary calls), and N.
  Where ordinary_irq() const { return rt() ? Where::probe : Where::hardirq; }
  Where nolock_nmi() const { return rt() ? Where::probe : Where::nmi; }

  // Sets up, and finds out which lock is which.
  void start(std::size_t pages = 1024, unsigned nodes = 1) {
    set_up(pages, nodes);
    const void* last = nullptr;
    {
      AtLocks at([&](LockEvent e, const LockRef& l) {
        if (e == LockEvent::acquired) last = l.lock;
      });
      allocator->free(allocator->alloc(gfp::kernel, 5), 5);
      zone_lock = last;
      allocator->free(allocator->alloc(gfp::kernel, 0), 0);
      pcp_lock = last;
    }
    ASSERT_NE(zone_lock, pcp_lock);
    allocator->drain_all();
  }

  // Runs `op`; the first time it holds `lock`, `w` interrupts it with `body`: when it has just
  // taken the lock, or when it is about to give it back. (Who takes the zone's lock and may spin
  // then unparks: what is parked at the first moment is found no more at the end.)
  template <class Op, class Body>
  void interrupted_holding(const void* lock, Where w, Op op, Body body,
                           LockEvent when = LockEvent::acquired) {
    unsigned ran = 0;
    {
      AtLocks at([&](LockEvent e, const LockRef& l) {
        if (e != when || l.lock != lock || ran) return;
        ++ran;
        held_masked = counts().masked;
        interrupt(w, body);
      });
      op();
    }
    EXPECT_EQ(ran, 1u) << "the lock was not taken";
  }

  static constexpr LockEvent kAtTheEnd = LockEvent::releasing;

  // Takes a page from the cache, or puts one there.
  void* take(unsigned order = 0) {
    void* const p = allocator->alloc(gfp::nowait, order);
    EXPECT_TRUE(p && owned.add(p, order)) << owned.trouble();
    return p;
  }
  bool keep(void* p, unsigned order = 0) { return p && owned.add(p, order); }
  bool give(void* p, bool nolock = false) {
    const Owned::Block b = owned.take(p);
    return nolock ? allocator->free_nolock(b.at, b.order) : allocator->free(b.at, b.order);
  }
  // Fills this CPU's cache up to `pages` pages.
  void fill_cache(unsigned pages) {
    std::vector<void*> held;
    while (held.size() < pages) held.push_back(allocator->alloc(gfp::nowait, 0));
    for (void* p : held) ASSERT_TRUE(allocator->free(p, 0));
    ASSERT_GE(cached(), pages);
  }
  void give_everything_back() {
    while (!owned.empty()) {
      const Owned::Block b = owned.take_first();
      EXPECT_TRUE(allocator->free(b.at, b.order));
    }
    EXPECT_EQ(owned.trouble(), "");
    expect_all_free();
  }
  std::uintptr_t cached() const { return allocator->cached(0, allocator->cpu_id()); }
  std::uintptr_t busy(const std::uintptr_t (&counts)[4], Where w) const {
    return counts[static_cast<unsigned>(context_of(w))];
  }

  const void *zone_lock = nullptr, *pcp_lock = nullptr;
  std::uint32_t held_masked = 0;
  Owned owned;
  std::optional<LibraryChecked> checked;
};
}  // namespace nestlock::test_support
