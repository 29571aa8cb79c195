// The page allocator on the simulator's kernels: small, set up anew for each schedule, with a model
// of who has what, and an observer of its locks.
#pragma once

#include <cstring>
#include <vector>

#include "nestlock/page.h"
#include "nestlock/testing/explorer.h"
#include "nestlock/testing/sim_port.h"

namespace nestlock::test_support {

// Of one execution: that each lock excludes; and that a CPU's own lock, where it is tried, is tried
// and given back on that CPU. Simulated CPUs are asked without a step.
class LockWatch {
 public:
  using Fibre = testing::internal::SimFibre;

  LockWatch() { now() = this; }
  ~LockWatch() { now() = nullptr; }
  LockWatch(const LockWatch&) = delete;
  LockWatch& operator=(const LockWatch&) = delete;

  static LockWatch*& now() {
    static LockWatch* watch = nullptr;
    return watch;
  }

  void acquired(const void* address, bool per_cpu_by_try) {
    Lock& l = find(address);
    Fibre* const me = running();
    if (l.taken) fail(name(me) + " and " + name(l.by) + " hold one lock");
    const unsigned here = me ? me->cpu : testing::internal::SimMachine::outside_cpu();
    l.taken = true, l.by = me, l.on = here;
    if (!per_cpu_by_try) return;
    if (l.home == kNone) l.home = here;
    if (l.home != here) fail(name(me) + " takes another CPU's lock");
    if (!me) return;
    // Two CPUs' locks in one life: it was moved in between, and noticed.
    if (own_.size() <= me->id) own_.resize(me->id + 1, kNone);
    if (own_[me->id] != kNone && own_[me->id] != here) ++moved_;
    own_[me->id] = here;
  }
  void releasing(const void* address) {
    Lock& l = find(address);
    Fibre* const me = running();
    if (!l.taken) fail(name(me) + " gives back a lock that nobody holds");
    if (l.by != me) fail(name(me) + " gives back the lock of " + name(l.by));
    if (me && l.on != me->cpu) fail(name(me) + " gives back a lock that it took on another CPU");
    l.taken = false;
  }
  // How often a fibre used the own lock of one CPU, and then of another.
  unsigned moved() const { return moved_; }

 private:
  static constexpr unsigned kNone = ~0u;
  struct Lock {
    const void* address;
    bool taken = false;
    Fibre* by = nullptr;
    unsigned on = 0, home = kNone;
  };
  static testing::internal::SimMachine* machine() {
    return testing::internal::SimMachine::current();
  }
  static Fibre* running() { return machine() ? machine()->running() : nullptr; }
  static std::string name(const Fibre* f) { return f ? f->name : "set-up"; }
  static void fail(std::string why) {
    if (machine()) machine()->fail(std::move(why));
  }
  Lock& find(const void* address) {
    for (Lock& l : locks_)
      if (l.address == address) return l;
    return locks_.emplace_back(Lock{.address = address});
  }

  std::vector<Lock> locks_;
  std::vector<unsigned> own_;  // by fibre: the CPU whose lock it took last
  unsigned moved_ = 0;
};

template <bool kPerCpu>
struct Watching {
  static void acquiring(const LockRef&) noexcept {}
  static void acquired(const LockRef& l, bool by_try) noexcept {
    if (auto* w = LockWatch::now()) w->acquired(l.lock, kPerCpu && by_try);
  }
  static void refused(const LockRef&) noexcept {}
  static void releasing(const LockRef& l) noexcept {
    if (auto* w = LockWatch::now()) w->releasing(l.lock);
  }
};

template <Config kC, class Port = testing::SimPort<kC>>
using WatchedKernel = KernelOf<kC, Port, Watching<false>>;

// The library's locks, those of a CPU observed apart from the others.
template <Kernel K>
struct WatchedLocks : policy::PerLockByte<K> {
  using Own = KernelOf<K::kConfig, typename K::Port, Watching<true>>;
  using Pcp = BasicTrySpinLock<Own>;
  using Local = BasicLocalTryLock<Own>;
};

// A zone of 128 pages, in memory that is aligned as the whole is: its blocks are the same in each
// run. And which are out.
template <Kernel K, LockPolicy L, std::size_t kPages = 128>
class SimPages {
 public:
  using Allocator = BasicPageAllocator<K, L>;
  using Page = BasicPage<K>;

  explicit SimPages(testing::Sim& sim) : sim_(sim) {
    std::memset(descriptors(), 0, Allocator::descriptor_bytes(kPages * kPageSize));
    const PageSetup done = pages.set_up({.start = memory(),
                                         .size = kPages * kPageSize,
                                         .commit = nullptr,
                                         .descriptors = descriptors()});
    sim.check(done == PageSetup::ok, "set up");
  }

  // What the simulated code calls: null and refusals are answers; a page that is out is none.
  Page* alloc(unsigned order, gfp flags = gfp::nowait) {
    return took(pages.alloc_pages(flags, order), order);
  }
  Page* alloc_nolock(unsigned order) {
    Page* const p = took(pages.alloc_pages_nolock(gfp::none, order), order);
    sim_.count(p ? "nolock granted" : "nolock refused");
    return p;
  }
  void free(Page* p, unsigned order) {
    gave(p, order);
    sim_.check(pages.free_pages(p, order), "a free is taken");
  }
  void free_nolock(Page* p, unsigned order) {
    gave(p, order);
    sim_.check(pages.free_pages_nolock(p, order), "a nolock free is taken");
  }

  // At the end: lists and descriptors agree; what is neither out nor free is lost.
  void check_conserved() {
    const PageStats s = pages.stats(0);
    for (const auto& [what, n] :
         {std::pair{"pcp busy", sum(s.pcp_busy)}, {"zone busy", sum(s.zone_busy)}})
      if (n) sim_.count(what);
    if (s.parked_total) sim_.count("parked");
    sim_.check(pages.consistent(), "lists, descriptors and counts agree");
    pages.drain_all_pages();
    const PageStats end = pages.stats(0);
    sim_.check(end.cached == 0 && end.parked == 0, "all drained");
    sim_.check(end.free + out_pages_ == end.present, "no page is lost, none is out twice");
    sim_.check(pages.consistent(), "lists, descriptors and counts agree after a drain");
  }

  Allocator pages;

 private:
  static void* memory() {
    constexpr std::size_t kSize = kPages * kPageSize;
    static std::byte twice[2 * kSize];
    return twice + (-reinterpret_cast<std::uintptr_t>(twice) & (kSize - 1));
  }
  static void* descriptors() {
    alignas(64) static std::byte d[(kPages + 2) * (sizeof(Page) + 1)];
    return d;
  }
  static std::uintptr_t sum(const std::uintptr_t (&n)[4]) { return n[0] + n[1] + n[2] + n[3]; }
  Page* took(Page* p, unsigned order) {
    if (!p) return p;
    for (unsigned i = 0; i < (1u << order); ++i) {
      bool& out = out_[pages.index_of(p) + i];
      sim_.check(!out, "a page is handed out twice");
      out = true;
    }
    out_pages_ += 1u << order;
    return p;
  }
  void gave(Page* p, unsigned order) {
    for (unsigned i = 0; i < (1u << order); ++i) out_[pages.index_of(p) + i] = false;
    out_pages_ -= 1u << order;
  }

  testing::Sim& sim_;
  bool out_[kPages] = {};
  std::uintptr_t out_pages_ = 0;
};

}  // namespace nestlock::test_support
