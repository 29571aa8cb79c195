// The fixture of the scenarios K1 to K42: interrupts at the moment that a row names.
#pragma once

#include <algorithm>
#include <cstdlib>
#include <set>

#include "page_memory.h"
#include "slab_allocators.h"

namespace nestlock::test_support {

// Real signals, raised by an observer of the kernel's locks that runs the test's hook with the lock
// in question held. RT: as in page_rows.h.
//
// The rows use the class of 1 KiB: sheaves of 14 objects, slabs of 8.
class SlabRow : public ::testing::TestWithParam<SlabCase> {
 protected:
  static constexpr std::size_t kSize = 1024;
  static constexpr unsigned kClass = 9, kNextClass = 10, kSheaf = 14;
  static constexpr gfp kNone = gfp::none;

  void SetUp() override {
    checked.emplace();
    slabs = GetParam().make();
    findings.emplace();
    ASSERT_EQ(counts(), ThreadCounts{});
  }
  void TearDown() override {
    EXPECT_EQ(findings->size(), 0u) << findings->text();
    if (cache) {
      EXPECT_TRUE(slabs->consistent());
    }
    EXPECT_EQ(counts(), ThreadCounts{});
    quieten();
    checked.reset();
  }

  Config config() const { return GetParam().config; }
  bool rt() const { return config().preempt_rt; }
  // The interrupts that the rows raise: one that may use the ordinary calls, and an NMI that uses
  // the nolock ones. On RT, whose gate refuses both, a probe.
  Where ordinary_irq() const { return rt() ? Where::probe : Where::hardirq; }
  Where nolock_nmi() const { return rt() ? Where::probe : Where::nmi; }

  void start(unsigned nodes = 1, std::size_t pages = 2048) {
    ASSERT_TRUE(slabs->set_up({.start = Arena::memory(),
                               .size = pages * kPageSize,
                               .commit = nullptr,
                               .descriptors = Arena::descriptors(pages * 256 + 1024),
                               .nodes = nodes}));
    hosted::tsan_blocks_change();  // before any handler
    cache = slabs->kmalloc_cache(kClass);
    locks = locks_of(cache);
  }

  // ---- locks ----
  struct Locks {
    const void* local = nullptr;  // this CPU's
    std::vector<const void*> barn, list;
  };
  // Found by watching: an allocation takes the CPU's first, and in a cache the nodes' locks lie in order, the
  // barn's before the list's.
  Locks locks_of(AnyCache* of) {
    Locks found;
    std::set<const void*> others;
    {
      AtLocks at([&](LockEvent e, const LockRef& l) {
        if (e != LockEvent::acquired) return;
        if (l.type == LockType::local_try && !found.local)
          found.local = l.lock;
        else if (slabs->has_lock(of, l.lock))
          others.insert(l.lock);
      });
      slabs->free(of, slabs->alloc(of, gfp::kernel));
      slabs->shrink(of);
    }
    bool barn = true;
    for (const void* lock : others) {
      (barn ? found.barn : found.list).push_back(lock);
      barn = !barn;
    }
    EXPECT_FALSE(found.list.empty());
    return found;
  }
  const void* list() const { return locks.list[0]; }
  // Of two, the one that this CPU is at home on.
  int home_node() const { return config().smp ? static_cast<int>(hosted::cpu_id() % 2) : 0; }

  // Runs `op`; the first time that `is(lock)` is taken (or about to be given back), `w` interrupts
  // with `body`.
  template <class Is, class Op, class Body>
  void interrupted_when(Is is, Where w, Op op, Body body, LockEvent when = LockEvent::acquired) {
    unsigned ran = 0;
    {
      AtLocks at([&](LockEvent e, const LockRef& l) {
        if (e != when || ran || !is(l)) return;
        ++ran;
        interrupt(w, body);
      });
      op();
    }
    EXPECT_EQ(ran, 1u) << "the lock was not taken";
  }
  template <class Op, class Body>
  void interrupted_holding(const void* lock, Where w, Op op, Body body,
                           LockEvent when = LockEvent::acquired) {
    interrupted_when([lock](const LockRef& l) { return l.lock == lock; }, w, op, body, when);
  }
  // `op` has taken c's list and given it back, and asks the page floor for something: `w`
  // interrupts there. Nothing of the slab floor is held. (That the list came first tells it from a
  // page for the memory of a sheaf.)
  template <class Op, class Body>
  void interrupted_behind_the_list(Where w, Op op, Body body) {
    unsigned ran = 0, lists = 0;
    {
      AtLocks at([&](LockEvent e, const LockRef& l) {
        if (ran) return;
        if (e == LockEvent::releasing && l.lock == list()) ++lists;
        if (e != LockEvent::acquired || !lists || slabs->interrupted() != Floor::page) return;
        ++ran;
        interrupt(w, body);
      });
      op();
    }
    EXPECT_EQ(ran, 1u) << "no page was asked for behind the list";
  }
  // An operation that takes the list's lock: the sheaves are empty.
  auto refilling() {
    slabs->shrink(cache);
    return [this] { take(); };
  }

  // ---- objects, each full of its tag ----
  bool keep(void* p, std::size_t size = kSize) {
    if (!p) return false;
    auto* const at = static_cast<unsigned char*>(p);
    for (const Kept& k : kept)
      if (at < k.at + k.size && k.at < at + size) return trouble = "given twice", false;
    const auto tag = static_cast<unsigned char>(++tags * 37);
    std::memset(p, tag, size);
    kept.push_back({at, size, tag});
    return true;
  }
  void* take(gfp flags = gfp::nowait) {
    void* const p = slabs->kmalloc(kSize, flags);
    EXPECT_TRUE(keep(p)) << trouble;
    return p;
  }
  std::vector<void*> take_many(unsigned many) {
    std::vector<void*> all;
    while (all.size() < many) all.push_back(take());
    return all;
  }
  // Takes it out, its tag checked.
  void* leave(void* p) {
    const auto i = std::find_if(kept.begin(), kept.end(), [p](const Kept& k) { return k.at == p; });
    if (i == kept.end()) return trouble = "not ours", p;
    if (std::any_of(i->at, i->at + i->size, [&](unsigned char b) { return b != i->tag; }))
      trouble = "overwritten";
    kept.erase(i);
    return p;
  }
  bool give(void* p) { return slabs->kfree(leave(p)); }
  bool give_nolock(void* p) { return slabs->kfree_nolock(leave(p)); }
  void give_everything_back() {
    while (!kept.empty()) EXPECT_TRUE(give(kept.back().at));
    EXPECT_EQ(trouble, "");
    EXPECT_TRUE(slabs->consistent());
    for (unsigned i = 0; i < 13; ++i) {
      const SlabStats t = slabs->stats(slabs->kmalloc_cache(i));
      EXPECT_EQ(slabs->live(slabs->kmalloc_cache(i)), 0u);
      EXPECT_EQ(t.allocs(), t.frees());
    }
  }
  // This CPU's two sheaves, as full as they can be; `extra` more objects are kept.
  std::vector<void*> fill_sheaves(unsigned extra) {
    std::vector<void*> all = take_many(2 * kSheaf + extra);
    slabs->shrink(cache);
    for (unsigned i = 0; i < 2 * kSheaf; ++i) {
      EXPECT_TRUE(give(all.back()));
      all.pop_back();
    }
    return all;
  }

  SlabStats stats() const { return slabs->stats(cache); }
  static std::uintptr_t refused(const SlabStats& t, SlabRefusal r) {
    return t.refusals[static_cast<unsigned>(r)];
  }
  // Rounds of a long row: many when asked for, few by default.
  static unsigned rounds(unsigned few, unsigned many) {
    return std::getenv("NESTLOCK_LONG") ? many : few;
  }

  struct Kept {
    unsigned char* at;
    std::size_t size;
    unsigned char tag;
  };
  std::unique_ptr<AnySlabs> slabs;
  AnyCache* cache = nullptr;
  Locks locks;
  std::optional<Findings> findings;
  std::vector<Kept> kept;
  std::string trouble;
  unsigned tags = 0;
  std::optional<LibraryChecked> checked;
};

}  // namespace nestlock::test_support
